"""A platform that runs: the embedded cloud, deployed, with its watcher and worker; one block of code long."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from compiler.model import Platform
from compiler.platform import live_roots
from mayfly.cli.context import Context
from mayfly.cli.deploy import Deploy, RootResult, as_they_end
from mayfly.cli.open import deployer, generate, provide_images, start_cloud, toolchain_of
from mayfly.cli.output import note
from mayfly.cli.plain import check_sandbox
from mayfly.cli.supervise import Program, Supervisor
from mayfly.localcloud import LocalCloud
from runner.cloud import AwsCloud

News = Callable[[str], None]
OnRoot = Callable[[RootResult], None]
STOPPING = "Already stopping …"


@dataclass(slots=True, kw_only=True)
class Running:
    """A platform that runs.

    Attributes:
        cloud: as the platform itself sees it.
        supervisor: its processes.
        local: the embedded cloud; None on AWS.
        restart: starts that cloud again, where it was.
        on_news: told in words what went wrong and what is done about it.
    """

    cloud: AwsCloud
    supervisor: Supervisor
    local: LocalCloud | None
    restart: Callable[[], LocalCloud]
    on_news: News

    def check(self) -> None:
        """Start again whatever has ended; call it often."""
        if self.local is not None and not self.local.is_running:
            self.on_news("The embedded cloud has ended; it starts again, with everything that was in it.")
            self.local = self.restart()
        self.supervisor.check()

    def stop(self) -> None:
        """Stop everything: first the processes, then the cloud that they talk to, whatever happens meanwhile."""
        with undisturbed():
            try:
                self.supervisor.stop()
            finally:
                if self.local is not None:
                    self.local.stop()


@contextmanager
def running(
    context: Context,
    platform: Platform,
    *,
    apply: bool,
    on_news: News,
    on_root: OnRoot,
    wanted: Sequence[str] | None = None,
    patience: int | None = None,
) -> Iterator[Running]:
    """Run the platform for as long as the block lasts; whatever ends the block, all of it is stopped.

    The caller holds the home (`Home.locked`).

    Args:
        context: where.
        platform: what.
        apply: bring an embedded platform up to its YAML first.
        on_news: told in words what goes on.
        on_root: told what became of each root.
        wanted: the analyses that are to run; None for all that are no drafts.
        patience: after how many quick ends of one of the processes this is given up; None for never.

    Raises:
        EnvironmentMissingError: this machine has no Terraform, or nothing that is wanted could run on it.
    """
    toolchain = toolchain_of(context, platform)  # the worker needs it, too: without one, nothing is started
    with ExitStack() as stack:
        local = stack.enter_context(start_cloud(context, platform)) if context.is_embedded(platform) else None
        if local is not None:
            check_sandbox(local, platform, wanted, on_news)
        children = [program(context, "worker"), program(context, "watch")]
        it = Running(
            cloud=AwsCloud(local.settings if local else context.settings(platform)),
            supervisor=Supervisor(children, environment=os.environ, on_news=on_news, patience=patience),
            local=local,
            restart=lambda: start_cloud(context, platform),
            on_news=on_news,
        )
        stack.callback(it.stop)
        # They take seconds to start, and wait for a platform that is not there yet.
        it.supervisor.start()
        if local is not None and apply:
            work = deployer(context, platform, it.cloud, toolchain)
            bring_up(context, platform, work, on_news=on_news, on_root=on_root)
        yield it


def bring_up(context: Context, platform: Platform, work: Deploy, *, on_news: News, on_root: OnRoot) -> None:
    """Bring an embedded platform up to its YAML: roots and environments side by side, for the roots mostly wait.

    Ctrl-C reaches this thread, so that a download ends at once, and the roots are asked to stop.
    """
    generate(context, platform)
    stop = threading.Event()
    for one in platform.retired:
        on_news(f"{one.root}: {one.story}")
    with ThreadPoolExecutor(max_workers=1) as pool:
        applied = pool.submit(work.apply, live_roots(platform), on_root, stop)
        try:
            provide_images(context, platform, work.cloud, on_news)
            for done in as_they_end([applied]):
                done.result()
        except BaseException:
            stop.set()
            raise


def program(context: Context, command: str) -> Program:
    """Return one of our own commands as a program to supervise; it ends with this process."""
    options = ["--project", str(context.project), "--home", str(context.home.folder)]
    return Program(
        name=command,
        command=[sys.executable, "-m", "mayfly.cli.main", *options, command, "--parent", str(os.getpid())],
        log=context.home.logs / f"{command}.log",
    )


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let a first Ctrl-C or SIGTERM end the block, and set the event; further ones do not disturb the stopping.

    Stopping is bounded in time, and a kill leaves nothing behind, so there is no need for a way out of it.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            note(STOPPING)
            return
        asked.set()
        note("Stopping …")
        raise KeyboardInterrupt

    with handled(ask):
        yield asked


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let the block, which stops things, run to its end: a signal gets an answer, and counts as Ctrl-C afterwards.

    Raises:
        KeyboardInterrupt: there was a signal, and there is no error that would be lost with it.
    """
    asked = threading.Event()

    def answer(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        note(STOPPING)

    with handled(answer):
        yield
    if asked.is_set() and sys.exception() is None:
        raise KeyboardInterrupt


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler take Ctrl-C and SIGTERM while the block lasts."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

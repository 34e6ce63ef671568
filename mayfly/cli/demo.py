"""`mayfly demo`: one job from data to result on this machine, shown live, with nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.model import Platform
from mayfly.cli.context import RUNTIME, Context, Home
from mayfly.cli.demo_data import choose, pack
from mayfly.cli.demo_show import show_left, show_outcome, tell_line
from mayfly.cli.follow import Follower, LogLine
from mayfly.cli.mishaps import full_disk, told
from mayfly.cli.open import group_cloud
from mayfly.cli.output import duration, note, say, shorten
from mayfly.cli.platform import summary
from mayfly.cli.running import Running, interruptible, running
from mayfly.cli.submit import tell_ending, transfer, wait_for_job
from mayfly.localcloud.home import free_bytes
from runner.cloud_values import Cloud
from runner.parcel import Parcel
from runner.submit import send, withdraw
from state.errors import MayflyError, StateError, UsageError
from state.ledger import Ledger
from state.record import JobRecord, StoryLine

Wait = Callable[[float], object]
"""Pauses for so many seconds; may raise."""
MOST_HOMES = 20
"""Demos that run beside each other; more would only wait for the machine."""
EARLIER_S = 60.0
"""How long jobs of an earlier run may take to be taken down, seconds."""
PATIENCE = 4
"""After how many quick ends in a row of worker or watcher the demo gives up; the pauses between them make 7 seconds."""
LEAST_DISK = 8 << 20
"""Bytes below which the embedded cloud stores nothing any more (see mayfly/localcloud/gate.py): no job can end then."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), multiple=True, help="Your own dataset; may be given again.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Your own parameters, YAML or JSON.")
@click.option("--analysis", default="pca", show_default=True, help="Which analysis to run.")
@click.option("--group", help="On whose behalf; the first group that may when not given.")
@click.pass_obj
def demo(context: Context, *, data: tuple[Path, ...], config: Path | None, analysis: str, group: str | None) -> int:
    """Run one job from data to result on this machine, in an embedded cloud of its own, and show it live.

    Without --data it makes example data whose answer is known. Everything it makes is below .mayfly/demo; demos that
    run beside each other take folders and ports of their own. What was deployed before is not deployed again.

    \b
    Examples:  make demo
               make demo DATA=my.npy CONFIG=my.yaml
               mayfly demo --data a.npy --data b.npy
    """  # noqa: D301
    start = time.monotonic()
    platform = context.platform()
    if not context.is_embedded(platform):
        raise UsageError(f"{platform.deployment.place}: the demo runs on the embedded cloud; here cloud is aws.")
    blueprint, group = choose(platform, analysis, group)
    own = context
    with told(lambda: own), interruptible() as asked, ExitStack() as stack:
        own = take_home(context, stack)
        parcel = pack(own, platform, blueprint, group=group, data=data, config=config)
        say(f"Mayfly runs {analysis} for {group}, in {shorten(own.home.folder)}.", style="bold")
        stage("the embedded cloud and the platform on it")
        it = stack.enter_context(
            running(
                own,
                platform,
                apply=True,
                on_news=tell_news,
                on_root=lambda root: tell_news(summary(root)),
                wanted=[analysis],
                patience=PATIENCE,
            )
        )
        tell_news(f"ready after {duration(time.monotonic() - start)}, at {it.cloud.settings.endpoint}")
        code = run_job(own, it, platform, parcel, waiting(it, own.home.folder, asked))
        stage("stopping")
    say(f"  everything in {duration(time.monotonic() - start)}; `make clean` removes what was made")
    return code


def run_job(context: Context, it: Running, platform: Platform, parcel: Parcel, wait: Wait) -> int:
    """Submit one job, follow it to its end, and show what became of it. Return the exit code."""
    count = len(parcel.datasets)
    stage(f"submitting {count} dataset{'s' if count > 1 else ''}")
    cloud, ledger = group_cloud(platform, it.cloud, parcel.group), context.ledger_made()
    try:
        with transfer(parcel, "uploading") as on_bytes:
            done = send(cloud, parcel, on_bytes=on_bytes)
        for key in (*done.datasets, done.config, done.submit_key):
            tell_news(f"s3://{done.bucket}/{key}")
        stage("the job")
        record = wait_for_job(ledger, done, parcel.analysis, wait)
        for event in Follower(ledger=ledger, cloud=cloud, job_id=record.id, wait=wait).events():
            tell_event(event, many=count > 1)
    except (KeyboardInterrupt, MayflyError) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        call_off(ledger, cloud, parcel, "The demo was stopped with Ctrl-C." if stopped else f"The demo failed: {error}")
        raise
    show_outcome(context, ledger, cloud, record.id)
    unfinished = finish_earlier(ledger, wait)
    left = show_left(it.cloud, platform.deployment.name)
    code = tell_ending(ledger.job(record.id))
    return code or tell_rest(unfinished, left, context.home.logs)


def call_off(ledger: Ledger, cloud: Cloud, parcel: Parcel, reason: str) -> None:
    """Cancel the job of a demo that ends early, also when nobody has seen its submission yet.

    Everything stops now; whoever runs here next takes the job down and writes its certificate.
    """
    try:
        mine = [one.id for one in ledger.jobs(analysis=parcel.analysis) if one.results == parcel.results]
        if mine:
            ledger.request_cancel(mine[0], reason, datetime.now(UTC))
        else:
            withdraw(cloud, parcel, reason)
    except MayflyError as error:
        note(f"The job could not be cancelled, and goes on in the next demo: {error}", style="red")


def finish_earlier(ledger: Ledger, wait: Wait, seconds: float = EARLIER_S) -> list[JobRecord]:
    """Give jobs of an earlier run, which was stopped in the middle, the time to be taken down; return the others."""
    end = time.monotonic() + seconds
    if ledger.running():
        tell_news("jobs of an earlier run, which was stopped, are being taken down")
    while (unfinished := ledger.running()) and time.monotonic() < end:
        wait(0.5)
    return unfinished


def tell_rest(unfinished: Sequence[JobRecord], left: int, logs: Path) -> int:
    """Say what should not be there any more when a demo ends. Return the exit code that fits."""
    for one in unfinished:
        note(
            f"Job {one.id} of an earlier run has not ended ({one.status}); the next demo goes on with it.", style="red"
        )
    if left:
        note(f"{left} resources of jobs are left; see {logs}", style="red")
    return 1 if unfinished or left else 0


def waiting(it: Running, folder: Path, asked: threading.Event) -> Wait:
    """Return a pause that also keeps the platform's processes alive, and raises when nothing is left to wait for.

    Args:
        it: the platform.
        folder: its home.
        asked: set when somebody asked for the end.
    """

    def wait(seconds: float) -> None:
        it.check()
        if free_bytes(folder) < LEAST_DISK:
            raise full_disk(folder)
        # A Ctrl-C that comes while Python runs a destructor is lost there.
        if asked.wait(seconds):
            raise KeyboardInterrupt

    return wait


def take_home(context: Context, stack: ExitStack) -> Context:
    """Return the context with a home that is held until the stack ends, and its own folder for generated roots.

    Raises:
        StateError: all homes are taken.
    """
    names = ["demo", *(f"demo-{number}" for number in range(2, MOST_HOMES + 1))]
    folders = [context.home_option] if context.home_option else [context.project / RUNTIME / name for name in names]
    for folder in folders:
        home = Home(folder=folder.resolve())
        try:
            stack.enter_context(home.locked())
        except StateError:
            continue
        return replace(context, home_option=home.folder, build_option=home.folder / "build")
    raise StateError(f"Demos run in {', '.join(map(shorten, folders))} already. Wait until one of them has ended.")


def tell_event(event: StoryLine | LogLine, *, many: bool) -> None:
    """Print what happens to the job: its story in bold, what its tasks print below it."""
    if isinstance(event, LogLine):
        tell_line("", f"[{event.task}] {event.text}" if many else event.text)
    else:
        tell_line(f"{event.at.astimezone():%H:%M:%S}", event.text, style="bold" if event.kind == "status" else None)


def stage(title: str) -> None:
    """Print the title of what comes next."""
    say(f"\n{title[0].upper()}{title[1:]}", style="bold")


def tell_news(text: str) -> None:
    """Print a line of what goes on."""
    say(f"  {text}")

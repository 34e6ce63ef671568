"""Commands for operators: run the platform, whole or one process of it."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

import click

from mayfly.cli.context import Context, Home
from mayfly.cli.output import note, say
from mayfly.cli.platform import summary
from mayfly.cli.running import interruptible, running
from mayfly.cli.supervise import end_with
from runner.cloud_values import CloudSettings
from state.files import write_whole

LOOK_S = 0.2

parent_option = click.option("--parent", type=int, hidden=True, help="Stop when this process does.")


@click.command()
@click.option(
    "--apply/--no-apply", default=True, show_default=True, help="Bring an embedded platform up to its YAML first."
)
@click.pass_obj
def up(context: Context, apply: bool) -> None:
    """Run the platform here: the embedded cloud, the watcher and a worker. Ctrl-C stops all of it.

    A process that crashes is started again. On AWS there is no cloud to start, and applying is left to
    `mayfly apply`. Logs are in the home's logs/ folder.
    """
    platform = context.platform()
    with (
        interruptible(),
        suppress(KeyboardInterrupt),
        context.home.locked(),
        running(context, platform, apply=apply, on_news=note, on_root=lambda result: say(summary(result))) as it,
    ):
        say(f"Up. Watcher and worker log to {context.home.logs}.")
        if context.is_embedded(platform):
            environment = write_environment(context.home, it.cloud.settings)
            say(f"The embedded cloud answers at {it.cloud.settings.endpoint}.")
            say("To use it from any AWS client, for example a plain boto3 script, in another terminal:")
            say(f"  source {shlex.quote(str(environment))}")
        say("Ctrl-C stops everything.")
        pause = threading.Event()
        while not pause.wait(LOOK_S):
            it.check()
    say("Stopped. Running jobs go on when the platform is up again.")


@click.command()
@parent_option
@click.pass_obj
def worker(context: Context, parent: int | None) -> None:
    """Carry jobs through their lives until stopped; `mayfly up` starts one.

    Any number may run beside each other. Jobs of a worker that dies are taken over by another one.
    """
    serve(context, parent, "worker")


@click.command()
@parent_option
@click.pass_obj
def watch(context: Context, parent: int | None) -> None:
    """Turn uploaded submissions into jobs until stopped; `mayfly up` starts it."""
    serve(context, parent, "watcher")


def serve(context: Context, parent: int | None, which: Literal["worker", "watcher"]) -> None:
    """Run one of the platform's processes until a signal asks it to stop."""
    # DBOS takes a third of a second to import: no other command should wait for it.
    from runner.service import Site, run_watcher, run_worker  # noqa: PLC0415

    end_with(parent)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    for library in ("alembic", "botocore", "dbos", "urllib3"):
        logging.getLogger(library).setLevel(logging.DEBUG if context.verbose else logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    home = context.home
    home.folder.mkdir(parents=True, exist_ok=True)
    platform = context.platform()
    site = Site(
        project=context.project,
        database=context.database,
        settings=context.settings(platform),
        backend=context.backend(platform),
        jobs=home.jobs,
        terraform=context.terraform_cache,
        agents=home.folder / "agents",
        environment=dict(os.environ),
    )
    run_worker(site, stop) if which == "worker" else run_watcher(site, stop)


def write_environment(home: Home, settings: CloudSettings) -> Path:
    """Write a file that a shell can source to reach the embedded cloud; only its owner may read it."""
    path = home.cloud / "env.sh"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(settings.environment().items())]
    write_whole(path, "\n".join(lines) + "\n", mode=0o600)
    return path

"""The agent's process: reads the manifest, carries out the task, and turns the machine off whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.iae.ending import Ending, TaskError
from runner.iae.halt import SystemClock
from runner.iae.machine import ask_metadata, find_instance, find_room, power_off, tell, unpack_data
from runner.iae.manifest import Manifest, read_manifest
from runner.iae.processes import adopt_orphans
from runner.iae.s3 import connect
from runner.iae.store import Store
from runner.iae.task import run_task
from runner.iae.user import choose_user


def main(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str] = os.environ,
    open_store: Callable[[Manifest, Path], Store] | None = None,
    switch_off: Callable[[], None] = power_off,
) -> int:
    """Run the agent: `agent.pyz --manifest FILE`.

    Args:
        arguments: the command line.
        environ: the environment.
        open_store: opens the object store; S3 unless told otherwise.
        switch_off: turns the machine off.

    Returns:
        0 when the task succeeded; nobody but a person at the console sees it. 2 for a command line that is none: that
        is somebody who tries the agent on a computer that must stay on, for an instance's own script makes no such one.
    """
    if len(arguments) != 2 or arguments[0] != "--manifest":  # noqa: PLR2004
        tell(f"usage: agent.pyz --manifest FILE (and not {' '.join(arguments)!r}). It turns off the machine it ran on.")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.umask(0o022)
    adopt_orphans()
    try:
        manifest = read_manifest(Path(arguments[1]))
        user = choose_user()
        if root := environ.get("MAYFLY_IMAGE_ROOT"):  # no machine of its own: a plain process, on somebody's computer
            manifest, user = replace(manifest, image_root=Path(root)), None
        work = find_room(environ)
        outcome = run_task(
            manifest,
            store=(open_store or _open_s3)(manifest, work),
            clock=SystemClock(),
            stop=stop,
            environ=environ,
            work=_subfolder(work, "task"),
            find_instance=lambda: find_instance(environ),
            ask_metadata=lambda path: ask_metadata(environ, path),
            user=user,
        )
    except TaskError as error:
        tell(str(error))
        return 1
    except Exception:  # noqa: BLE001 - there is nobody left to catch it, and the machine must not stay on
        tell(traceback.format_exc())
        return 1
    else:
        return 0 if outcome.ending is Ending.SUCCEEDED else 1
    finally:
        switch_off()


def _open_s3(manifest: Manifest, work: Path) -> Store:
    return connect(manifest.region, unpack_data(_subfolder(work, "botocore")))


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path

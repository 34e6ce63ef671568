"""The last things of a task: its whole log, its final status and its report; each as well as the store allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from runner.iae.ending import Ending
from runner.iae.halt import Halt
from runner.iae.keeping import hold, hold_until
from runner.iae.machine import tell
from runner.iae.report import Outcome, describe
from runner.iae.status import JSON, TEXT, Phase, Status, encode
from runner.iae.store import Copy
from runner.iae.transfer import require_all

if TYPE_CHECKING:
    from runner.iae.task import Task

_STOP_PATIENCE_S = 20.0


def finish(task: Task, outcome: Outcome) -> None:
    """Write the whole log, the final status, and last of all the report; each as well as the store allows."""
    manifest, board, deadline = task.manifest, task.board, task.outlook.deadline
    ended = task.clock.now()
    succeeded = outcome.ending is Ending.SUCCEEDED
    task.log.say(f"{outcome.ending.value}" + (f": {outcome.reason}" if outcome.reason else ""))
    task.log.finish()
    if task.log.disk_is_full:
        outcome.add("the machine's disk is full, so its log is cut")
    tell(f"task {manifest.task} of {manifest.job}: {outcome.ending.value} {outcome.reason}".rstrip())
    patience = min(deadline, ended + timedelta(seconds=_STOP_PATIENCE_S)) if task.stop.is_set() else deadline
    halt = Halt(task.clock, patience, threading.Event())
    task.heartbeat.stop(halt.remaining)
    board.phase, board.ended, board.reason = Phase.DONE, ended, outcome.reason
    board.status = Status.SUCCESS if succeeded else Status.FAILED
    results, copy = manifest.results, Copy(key=manifest.results.log, path=task.log.path, content_type=TEXT)

    def write_log() -> None:
        require_all(task.store.upload(results.bucket, [copy], lambda: None, lambda _: None), 1, "written")

    outcome.held_until = hold_until(task, outcome, ended)
    report = encode(
        describe(
            outcome,
            board=board,
            meter=task.meter,
            peaks=task.gauge.peaks,
            ended=ended,
            log_bytes_missing=task.log.dropped,
        )
    )
    for action in (
        task.heartbeat.publish,
        write_log,
        lambda: task.store.put(results.bucket, results.report, report, JSON),
    ):
        _try(halt, action)
    task.log.close()
    hold(task, outcome)


def _try(halt: Halt, action: Callable[[], None]) -> None:
    """Do one of the last things; when it cannot be done, the next one still is."""
    try:
        halt.persist(action, lambda text: tell(f"trying again: {text}"))
    except Exception as error:  # noqa: BLE001 - each of them matters more than why another failed
        tell(f"could not report: {type(error).__name__}: {error}")

"""The report: what became of a task, in a word, in a sentence, and in figures."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from runner.iae.ending import Ending
from runner.iae.process import Exit
from runner.iae.processes import Meter
from runner.iae.results import Uploaded
from runner.iae.status import Board, Status, format_time
from state.values import dataclass

BAD_INPUT_STATUS = 2
"""Exit status by which an entry point says that the data or the parameters are wrong, not the analysis."""

_LONGEST_REASON = 1000
_TWO_MINUTES = 120


@dataclass(kw_only=True)
class Outcome:
    """What became of a task."""

    ending: Ending
    reason: str
    exit: Exit | None = None
    outputs: tuple[Uploaded, ...] = ()
    refused: tuple[str, ...] = ()
    held_until: datetime | None = None

    def add(self, words: str) -> None:
        """Add to the reason what else its owner must know."""
        self.reason = f"{self.reason}; {words}" if self.reason else words


def judge(ended: Exit, reason: str, stderr: list[str], limit_s: float) -> Outcome:
    """Say how the analysis ended, in a word and in a sentence.

    Args:
        ended: what became of its process.
        reason: what it wrote about that itself.
        stderr: its last words, in case it did not.
        limit_s: the time it had, seconds.
    """
    if ended.cause is Ending.TIMED_OUT:
        limit = f"{limit_s / 60:.0f} minutes" if limit_s >= _TWO_MINUTES else f"{limit_s:.0f} seconds"
        words = f"the analysis was ended because it took longer than its time limit of {limit}"
        return Outcome(ending=Ending.TIMED_OUT, reason=words, exit=ended)
    if ended.cause is Ending.STOPPED:
        words = "the machine was told to stop while the analysis was running"
        return Outcome(ending=Ending.STOPPED, reason=words, exit=ended)
    if ended.code == 0:
        return Outcome(ending=Ending.SUCCEEDED, reason="", exit=ended)
    if reason:
        ending = Ending.BAD_INPUT if ended.code == BAD_INPUT_STATUS else Ending.FAILED
        return Outcome(ending=ending, reason=reason, exit=ended)
    last = next((line.strip() for line in reversed(stderr) if line.strip()), "")
    words = f"the analysis failed: {ended.describe()}" + (f"; its last words were: {last}" if last else "")
    return Outcome(ending=Ending.FAILED, reason=words, exit=ended)


def read_reason(path: Path) -> str:
    """Return the sentence that the analysis left, on one line; empty when it left none.

    The analysis owns this path, so a link in its place is not followed: it could name a file it may not read.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                text = file.read(4 * _LONGEST_REASON).decode(errors="replace")
                return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_REASON]
    return ""


def describe(
    outcome: Outcome,
    *,
    board: Board,
    meter: Meter,
    peaks: Mapping[str, float],
    ended: datetime,
    log_bytes_missing: int,
) -> dict[str, object]:
    """Return the report as JSON fields: times are ISO 8601 UTC, sizes bytes, `outputs` have path, size and SHA-256."""
    manifest, ended_by = board.manifest, outcome.exit
    return {
        "version": 1,
        "job": manifest.job,
        "task": manifest.task,
        "run": manifest.run,
        "status": (Status.SUCCESS if outcome.ending is Ending.SUCCEEDED else Status.FAILED).value,
        "ending": outcome.ending.value,
        "reason": outcome.reason,
        "exit_status": ended_by.code if ended_by else None,
        "signal": ended_by.signal if ended_by else 0,
        "started": format_time(board.started),
        "ended": format_time(ended),
        "run_s": round(ended_by.seconds, 3) if ended_by else 0.0,
        "cpu_s": round(meter.cpu_s, 2),
        "peak_memory": meter.peak_memory,
        "peaks": dict(peaks),
        "input_sha256": board.input_sha256,
        "held_until": format_time(outcome.held_until) if outcome.held_until else "",
        "outputs": [asdict(output) for output in outcome.outputs],
        "refused": list(outcome.refused),
        "stderr": board.stderr.texts(),
        "log_bytes_missing": log_bytes_missing,
        "instance": board.instance,
        "iae": manifest.iae,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }

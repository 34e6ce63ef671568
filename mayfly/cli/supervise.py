"""Keep the platform's processes alive, and take them down.

Each child has a process group of its own, so that Ctrl-C reaches the supervisor alone and it decides who stops
when. Each child also asks the kernel for a SIGTERM when the supervisor dies (see `end_with`), so that not even
`kill -9` leaves one behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from state.errors import MayflyError

GRACE_S = 8.0
"""How long children may take to stop; the supervisor's own promise is ten seconds."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
STEADY_S = 60.0
"""A child that lived this long had recovered: its next pause is the first one again."""
PR_SET_PDEATHSIG = 1
LAST_WORDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A child to keep running.

    Attributes:
        name: what people call it.
        command: how it is started.
        log: file that its output is appended to.
    """

    name: str
    command: Sequence[str]
    log: Path


@dataclass(slots=True, kw_only=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE_S
    due: float = field(default=0.0)
    falls: int = 0


class Supervisor:
    """Runs programs until it is stopped; what ends by itself is started again.

    A platform that serves people goes on for ever: what keeps a child down may pass. Who waits for one job gives up.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        environment: Mapping[str, str],
        on_news: Callable[[str], None],
        patience: int | None = None,
    ) -> None:
        """Keep what to run.

        Args:
            programs: the children.
            environment: their variables.
            on_news: told in words whenever a child ends unasked.
            patience: after how many quick ends in a row of one child `check` gives up; None for never.
        """
        self._children = [_Child(program=program) for program in programs]
        self._environment, self._on_news, self._patience = dict(environment), on_news, patience

    def start(self) -> None:
        """Start every child."""
        for child in self._children:
            self._start(child)

    def check(self) -> None:
        """Look at every child once, and start again what has ended when its pause is over; call it often.

        Raises:
            MayflyError: a child ends again and again before it has lived for long; its last words say why.
        """
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.due:
                    self._start(child)
            elif child.process.poll() is not None:
                self._mourn(child, child.process.returncode)

    def stop(self) -> None:
        """Ask every child to stop, the last one started first; whoever does not listen is killed."""
        running = [child.process for child in reversed(self._children) if child.process is not None]
        for process in running:
            process.terminate()
        end = time.monotonic() + GRACE_S
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self._children:
            child.process = None

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the living children, by name."""
        return {c.program.name: c.process.pid for c in self._children if c.process is not None}

    def _start(self, child: _Child) -> None:
        program = child.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            child.process = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        child.started = time.monotonic()

    def _mourn(self, child: _Child, code: int) -> None:
        child.process = None
        if time.monotonic() - child.started > STEADY_S:
            child.pause, child.falls = FIRST_PAUSE_S, 0
        child.due, child.falls = time.monotonic() + child.pause, child.falls + 1
        name, log = child.program.name, child.program.log
        ending = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = last_words(log) if code > 0 else ""
        if child.falls == self._patience:
            why = f": {said}" if said else "."
            raise MayflyError(f"{name} {ending}, {child.falls} times in a row (log: {log}){why}")
        self._on_news(
            f"{name} {ending}; it starts again in {child.pause:.0f} s (log: {log})" + (f"\n  {said}" if said else "")
        )
        child.pause = min(child.pause * 2, LONGEST_PAUSE_S)


def last_words(log: Path) -> str:
    """Return the last line of a log."""
    lines = log.read_bytes()[-LAST_WORDS:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def end_with(parent: int | None) -> None:
    """Have this process get a SIGTERM when its parent dies; what a supervised command does first.

    Raises:
        MayflyError: the parent is dead already.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        raise MayflyError("The process that started this one is gone.")

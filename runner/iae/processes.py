"""The processes of a task, read from /proc: how much they use, and which are left when the task is over.

psutil is not pure Python and so cannot travel in the agent's one file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from state.values import dataclass

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SET_CHILD_SUBREAPER = 36
_RESIDENT = 21  # of the fields after the program's name, counted from 0; see proc(5)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process.

    Attributes:
        pid: its number.
        parent: its parent's number.
        started: clock ticks since boot; with the pid it names a process for ever.
        state: one letter, `Z` for a process that has ended and was not yet collected.
        cpu_s: CPU seconds of it and of its collected children.
        memory: resident bytes.
    """

    pid: int
    parent: int
    started: int
    state: str
    cpu_s: float
    memory: int


def list_processes(proc: Path = PROC) -> dict[int, Process]:
    """Return every process this one can see; empty where there is no /proc."""
    found: dict[int, Process] = {}
    with suppress(OSError):
        for folder in proc.iterdir():
            if folder.name.isdigit() and (process := _read(folder / "stat")):
                found[process.pid] = process
    return found


def select_tree(processes: dict[int, Process], root: int, outside: Iterable[tuple[int, int]] = ()) -> list[Process]:
    """Return all descendants of a process, without those below a process of `outside` (pid and start)."""
    excluded = set(outside)
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = list(children.get(root, ()))
    while waiting:
        process = waiting.pop()
        if (process.pid, process.started) not in excluded:
            found.append(process)
            waiting.extend(children.get(process.pid, ()))
    return found


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that a daemon cannot leave the task's tree."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Family:
    """The processes of the task: all descendants of the agent except those that were there before the task.

    What was there before is the timer that turns the machine off at the deadline; it must live.
    """

    def __init__(self) -> None:
        self._root = os.getpid()
        before = select_tree(list_processes(), self._root)
        self._before = [(process.pid, process.started) for process in before]

    def members(self) -> list[Process]:
        """Return the living processes of the task."""
        return [process for process in self._tree() if process.state != "Z"]

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to every living process of the task."""
        for process in self.members():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)

    def collect(self, besides: int) -> None:
        """Collect ended processes that were adopted, but not `besides`, whose exit status somebody waits for."""
        for process in self._tree():
            if process.state == "Z" and process.parent == self._root and process.pid != besides:
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)

    def _tree(self) -> list[Process]:
        return select_tree(list_processes(), self._root, self._before)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a task uses: percent of one CPU since the last look, and resident bytes (shared pages count each time)."""

    cpu_percent: float
    memory: int


class Meter:
    """Measures a family of processes from look to look."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._last: tuple[float, float] | None = None
        self.peak_memory = 0
        self.cpu_s = 0.0

    def look(self, now: float) -> Load:
        """Return the load since the last look.

        Args:
            now: monotonic seconds.
        """
        members = self._family.members()
        cpu, memory = sum(process.cpu_s for process in members), sum(process.memory for process in members)
        percent = 0.0
        if self._last and now > self._last[0]:
            # A process that ended without being waited for takes its seconds with it: never less than nothing.
            percent = max(0.0, 100 * (cpu - self._last[1]) / (now - self._last[0]))
        self._last = (now, cpu)
        self.peak_memory = max(self.peak_memory, memory)
        self.cpu_s = max(self.cpu_s, cpu)
        return Load(cpu_percent=round(percent, 1), memory=memory)


def _read(path: Path) -> Process | None:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    # The name of the program stands in brackets and may hold brackets and spaces itself.
    pid, _, rest = text.partition(" (")
    field = rest.rpartition(") ")[2].split()
    if len(field) <= _RESIDENT:
        return None
    return Process(
        pid=int(pid),
        parent=int(field[1]),
        started=int(field[19]),
        state=field[0],
        cpu_s=sum(map(int, field[11:15])) / _TICKS,
        memory=int(field[_RESIDENT]) * _PAGE,
    )

"""Where a process can die: at every step boundary, around every commit, after every effect in the cloud.

The product knows nothing of this. Commits are heard through SQLAlchemy's own events, effects through the cloud that the
process is given, and a point is named by the code that led there, so that new code has its points at once. The first
process that reaches a point is killed there, once in a whole run.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

from runner.engine import Life
from state.job import Ending
from tests.crash.book import Book

WROTE = "mayfly wrote"
WRITES = frozenset({"INSERT", "UPDATE", "DELETE"})


class KillPoints:
    """Points that were reached and not yet died at."""

    def __init__(self, book: Path, *, armed: bool, only: str = "") -> None:
        """Keep the points in `book`, which all processes of a run share; only those that contain `only` kill."""
        self._book, self._armed, self._only = Book(book), armed, only

    def reach(self, point: str) -> None:
        """Die here, unless somebody did before."""
        if self._armed and self._only in point and self._book.add(point):
            os.kill(os.getpid(), signal.SIGKILL)

    def after_effect(self, effect: str) -> None:
        """An effect is done, and nobody has written that down."""
        self.reach(f"after {effect} in {find_place()}")

    def listen(self) -> None:
        """Hear of every commit of this process."""
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note_write)
        sa.event.listen(sa.Engine, "commit", self._before_commit)
        sa.event.listen(sa.Pool, "checkin", self._after_commit)

    @staticmethod
    def _note_write(connection: sa.Connection, _: object, statement: str, *__: object) -> None:
        if statement.lstrip()[:6].upper() in WRITES:
            connection.info[WROTE] = True

    def _before_commit(self, connection: sa.Connection) -> None:
        if WROTE in connection.info:  # what only reads leaves nothing half done
            self.reach(f"before commit of {find_place()}")

    def _after_commit(self, _: object, record: Any) -> None:
        if record is not None and record.info.pop(WROTE, False):
            self.reach(f"after commit of {find_place()}")


def find_place() -> str:
    """Return the way from the step to here: `worker.provision > ledger.note_usage`."""
    inner = caller = outer = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        name = f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        if module.startswith(("runner.", "state.", "dbos._sys")) and module != "runner.engine":
            inner = inner or name
            if module.startswith("runner."):
                caller, outer = caller or f"{name}:{frame.f_lineno}", name
        frame = frame.f_back
    way = [outer] if caller.startswith(f"{outer}:") else [outer, caller]
    return " > ".join(part for part in dict.fromkeys([*way, caller, inner]) if part) or "engine"


class MarkedLife:
    """A life whose step boundaries are points: before it begins, and when it is done and the engine has not heard."""

    def __init__(self, life: Life, points: KillPoints) -> None:
        self._life, self._points = life, points

    def _mark(self, name: str, *arguments: Any) -> Any:
        self._points.reach(f"step {name} begins")
        found = getattr(self._life, name)(*arguments)
        self._points.reach(f"step {name} is done and not recorded")
        return found

    def prepare(self, job_id: str) -> Ending | None:
        return self._mark("prepare", job_id)  # type: ignore[no-any-return]

    def provision(self, job_id: str) -> Ending | None:
        return self._mark("provision", job_id)  # type: ignore[no-any-return]

    async def monitor(self, job_id: str) -> Ending:
        self._points.reach("step monitor begins")
        found = await self._life.monitor(job_id)
        self._points.reach("step monitor is done and not recorded")
        return found

    def collect(self, job_id: str, ending: Ending) -> Ending:
        return self._mark("collect", job_id, ending)  # type: ignore[no-any-return]

    def destroy(self, job_id: str, ending: Ending) -> None:
        self._mark("destroy", job_id, ending)

    def settle(self, job_id: str) -> None:
        self._mark("settle", job_id)

    def certify(self, job_id: str) -> str:
        return self._mark("certify", job_id)  # type: ignore[no-any-return]

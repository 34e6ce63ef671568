from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from runner.engine import Engine
from runner.stopping import pause
from state.database import connect, migrate, sqlite_url
from state.job import Ending, JobStatus

DONE = Ending(status=JobStatus.DONE, reason="all done")
PATIENCE_S = 90
"""For a life that takes some seconds where other tests leave some of the machine."""


class Script:
    """A life that notes what happens, to a file, so that two processes can be seen together."""

    def __init__(
        self, diary: Path, *, die_at: str = "", fail_at: str = "", fails: int = 1, dawdle_s: float = 0
    ) -> None:
        self.diary, self.die_at, self.fail_at, self.fails = diary, die_at, fail_at, fails
        self.dawdle_s = dawdle_s
        self.over = threading.Event()

    def note(self, what: str) -> None:
        with self.diary.open("a") as file:
            file.write(what + "\n")
        if what.startswith(self.die_at or "-"):
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith(self.fail_at or "-") and self.fails > 0:
            self.fails -= 1
            raise RuntimeError(f"{what} stumbled")

    def prepare(self, job_id: str) -> Ending | None:
        self.note(f"prepare {job_id}")

    def provision(self, job_id: str) -> Ending | None:
        self.note(f"provision {job_id}")
        threading.Event().wait(self.dawdle_s)

    async def monitor(self, job_id: str) -> Ending:
        await asyncio.to_thread(self.note, f"monitor {job_id}")
        return DONE

    def collect(self, job_id: str, ending: Ending) -> Ending:
        self.note(f"collect {job_id} {ending.status}")
        return ending

    def destroy(self, job_id: str, ending: Ending) -> None:
        self.note(f"destroy {job_id} {ending.status}")

    def settle(self, job_id: str) -> None:
        self.note(f"settle {job_id}")

    def certify(self, job_id: str) -> str:
        self.note(f"certify {job_id}")
        self.over.set()
        return "done"


class Waiting(Script):
    """Waits at one step until it is to stop."""

    def __init__(self, diary: Path, *, wait_at: str) -> None:
        super().__init__(diary)
        self.wait_at, self.stop, self.waits = wait_at, threading.Event(), threading.Event()

    def note(self, what: str) -> None:
        super().note(what)
        if what.startswith(self.wait_at):
            self.waits.set()
            pause(self.stop, 60)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    database = connect(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    made = Engine(database, lease=timedelta(seconds=1))
    made.migrate()
    yield made
    made.stop()
    database.dispose()


def enqueue(engine: Engine, job_id: str) -> None:
    with engine.database.begin() as connection:
        engine.enqueue(connection, job_id, "lab1")


def steps(diary: Path) -> list[str]:
    return [line.split()[0] for line in diary.read_text().splitlines()]


ALL = ["prepare", "provision", "monitor", "collect", "destroy", "settle", "certify"]


def test_a_job_goes_through_its_life_once_however_often_it_is_enqueued(engine: Engine, tmp_path: Path) -> None:
    life = Script(tmp_path / "diary")
    enqueue(engine, "j1")
    enqueue(engine, "j1")
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    assert steps(life.diary) == ALL


def test_an_enqueue_that_is_rolled_back_never_runs(engine: Engine, tmp_path: Path) -> None:
    life = Script(tmp_path / "diary")
    with engine.database.begin() as connection:
        engine.enqueue(connection, "ghost", "lab1")
        connection.rollback()
    enqueue(engine, "j1")
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    assert "ghost" not in life.diary.read_text()


def test_a_worker_whose_beats_arrive_late_does_not_take_over_its_own_jobs(engine: Engine, tmp_path: Path) -> None:
    life = Script(tmp_path / "diary", dawdle_s=0.5)
    slow = Engine(engine.database, lease=timedelta(microseconds=1))  # no beat is ever written so fast
    enqueue(slow, "j1")
    try:
        slow.start(life, poll_s=0.05)
        assert life.over.wait(PATIENCE_S)
    finally:
        slow.stop()
    assert steps(life.diary) == ALL


@pytest.mark.slow
@pytest.mark.parametrize("step", ["prepare", "provision", "monitor", "collect"])
def test_a_step_that_keeps_failing_still_leads_to_destroy(engine: Engine, tmp_path: Path, step: str) -> None:
    life = Script(tmp_path / "diary", fail_at=step, fails=3 if step != "monitor" else 1)
    enqueue(engine, "j1")
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    assert steps(life.diary)[-3:] == ["destroy", "settle", "certify"]
    expected = "done" if step == "monitor" else "failed"
    assert f"destroy j1 {expected}" in life.diary.read_text()


class Restarting(Script):
    """A life whose database goes away for a while at one step."""

    def note(self, what: str) -> None:
        try:
            super().note(what)
        except RuntimeError as error:
            raise sa.exc.OperationalError("SELECT", {}, error) from error


def test_a_database_that_restarts_fails_no_job(engine: Engine, tmp_path: Path) -> None:
    life = Restarting(tmp_path / "diary", fail_at="provision", fails=4)  # more than a step is tried
    enqueue(engine, "j1")
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    assert "destroy j1 done" in life.diary.read_text()


@pytest.mark.slow
def test_destroying_is_tried_until_it_works(engine: Engine, tmp_path: Path) -> None:
    life = Script(tmp_path / "diary", fail_at="destroy", fails=4)
    enqueue(engine, "j1")
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    assert steps(life.diary).count("destroy") == 5


@pytest.mark.slow
def test_a_step_that_is_let_go_of_is_done_again_by_the_next_worker(engine: Engine, tmp_path: Path) -> None:
    diary, step = tmp_path / "diary", "provision"
    first = Waiting(diary, wait_at=step)
    enqueue(engine, "j1")
    engine.start(first, poll_s=0.05)
    assert first.waits.wait(PATIENCE_S)
    first.stop.set()  # as a signal does: what waits ends, and then the engine
    assert not first.over.wait(4)  # a step that failed would be tried again by now
    engine.stop()
    assert steps(diary)[-1] == step  # nothing was made of its end
    following, life = Engine(engine.database, lease=timedelta(seconds=1)), Script(diary)
    try:
        following.start(life, poll_s=0.05)
        assert life.over.wait(PATIENCE_S)
    finally:
        following.stop()
    assert steps(diary).count(step) == 2
    assert "destroy j1 done" in diary.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("step", ALL)
def test_a_killed_worker_is_succeeded_by_the_next(engine: Engine, tmp_path: Path, step: str) -> None:
    diary = tmp_path / "diary"
    enqueue(engine, "j1")
    code = (
        "import sys, threading; from pathlib import Path; from datetime import timedelta\n"
        "from tests.runner.test_engine import Script; from runner.engine import Engine\n"
        "from state.database import connect\n"
        "engine = Engine(connect(sys.argv[1]), lease=timedelta(seconds=1))\n"
        "engine.start(Script(Path(sys.argv[2]), die_at=sys.argv[3]), poll_s=0.05)\n"
        "threading.Event().wait(90)\n"
    )
    url = engine.database.url.render_as_string()
    first = subprocess.run([sys.executable, "-c", code, url, str(diary), step], check=False, timeout=120)
    assert first.returncode == -signal.SIGKILL
    life = Script(diary)
    engine.start(life, poll_s=0.05)
    assert life.over.wait(PATIENCE_S)
    seen = steps(diary)
    assert [s for s in ALL if seen.count(s) == 2] == [step]
    assert sorted(set(seen), key=ALL.index) == ALL

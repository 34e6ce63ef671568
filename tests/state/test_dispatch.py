from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from state.database import sqlite_url
from state.dispatch import AT_ONCE, Gate, place_of
from state.errors import BudgetError
from state.job import Ending, Job, JobStatus
from state.ledger import Ledger, open_ledger
from state.reservation import Reservation
from state.turns import Caps
from tests.fakes.jobs import NOW, a_job, a_source

HOUR = timedelta(hours=1)


def reservation(number: int, *, cap: str = "1000", **changes: object) -> Reservation:
    job: Job = a_job(number, **changes)  # type: ignore[arg-type]
    return Reservation(job=job, source=a_source(number), bound=Decimal(1), cap=Decimal(cap), since=None, vcpus=2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


class Taken:
    """An engine that only writes down what it was handed."""

    def __init__(self, ledger: Ledger) -> None:
        self.jobs: list[str] = []
        self.gate = Gate(ledger.engine, lambda _, job, __: self.jobs.append(job))


def end(ledger: Ledger, job: str) -> None:
    ledger.conclude(job, Ending(status=JobStatus.DONE, reason="done"), NOW)
    ledger.finish(job, NOW)


def test_jobs_wait_for_their_turn_and_pass_once(ledger: Ledger) -> None:
    taken = Taken(ledger)
    ledger.admit_all([reservation(n) for n in range(5)], NOW)
    caps = Caps(instances=2)
    names = [a_job(n).id for n in range(5)]
    assert taken.gate.open(caps, NOW) == names[:2]
    assert taken.gate.open(caps, NOW) == []
    assert ledger.job(names[2]).waits == "the limit of the platform: 2 of 2 instances are in use, and it needs 1"
    assert ledger.job(names[4]).waits == f"job {names[2]} of its group, which was submitted before it"
    assert place_of(ledger.engine, names[4]).ahead == 2
    assert [line.text for line in ledger.story(names[2])][-1].startswith("waiting: the limit of the platform")
    end(ledger, names[0])
    assert taken.gate.open(caps, NOW) == [names[2]]
    assert ledger.job(names[2]).waits is None
    assert taken.jobs == names[:3]


def test_an_engine_that_fails_leaves_every_job_at_the_gate(ledger: Ledger) -> None:
    def fail(_: sa.Connection, __: str, ___: str) -> None:
        raise RuntimeError("no engine")

    ledger.admit_all([reservation(n) for n in range(2)], NOW)
    with pytest.raises(RuntimeError):
        Gate(ledger.engine, fail).open(Caps(), NOW)
    assert Taken(ledger).gate.open(Caps(), NOW) == [a_job(0).id, a_job(1).id]


def test_a_waiting_job_that_is_cancelled_passes_to_its_end(ledger: Ledger) -> None:
    ledger.admit_all([reservation(n) for n in range(200)], NOW)
    last = a_job(199).id
    ledger.request_cancel(last, "changed my mind", NOW)
    assert Taken(ledger).gate.open(Caps(instances=0), NOW) == [last]


def test_a_crowd_passes_in_several_transactions(ledger: Ledger) -> None:
    taken = Taken(ledger)
    ledger.admit_all([reservation(n) for n in range(AT_ONCE + 3)], NOW)
    assert [len(taken.gate.open(Caps(), NOW)) for _ in range(3)] == [AT_ONCE, 3, 0]
    assert taken.jobs == [a_job(n).id for n in range(AT_ONCE + 3)]


def test_two_gates_at_once_never_hand_over_twice(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    ledger = open_ledger(url)
    ledger.admit_all([reservation(n) for n in range(30)], NOW)
    gate, seen = threading.Barrier(3), list[str]()

    def run(_: int) -> None:
        mine = open_ledger(url)
        gate.wait()
        Gate(mine.engine, lambda _, job, __: seen.append(job)).open(Caps(instances=20), NOW)
        mine.engine.dispose()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    assert sorted(seen) == [a_job(n).id for n in range(20)]


def test_a_batch_reserves_one_after_the_other(ledger: Ledger) -> None:
    twice = reservation(3)
    outcomes = ledger.admit_all([*(reservation(n, cap="3") for n in range(5)), twice, twice], NOW)
    assert outcomes[:3] == [True] * 3
    assert all(isinstance(one, BudgetError) for one in outcomes[3:5])
    assert outcomes[5:] == [True, False]
    assert ledger.committed("lab1", None) == 4


@pytest.mark.slow
def test_two_hundred_racing_submissions_against_a_budget_for_seven_admit_exactly_seven(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    open_ledger(url)
    gate = threading.Barrier(8)

    def submit(worker: int) -> int:
        mine, won = open_ledger(url), 0
        gate.wait()
        for start in range(worker, 200, 40):
            batch = [reservation(number, cap="7.5") for number in range(start, min(200, start + 40), 8)]
            won += sum(outcome is True for outcome in mine.admit_all(batch, NOW))
        mine.engine.dispose()
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(8))) == 7
    assert open_ledger(url).committed("lab1", None) == 7


def test_running_longer_is_reserved_first(ledger: Ledger) -> None:
    ledger.admit_all([reservation(0)], NOW)
    job = a_job(0).id
    ledger.set_deadline(job, NOW + HOUR)
    with pytest.raises(BudgetError, match=r"up to 5\.00 USD more.*only 4\.00 USD"):
        ledger.extend(job, bound=Decimal(5), extra_s=3600, most_s=7200, cap=Decimal(5), since=None)
    assert ledger.job(job).deadline == NOW + HOUR
    assert ledger.extend(job, bound=Decimal(4), extra_s=3600, most_s=7200, cap=Decimal(5), since=None) == NOW + 2 * HOUR
    assert ledger.committed("lab1", None) == 5

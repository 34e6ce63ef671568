from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from state.chronicle import Attempt, Chronicle, Outcome, TaskEnding, Tried
from state.database import sqlite_url
from state.job import Offer
from state.ledger import open_ledger
from state.pace import Pace
from tests.fakes.jobs import NOW, a_job, a_source

JOB = a_job()
OFFER = Offer(instance_type="m5.large", zone="us-east-1a", spot=True, hourly_price=Decimal("0.096"))


@pytest.fixture
def chronicle(tmp_path: Path) -> Chronicle:
    ledger = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    ledger.admit(JOB, source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None)
    return Chronicle(ledger.engine)


def attempt(number: int = 0, **changes: object) -> Attempt:
    facts = {"job": JOB.id, "task": 0, "number": number, "way": 0, "offer": OFFER, "at": NOW, "run": 0} | changes
    return Attempt(**facts)  # type: ignore[arg-type]


def test_a_try_is_kept_once_with_what_came_of_it(chronicle: Chronicle) -> None:
    chronicle.place([attempt()])
    chronicle.mark(attempt(), Tried.STARTED, instance="i-1")
    chronicle.place([attempt()])
    chronicle.mark(attempt(), Tried.INTERRUPTED, reason="taken back")
    chronicle.place([attempt(1, run=1)])
    assert chronicle.attempts(JOB.id) == [
        attempt(instance="i-1", outcome=Tried.INTERRUPTED, reason="taken back"),
        attempt(1, run=1),
    ]
    assert chronicle.current(JOB.id) == {0: attempt(1, run=1)}


def test_a_later_look_may_know_better_how_a_task_ended(chronicle: Chronicle) -> None:
    chronicle.end_task(JOB.id, Outcome(task=0, ending=TaskEnding.FAILED, reason="silent"))
    chronicle.end_task(JOB.id, Outcome(task=0, ending=TaskEnding.FAILED, reason="out of memory"))
    assert chronicle.outcomes(JOB.id) == {0: Outcome(task=0, ending=TaskEnding.FAILED, reason="out of memory")}


def test_facts_are_json_and_the_newest_counts(chronicle: Chronicle) -> None:
    chronicle.note(JOB.id, "apply", {"add": 1})
    chronicle.note(JOB.id, "apply", {"add": 2, "words": ["é", None]})
    assert chronicle.facts(JOB.id) == {"apply": {"add": 2, "words": ["é", None]}}


def test_an_offer_says_itself_with_its_price() -> None:
    assert str(OFFER) == "m5.large in us-east-1a at the Save price, at most 0.096 USD/h"
    assert str(Offer(instance_type="m5.large", hourly_price=Decimal("0.100"))) == "m5.large, 0.1 USD/h"


def test_five_calls_at_once_then_two_a_second_for_all_workers_together(chronicle: Chronicle) -> None:
    one, other = (Pace(engine=chronicle.engine, name="run-instances") for _ in range(2))
    assert [one.take(1, NOW) for _ in range(5)] == [0.0] * 5
    assert other.take(1, NOW) == pytest.approx(0.5)
    assert one.take(1, NOW) == pytest.approx(1.0)
    later = NOW + timedelta(seconds=60)
    assert other.take(5, later) == 0.0


def test_a_large_job_starts_when_the_bucket_is_full_and_others_wait_for_its_debt(chronicle: Chronicle) -> None:
    pace = Pace(engine=chronicle.engine, name="run-instances")
    assert pace.take(70, NOW) == 0.0
    assert pace.take(1, NOW) == pytest.approx(33.0)


def test_throttling_makes_everybody_wait(chronicle: Chronicle) -> None:
    pace = Pace(engine=chronicle.engine, name="run-instances")
    pace.slow_down(10, NOW)
    assert pace.take(1, NOW) == pytest.approx(8.0)

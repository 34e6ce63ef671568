from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from state.database import sqlite_url
from state.errors import StateError
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from tests.fakes.jobs import NOW, a_job, a_source

OVER = Ending(status=JobStatus.OVER_BUDGET, reason="the budget is used up")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    made.admit(a_job(), source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None)
    return made


def test_a_stop_says_how_why_and_by_when(ledger: Ledger) -> None:
    assert ledger.stop_request(a_job().id) is None
    assert ledger.request_stop(a_job().id, OVER, NOW, grace=5 * MINUTE)
    found = ledger.stop_request(a_job().id)
    assert found is not None
    assert found.ending == OVER
    assert found.due == NOW + 5 * MINUTE
    assert ledger.cancel_reason(a_job().id) == OVER.reason


def test_the_first_wish_stays_but_a_sooner_one_counts(ledger: Ledger) -> None:
    ledger.request_stop(a_job().id, OVER, NOW, grace=5 * MINUTE)
    ledger.request_stop(a_job().id, OVER, NOW + MINUTE, grace=5 * MINUTE)
    first = ledger.stop_request(a_job().id)
    assert first is not None
    assert first.due == NOW + 5 * MINUTE
    ledger.request_cancel(a_job().id, "changed my mind", NOW + MINUTE)
    second = ledger.stop_request(a_job().id)
    assert second is not None
    assert (second.status, second.due) == (JobStatus.CANCELLED, NOW + MINUTE)
    ledger.request_stop(a_job().id, OVER, NOW + 2 * MINUTE)
    assert ledger.stop_request(a_job().id) == second


def test_what_is_being_taken_down_or_unknown_cannot_be_stopped(ledger: Ledger) -> None:
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason=""), NOW)
    assert not ledger.request_stop(a_job().id, OVER, NOW)
    with pytest.raises(StateError, match="no job nope"):
        ledger.request_stop("nope", OVER, NOW)

"""A job of 25 hours, across a change of daylight saving, a month's end or a leap day, is billed to the second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from compiler.profile import Period
from runner.desk import period_start
from state.database import sqlite_url
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from state.usage import Usage
from tests.fakes.jobs import a_job, a_source

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
PRICE = Decimal(36)
"""USD per hour, so that a second is a cent."""
LONG = timedelta(hours=25, seconds=1)

STARTS = {
    "an ordinary day": datetime(2026, 6, 10, 12, tzinfo=UTC),
    "clocks go forward in Berlin": datetime(2026, 3, 28, 20, tzinfo=BERLIN),
    "clocks go back in Berlin": datetime(2026, 10, 24, 20, tzinfo=BERLIN),
    "the hour that comes twice": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "clocks go forward in New York": datetime(2026, 3, 7, 23, tzinfo=NEW_YORK),
    "a month ends": datetime(2026, 1, 31, 20, tzinfo=UTC),
    "a year ends": datetime(2026, 12, 31, 20, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 28, 20, tzinfo=UTC),
}


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York"])
def ledger(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger on a machine that stands somewhere in the world."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield open_ledger(sqlite_url(tmp_path / "ledger.db"))
    monkeypatch.undo()
    time.tzset()


def use(start: datetime, end: datetime) -> Usage:
    return Usage(
        job=a_job().id,
        task=0,
        instance="i-1",
        instance_type="m5.large",
        spot=False,
        hourly_price=PRICE,
        start=start,
        end=end,
    )


def admit(ledger: Ledger, at: datetime, since: datetime | None = None) -> None:
    bound = Decimal(1000)
    job = a_job(submitted=at)
    ledger.admit(job, source=a_source(), bound=bound, cap=bound, since=since, at=at, enqueue=lambda *_: None)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_a_long_job_is_billed_to_the_second(ledger: Ledger, start: datetime) -> None:
    end = (start.astimezone(UTC) + LONG).astimezone(start.tzinfo)
    admit(ledger, start)
    ledger.note_usage(a_job().id, [use(start, start)], ended=False)
    assert ledger.usage(a_job().id, end)[0].seconds == 25 * 3600 + 1  # while it runs
    ledger.note_usage(a_job().id, [use(start, end)], ended=True)
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason=""), end)
    assert ledger.settle(a_job().id, end + timedelta(days=40)) == Decimal("900.01")


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_use_is_counted_in_real_seconds_in_any_zone(start: datetime) -> None:
    end = (start.astimezone(UTC) + LONG).astimezone(start.tzinfo)
    assert use(start, end).seconds == 25 * 3600 + 1
    assert use(start, end).cost == Decimal("900.01")


def test_a_job_across_a_month_counts_in_the_month_in_which_it_is_settled(ledger: Ledger) -> None:
    start = STARTS["a month ends"]
    end = start + LONG
    january, february = (period_start(Period.MONTHLY, moment) for moment in (start, end))
    admit(ledger, start, january)
    ledger.note_usage(a_job().id, [use(start, end)], ended=True)
    assert ledger.committed("lab1", february) == 1000  # its money may still be spent in February
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason=""), end)
    ledger.settle(a_job().id, end)
    ledger.finish(a_job().id, end)
    assert ledger.committed("lab1", february) == Decimal("900.01")
    assert ledger.committed("lab1", period_start(Period.MONTHLY, end + timedelta(days=40))) == 0

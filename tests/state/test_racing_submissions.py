"""200 submissions at once against a budget for 7 jobs: exactly 7 get in, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from state.database import sqlite_url
from state.errors import BudgetError
from state.ledger import open_ledger
from tests.crash.postgres import Postgres
from tests.fakes.jobs import NOW, a_job, a_source

RACERS, SUBMISSIONS, PLACES = 10, 200, 7


def race(url: str) -> None:
    first = open_ledger(url)
    gate = threading.Barrier(RACERS)

    def submit(racer: int) -> int:
        mine, won = open_ledger(url), 0
        gate.wait(60)
        for number in range(racer, SUBMISSIONS, RACERS):
            try:
                won += mine.admit(
                    a_job(number),
                    source=a_source(number),
                    bound=Decimal("1.01"),
                    cap=Decimal("7.99"),
                    since=None,
                    at=NOW,
                    enqueue=lambda *_: None,
                )
            except BudgetError:
                continue
        mine.engine.dispose()
        return won

    with ThreadPoolExecutor(RACERS) as pool:
        assert sum(pool.map(submit, range(RACERS))) == PLACES
    assert len(first.jobs(limit=SUBMISSIONS)) == PLACES
    assert first.committed("lab1", None) == Decimal("7.07")
    first.engine.dispose()


def test_racing_on_sqlite(tmp_path: Path) -> None:
    race(sqlite_url(tmp_path / "ledger.db"))


@pytest.mark.xdist_group("postgres")
def test_racing_on_postgres(postgres: Postgres) -> None:
    race(postgres.new_database())

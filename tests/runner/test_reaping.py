"""The reaper of a worker outlives whatever goes wrong, and the figures tell when it does nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from runner.cloud_values import CloudSettings
from runner.metrics import render
from runner.service import Site, World, keep_reaping
from state.backend import LocalBackend
from state.database import sqlite_url
from state.figures import read_figures
from state.ledger import Ledger, open_ledger
from state.reaped import ReaperBook
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import a_platform


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    yield made
    made.engine.dispose()


def test_a_database_that_is_away_for_a_moment_does_not_end_the_reaper(tmp_path: Path, ledger: Ledger) -> None:
    cloud, stop, rounds = FakeCloud(), threading.Event(), list[int]()
    stray = cloud.launch(deployment="demo", job="pca-unknown")
    cloud.store.machines[stray] = replace(
        cloud.store.machines[stray], launched=datetime.now(UTC) - timedelta(hours=1), tags={"mayfly:deployment": "demo"}
    )

    @sa.event.listens_for(ledger.engine, "before_cursor_execute")
    def fall(*_: object) -> None:
        rounds.append(1)
        if len(rounds) <= 4:
            raise sa.exc.OperationalError("SELECT", {}, Exception("the database is restarting"))

    site = Site(
        project=tmp_path,
        database="",
        settings=CloudSettings(region="us-east-1", account="1" * 12),
        backend=LocalBackend(folder=tmp_path),
        jobs=tmp_path / "jobs",
        terraform=tmp_path,
        agents=tmp_path,
        environment={},
        world=World(reap_every=timedelta(milliseconds=10), reap_pause_s=0),
    )
    thread = threading.Thread(target=keep_reaping, args=(cloud, ledger, a_platform(), site, stop), daemon=True)
    thread.start()
    gone, pause = ReaperBook(ledger.engine), threading.Event()
    for _ in range(3000):
        if len(rounds) > 4 and gone.count():
            break
        pause.wait(0.02)
    stop.set()
    thread.join(60)
    assert cloud.store.machines[stray].is_gone


def test_a_reaper_that_sleeps_is_seen_in_the_figures(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    assert "mayfly_reaper_silence_seconds +Inf\n" in render(read_figures(ledger.engine, now), [])
    book = ReaperBook(ledger.engine)
    book.went_round(now - timedelta(minutes=40))
    book.note(identity="i-1", kind="instance", job="", at=now)
    text = render(read_figures(ledger.engine, now), [])
    assert "mayfly_reaper_silence_seconds 2400\n" in text
    assert "mayfly_reaped 1\n" in text

"""SIGKILL of real processes at every step boundary and between every effect and its record. No job is lost, nothing
is billed twice, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from state.database import sqlite_url
from tests.crash.harness import Platform
from tests.crash.postgres import Postgres
from tests.crash.runs import harm_everywhere, kill_at_random, missing_points

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_S = 400
Record = Callable[[str, object], None]


def test_a_platform_that_dies_at_every_point_loses_nothing(tmp_path: Path, record_property: Record) -> None:
    platform = Platform(tmp_path, sqlite_url(tmp_path / "ledger.db"), workers=2, armed=True)
    try:
        harm_everywhere(platform, jobs=6, seconds=PATIENCE_S)
        assert missing_points(platform.points) == []
    finally:
        record_property("counts", f"SQLite, two workers: {platform.counts}; {len(platform.points)} points")
        platform.close()


@pytest.mark.xdist_group("postgres")
def test_the_same_at_every_step_on_postgres_with_two_workers(
    tmp_path: Path, postgres: Postgres, record_property: Record
) -> None:
    platform = Platform(tmp_path, postgres.new_database(), workers=2, armed=True, only="step ")
    try:
        harm_everywhere(platform, jobs=3, seconds=PATIENCE_S)
        assert sum(point.startswith("step ") for point in platform.points) == 14
    finally:
        record_property("counts", f"PostgreSQL, two workers: {platform.counts}; {len(platform.points)} points")
        platform.close()


@pytest.mark.xdist_group("postgres")
def test_random_kills_and_a_database_that_crashes(tmp_path: Path, postgres: Postgres, record_property: Record) -> None:
    platform = Platform(tmp_path, postgres.new_database(), workers=2)
    try:
        kill_at_random(platform, seconds=12, every_s=0.8, restart=postgres.crash, patience_s=PATIENCE_S)
        assert platform.counts.restarts >= 1
        assert platform.counts.kills["worker"] >= 1
    finally:
        record_property("counts", f"PostgreSQL, at random: {platform.counts}")
        platform.close()

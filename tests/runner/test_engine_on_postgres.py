"""Everything that is asserted of the engine on SQLite holds on PostgreSQL: the same tests, another database."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta

import pytest

from runner.engine import Engine
from state.database import connect, migrate
from tests.crash.databases import postgres
from tests.crash.postgres import Postgres
from tests.runner import test_engine as suite

__all__ = ["postgres"]
pytestmark = pytest.mark.xdist_group("postgres")
SHARED = {
    name: test
    for name, test in vars(suite).items()
    if name.startswith("test_") and set(inspect.signature(test).parameters) <= {"engine", "tmp_path", "step"}
}
globals().update(SHARED)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    server: Postgres = request.getfixturevalue("postgres")
    database = connect(server.new_database())
    migrate(database)
    made = Engine(database, lease=timedelta(seconds=1))
    made.migrate()
    yield made
    made.stop()
    database.dispose()


def test_the_suite_is_shared() -> None:
    assert len(SHARED) >= 5

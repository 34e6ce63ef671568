"""Everything that is asserted of the ledger on SQLite holds on PostgreSQL: the same tests, another database."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from state.ledger import Ledger, open_ledger
from tests.crash.postgres import Postgres
from tests.state import test_ledger as suite

pytestmark = pytest.mark.xdist_group("postgres")
SHARED = {
    name: test
    for name, test in vars(suite).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["ledger"]
}
globals().update(SHARED)


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    opened = open_ledger(postgres.new_database())
    yield opened
    opened.engine.dispose()


def test_the_suite_is_shared() -> None:
    assert len(SHARED) >= 10

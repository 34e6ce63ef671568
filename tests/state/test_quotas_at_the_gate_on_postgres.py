"""What is asserted of vCPU quotas on SQLite holds on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from state.ledger import Ledger, open_ledger
from tests.crash.postgres import Postgres
from tests.state import test_quotas_at_the_gate as suite

pytestmark = pytest.mark.xdist_group("postgres")
SHARED = {name: test for name, test in vars(suite).items() if name.startswith("test_")}
globals().update(SHARED)


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    opened = open_ledger(postgres.new_database())
    yield opened
    opened.engine.dispose()


def test_the_suite_is_shared() -> None:
    assert len(SHARED) >= 7

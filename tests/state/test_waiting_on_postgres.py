"""What is asserted of the gate on SQLite holds on PostgreSQL; inbox and outbox there, too."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta

import pytest

from state.inbox import Inbox, Letter
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from state.notices import Notices
from state.submission import ObjectVersion
from tests.crash.postgres import Postgres
from tests.fakes.jobs import NOW, a_job
from tests.state import test_dispatch as suite

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
    assert len(SHARED) >= 5


def test_the_inbox_is_fair_and_counts_what_is_news(ledger: Ledger) -> None:
    inbox = Inbox(ledger.engine)
    line = [ObjectVersion(bucket="b", key=f"lab1/submissions/{n}submit.json", version="1") for n in range(5)]
    other = ObjectVersion(bucket="b", key="lab2/submissions/submit.json", version="1")
    assert inbox.record_all([*line, other], NOW) == 6
    assert inbox.record_all([*line, other], NOW) == 0
    assert [taken.source for taken in inbox.take(3, NOW)] == [line[0], other, line[1]]
    inbox.postpone([line[0]], NOW + timedelta(minutes=1), blameless=True)
    assert [(taken.source, taken.tries) for taken in inbox.take(2, NOW)] == [(line[1], 2), (other, 2)]
    inbox.close(other, NOW, "deleted before it was read")
    assert [one.source for one in inbox.closed_without_job()] == [other]
    assert inbox.keep_letter(Letter(id="m", seen=NOW, attempts=1, reason="no", body="a\0b"))
    assert not inbox.keep_letter(Letter(id="m", seen=NOW, attempts=2, reason="no", body="a\0b"))
    assert [(one.attempts, one.body) for one in inbox.letters()] == [(2, "a\\0b")]


def test_the_outbox_claims_each_delivery_once(ledger: Ledger) -> None:
    ledger.admit_all([suite.reservation(0)], NOW)
    for _ in range(2):
        ledger.conclude(a_job().id, Ending(status=JobStatus.FAILED, reason="no"), NOW)
        ledger.finish(a_job().id, NOW)
    notices = Notices(ledger.engine)
    [fresh] = notices.fresh()
    for _ in range(2):
        notices.spread(fresh.number, ["mail:a@x.org"], NOW)
    [(notice, channel)] = notices.due(NOW)
    assert notices.claim(notice.number, channel, NOW)
    assert not notices.claim(notice.number, channel, NOW)
    notices.failed(notice.number, channel, NOW, "later", again=True)
    assert notices.due(NOW) == []
    assert len(notices.due(NOW + timedelta(minutes=1))) == 1


def test_running_costs_and_accounts_add_up(ledger: Ledger) -> None:
    ledger.admit_all([suite.reservation(n) for n in range(2)], NOW)
    account = ledger.account("lab1", NOW - timedelta(days=1), NOW)
    assert account.spent == 0
    assert account.promised == 2
    assert ledger.alert("lab1", level=50, period="p", text="half", at=NOW)
    assert not ledger.alert("lab1", level=50, period="p", text="half", at=NOW)

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from state.chronicle import ATTEMPT
from state.database import connect, migrate, sqlite_url
from state.errors import BudgetError, JobError, StateError, SubmissionError
from state.inbox import Inbox
from state.job import FINAL, TRANSITIONS, Ending, Job, JobStatus
from state.lease import Leases
from state.ledger import Ledger, open_ledger
from state.pace import PACE
from state.reaped import REAPED
from state.tables import METADATA, Instant
from state.usage import Usage
from tests.fakes.jobs import NOW, a_job, a_source


def admit(ledger: Ledger, job: Job, *, bound: str = "1", cap: str = "10", number: int = 0) -> bool:
    return ledger.admit(
        job, source=a_source(number), bound=Decimal(bound), cap=Decimal(cap), since=None, at=NOW, enqueue=lambda _: None
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


def usage(job: Job, *, seconds: int = 3600, instance: str = "i-1") -> Usage:
    return Usage(
        job=job.id,
        task=0,
        instance=instance,
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal("0.096"),
        start=NOW,
        end=NOW + timedelta(seconds=seconds),
    )


def test_a_job_comes_back_as_it_was_admitted(ledger: Ledger) -> None:
    admit(ledger, a_job())
    assert ledger.job(a_job().id).job == a_job()
    assert [line.text for line in ledger.story(a_job().id)] == ["submitted", "admitted"]


def test_the_same_event_twice_makes_one_job(ledger: Ledger) -> None:
    inbox = Inbox(ledger.engine)
    assert inbox.record(a_source(), NOW)
    assert not inbox.record(a_source(), NOW)
    assert inbox.pending() == [a_source()]
    assert admit(ledger, a_job())
    assert not admit(ledger, a_job())
    assert inbox.pending() == []
    assert ledger.committed("lab1", None) == 1


def test_a_second_job_with_the_same_result_folder_is_refused(ledger: Ledger) -> None:
    admit(ledger, a_job())
    again = a_job(id="pca-other")
    with pytest.raises(SubmissionError, match='timestamp "t0" was used before'):
        admit(ledger, again, number=1)


def test_a_budget_is_reserved_then_settled(ledger: Ledger) -> None:
    admit(ledger, a_job(), bound="6")
    with pytest.raises(BudgetError, match=r"up to 5\.00 USD.*only 4\.00 USD"):
        admit(ledger, a_job(1), bound="5", number=1)
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason="all done"), NOW)
    ledger.note_usage(a_job().id, [usage(a_job())], ended=True)
    assert ledger.settle(a_job().id, NOW) == Decimal("0.096")
    assert ledger.settle(a_job().id, NOW + timedelta(hours=5)) == Decimal("0.096")
    assert ledger.committed("lab1", None) == Decimal("0.096")
    assert admit(ledger, a_job(1), bound="5", number=1)


def test_a_failed_enqueue_reserves_nothing(ledger: Ledger) -> None:
    def fail(_: sa.Connection) -> None:
        raise RuntimeError("no engine")

    with pytest.raises(RuntimeError):
        ledger.admit(a_job(), source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=fail)
    assert ledger.committed("lab1", None) == 0
    assert ledger.jobs() == []


def test_racing_submissions_never_overdraw_a_budget(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    open_ledger(url)
    gate = threading.Barrier(8)

    def submit(worker: int) -> int:
        mine, won = open_ledger(url), 0
        gate.wait()
        for number in range(worker, 40, 8):
            try:
                won += admit(mine, a_job(number), bound="1", cap="7", number=number)
            except BudgetError:
                continue
        mine.engine.dispose()
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(8))) == 7


def test_spending_before_the_period_does_not_count_but_running_jobs_do(ledger: Ledger) -> None:
    admit(ledger, a_job(), bound="3")
    since = NOW + timedelta(days=1)
    assert ledger.committed("lab1", since) == 3
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason=""), NOW)
    ledger.settle(a_job().id, NOW)
    assert ledger.committed("lab1", since) == 0


def test_the_first_ending_stays_and_cancel_comes_too_late(ledger: Ledger) -> None:
    admit(ledger, a_job())
    assert ledger.request_cancel(a_job().id, "changed my mind", NOW)
    assert ledger.cancel_reason(a_job().id) == "changed my mind"
    first = ledger.conclude(a_job().id, Ending(status=JobStatus.CANCELLED, reason="changed my mind"), NOW)
    assert ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason="late"), NOW) == first
    assert not ledger.request_cancel(a_job().id, "again", NOW)
    assert ledger.finish(a_job().id, NOW) == JobStatus.CANCELLED
    assert ledger.finish(a_job().id, NOW) == JobStatus.CANCELLED
    assert [line.text for line in ledger.story(a_job().id)][-1] == "cancelled"


def test_a_job_cannot_skip_its_destruction(ledger: Ledger) -> None:
    admit(ledger, a_job())
    with pytest.raises(JobError, match="admitted cannot become done"):
        ledger.advance(a_job().id, JobStatus.DONE, NOW)


def test_every_status_leads_to_an_end() -> None:
    for status in JobStatus:
        seen, front = {status}, {status}
        while front:
            front = {n for s in front for n in TRANSITIONS[s]} - seen
            seen |= front
        assert seen & FINAL
        if status in FINAL:
            assert seen == {status}


def test_a_story_line_is_told_once(ledger: Ledger) -> None:
    admit(ledger, a_job())
    for _ in range(2):
        ledger.tell(a_job().id, "half the budget is spent", NOW, once="alert-50")
        ledger.tell(a_job().id, "tick", NOW)
    assert [line.text for line in ledger.story(a_job().id) if line.kind == "note"] == [
        "half the budget is spent",
        "tick",
        "tick",
    ]


def test_an_instance_is_billed_to_the_first_end_that_was_seen(ledger: Ledger) -> None:
    admit(ledger, a_job())
    ledger.note_usage(a_job().id, [usage(a_job())], ended=False)
    assert ledger.usage(a_job().id, NOW + timedelta(hours=25))[0].seconds == 25 * 3600
    ledger.note_usage(a_job().id, [usage(a_job(), seconds=60)], ended=True)
    ledger.note_usage(a_job().id, [usage(a_job(), seconds=90)], ended=True)
    assert [one.seconds for one in ledger.usage(a_job().id, NOW)] == [60]


def test_a_rejection_is_kept_with_its_reason(ledger: Ledger) -> None:
    Inbox(ledger.engine).record(a_source(), NOW)
    for _ in range(2):
        ledger.reject(
            "pca-x",
            source=a_source(),
            group="lab1",
            analysis="pca",
            results=a_job().results,
            reason="gone",
            at=NOW,
        )
    record = ledger.job("pca-x")
    assert record.status == JobStatus.REJECTED
    assert record.ending == Ending(status=JobStatus.REJECTED, reason="gone")
    assert [r.id for r in ledger.uncertified()] == ["pca-x"]
    ledger.finish("pca-x", NOW)
    assert ledger.uncertified() == []
    with pytest.raises(StateError, match="was rejected"):
        _ = record.admitted


def test_an_unknown_job_is_named(ledger: Ledger) -> None:
    with pytest.raises(StateError, match="no job nope"):
        ledger.job("nope")


def test_a_dead_workers_lease_is_claimed_once(ledger: Ledger) -> None:
    leases = Leases(ledger.engine)
    leases.beat("w1", NOW)
    ttl = timedelta(seconds=5)
    assert not leases.claim("w1", NOW + timedelta(seconds=4), ttl)
    assert leases.claim("w1", NOW + timedelta(seconds=6), ttl)
    assert not leases.claim("w1", NOW + timedelta(seconds=6), ttl)
    assert leases.holders(NOW) == {"w1"}
    leases.release("w1")
    assert leases.holders(NOW) == set()


def test_migrations_make_exactly_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    made, meant = connect(sqlite_url(tmp_path / "a.db")), connect(sqlite_url(tmp_path / "b.db"))
    migrate(made)
    migrate(made)
    # Tables are known once their modules are imported.
    assert {PACE.name, ATTEMPT.name, REAPED.name} <= set(METADATA.tables)
    METADATA.create_all(meant)

    def shape(engine: sa.Engine) -> dict[str, object]:
        inspector = sa.inspect(engine)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
                inspector.get_pk_constraint(table)["constrained_columns"],
                sorted(str(i["column_names"]) + str(i["unique"]) for i in inspector.get_indexes(table)),
            )
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }

    assert shape(made) == shape(meant)


def test_a_ledger_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    engine = open_ledger(url).engine
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError, match="newer Mayfly"):
        open_ledger(url)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Instant().process_bind_param(datetime(2026, 1, 1), sa.create_engine("sqlite://").dialect)  # noqa: DTZ001

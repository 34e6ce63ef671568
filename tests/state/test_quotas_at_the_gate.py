"""The gate with vCPU quotas: by what waiting jobs may get, and by what jobs under way did get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from state.chronicle import Attempt, Chronicle, Tried
from state.database import sqlite_url
from state.dispatch import Gate
from state.job import Ending, JobStatus, Offer
from state.ledger import Ledger, open_ledger
from state.reservation import Reservation
from state.tables import JOB
from state.turns import Caps
from state.vcpus import Family, Need, RegionQuotas, read_needs
from tests.fakes.jobs import NOW, a_job, a_source

G_SPOT, G = Need(family=Family.G, spot=True, vcpus=8), Need(family=Family.G, spot=False, vcpus=8)
LARGE_G, STANDARD = Need(family=Family.G, spot=False, vcpus=32), Need(family=Family.STANDARD, spot=False, vcpus=4)
QUOTAS = Caps(vcpus={"us-east-1": RegionQuotas(on_demand={Family.G: 64, Family.STANDARD: 20}, spot={Family.G: 16})})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


def admit(ledger: Ledger, number: int, needs: Sequence[Need], *, group: str = "lab1", datasets: int = 1) -> str:
    job = a_job(number, group=group, datasets=datasets)
    wanted = Reservation(
        job=job,
        source=a_source(number),
        bound=Decimal(1),
        cap=Decimal(1000),
        since=None,
        vcpus=datasets * max(need.vcpus for need in needs),
        needs=tuple(needs),
    )
    assert ledger.admit_all([wanted], NOW) == [True]
    return job.id


def open_gate(ledger: Ledger) -> list[str]:
    return Gate(ledger.engine, lambda *_: None).open(QUOTAS, NOW)


def get_machine(ledger: Ledger, job: str, way: int, outcome: Tried, *, task: int = 0, spot: bool = False) -> None:
    """Let a task have been at its first way, and then at this one."""
    chronicle, offer = Chronicle(ledger.engine), Offer(instance_type="m5.large", spot=spot, hourly_price=Decimal(1))
    first = Attempt(job=job, task=task, number=0, way=0, offer=offer, at=NOW, run=0, outcome=Tried.NO_CAPACITY)
    chronicle.place([first, replace(first, number=1, way=way, outcome=outcome)])


def test_a_quota_is_never_passed_and_who_waits_knows_for_which(ledger: Ledger) -> None:
    eight = [admit(ledger, number, [G]) for number in range(8)]
    ninth = admit(ledger, 8, [G])
    other = admit(ledger, 9, [STANDARD])
    assert open_gate(ledger) == [*eight, other]
    words = "vCPUs: us-east-1, G and VT on demand: 64 of 64 are in use, and it needs 8"
    assert ledger.job(ninth).waits == words
    assert ledger.story(ninth)[-1].text == f"waiting: {words}"
    ledger.conclude(eight[0], Ending(status=JobStatus.DONE, reason="done"), NOW)
    assert open_gate(ledger) == []  # its machines are still being taken down
    ledger.finish(eight[0], NOW)
    assert open_gate(ledger) == [ninth]


def test_until_its_machine_is_there_a_job_counts_against_all_that_it_may_get(ledger: Ledger) -> None:
    first = admit(ledger, 0, [STANDARD, LARGE_G], datasets=2)
    second = admit(ledger, 1, [G], group="lab2")
    assert open_gate(ledger) == [first]
    get_machine(ledger, first, 0, Tried.STARTED)
    assert open_gate(ledger) == [second]  # 32 of 64 are free: one of the two machines is no large one


def test_a_spot_machine_may_be_taken_back_so_its_fallback_stays_free(ledger: Ledger) -> None:
    spot = admit(ledger, 0, [G_SPOT, LARGE_G])
    wanting = admit(ledger, 1, [G], group="lab2", datasets=8)
    assert open_gate(ledger) == [spot]
    get_machine(ledger, spot, 0, Tried.STARTED, spot=True)
    assert open_gate(ledger) == []
    assert "32 of 64 are in use, and it needs 64" in (ledger.job(wanting).waits or "")


def test_a_task_that_is_given_up_takes_nothing(ledger: Ledger) -> None:
    given_up = admit(ledger, 0, [G], datasets=8)
    wanting = admit(ledger, 1, [G], group="lab2")
    assert open_gate(ledger) == [given_up]
    get_machine(ledger, given_up, 0, Tried.GIVEN_UP, task=3)
    assert open_gate(ledger) == [wanting]


def test_the_newest_try_of_a_task_counts(ledger: Ledger) -> None:
    moved = admit(ledger, 0, [LARGE_G, G, STANDARD], datasets=2)
    assert open_gate(ledger) == [moved]
    get_machine(ledger, moved, 2, Tried.STARTED)
    get_machine(ledger, moved, 1, Tried.STARTED, task=1)
    seven = admit(ledger, 1, [G], group="lab2", datasets=7)
    four = admit(ledger, 2, [STANDARD], group="lab3", datasets=4)
    assert open_gate(ledger) == [seven, four]
    assert open_gate(ledger) == []


def test_a_platform_without_quotas_of_families_looks_at_no_machine(ledger: Ledger) -> None:
    job = admit(ledger, 0, [G], datasets=100)
    said: list[str] = []
    sa.event.listen(ledger.engine, "before_cursor_execute", lambda _, __, text, *___: said.append(text))
    assert Gate(ledger.engine, lambda *_: None).open(Caps(vcpus=1000), NOW) == [job]
    assert not [text for text in said if "attempt" in text]


def test_jobs_of_an_earlier_release_count_with_what_was_kept_of_them(ledger: Ledger) -> None:
    offers = tuple(
        Offer(instance_type=name, spot=spot, hourly_price=Decimal(1))
        for name, spot in (("g5.xlarge", True), ("m5.large", False))
    )
    for number, ways in enumerate((offers, ())):
        job = a_job(number, datasets=2, offers=ways)
        row = Reservation(job=job, source=a_source(number), bound=Decimal(1), cap=Decimal(9), since=None, vcpus=8)
        ledger.admit_all([row], NOW)
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE job DROP COLUMN needs"))
        with Operations.context(MigrationContext.configure(connection)):
            import_module("state.migrations.versions.0005_needs").upgrade()
        needs = dict(connection.execute(sa.select(JOB.c.id, JOB.c.needs)).tuples().all())
    g, standard = Need(family=Family.G, spot=True, vcpus=4), Need(family=Family.STANDARD, spot=False, vcpus=4)
    assert read_needs(needs[a_job(0).id]) == (g, standard)
    assert read_needs(needs[a_job(1).id]) == (standard,)

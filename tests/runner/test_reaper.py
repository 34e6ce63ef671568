from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner.cloud_values import LeftoverKind
from runner.reaper import FORGOTTEN, reap, sweep
from state.database import sqlite_url
from state.errors import CloudError
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import NOW, a_job, a_source

JOB = a_job()
HELD = CloudError("still attached", service="ec2", code="DependencyViolation", retryable=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(now=lambda: NOW)


def admit(ledger: Ledger) -> None:
    ledger.admit(JOB, source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None)


def finish(ledger: Ledger) -> None:
    ledger.conclude(JOB.id, Ending(status=JobStatus.FAILED, reason=""), NOW)
    ledger.finish(JOB.id, NOW)


def left(cloud: FakeCloud) -> list[str]:
    return [one.id for one in cloud.leftovers(deployment="demo")]


def reaped(cloud: FakeCloud, ledger: Ledger, *, later: timedelta) -> list[str]:
    found = reap(cloud, ledger, deployment="demo", clock=lambda: NOW + later, wait=lambda _: None)
    return [one.id for one in found]


def test_a_sweep_removes_everything_of_one_job_and_of_no_other(cloud: FakeCloud) -> None:
    mine = {
        cloud.launch(deployment="demo", job=JOB.id),
        cloud.leave(LeftoverKind.VOLUME, deployment="demo", job=JOB.id),
        cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job=JOB.id),
    }
    other = cloud.launch(deployment="demo", job="pca-other")
    cloud.fail_next("remove", HELD)
    removed = sweep(cloud, deployment="demo", job=JOB.id, wait=lambda _: None)
    assert {one.id for one in removed} == mine
    assert left(cloud) == [other]


def test_a_sweep_before_an_apply_keeps_what_terraform_knows(cloud: FakeCloud) -> None:
    known, stray = (cloud.launch(deployment="demo", job=JOB.id) for _ in range(2))
    group = cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job=JOB.id)
    removed = sweep(cloud, deployment="demo", job=JOB.id, keep={known}, wait=lambda _: None)
    assert [one.id for one in removed] == [stray]
    assert left(cloud) == [known, group]


def test_a_sweep_that_cannot_finish_says_what_is_left(cloud: FakeCloud) -> None:
    stuck = cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job=JOB.id)
    cloud.fail_next("remove", HELD, times=3)
    with pytest.raises(CloudError, match=f"still has security-group {stuck} after 3 tries") as caught:
        sweep(cloud, deployment="demo", job=JOB.id, wait=lambda _: None, tries=3)
    assert caught.value.retryable


def test_the_reaper_takes_what_no_running_job_owns(cloud: FakeCloud, ledger: Ledger) -> None:
    admit(ledger)
    cloud.launch(deployment="demo", job=JOB.id)
    unknown = cloud.launch(deployment="demo", job="pca-unknown")
    late = FORGOTTEN + timedelta(minutes=1)
    assert reaped(cloud, ledger, later=timedelta(minutes=1)) == []
    assert reaped(cloud, ledger, later=late) == [unknown]
    finish(ledger)
    assert len(reaped(cloud, ledger, later=late)) == 1
    assert left(cloud) == []


def test_the_reaper_looks_twice(cloud: FakeCloud, ledger: Ledger) -> None:
    """A job may be admitted between the mark and the blow."""
    machine = cloud.launch(deployment="demo", job=JOB.id)
    late = NOW + FORGOTTEN + timedelta(minutes=1)
    reap(cloud, ledger, deployment="demo", clock=lambda: late, wait=lambda _: admit(ledger))
    assert left(cloud) == [machine]


def test_the_reaper_leaves_a_security_group_without_a_known_job_alone(cloud: FakeCloud, ledger: Ledger) -> None:
    group = cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job=JOB.id)
    assert reaped(cloud, ledger, later=timedelta(days=1)) == []
    admit(ledger)
    finish(ledger)
    assert reaped(cloud, ledger, later=timedelta()) == [group]

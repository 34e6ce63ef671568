from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner.cloud_values import LeftoverKind
from runner.reaper import ANALYSIS_TAG, FORGOTTEN, GROUP_TAG, reap, sweep
from state.database import sqlite_url
from state.errors import CloudError
from state.job import Ending, JobStatus
from state.keys import results_of
from state.ledger import Ledger, open_ledger
from state.reaped import ReaperBook
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


PROTECTED = CloudError("terminating i-1 failed: OperationNotPermitted", service="ec2", code="OperationNotPermitted")
LATER = FORGOTTEN + timedelta(minutes=1)


def test_what_may_not_be_removed_does_not_keep_the_rest_from_going(cloud: FakeCloud) -> None:
    stuck, *others = sorted(cloud.launch(deployment="demo", job=JOB.id) for _ in range(3))
    cloud.store.faults["remove"] = Protected(cloud, stuck)
    with pytest.raises(CloudError, match=f"still has instance {stuck} .terminating i-1 failed") as caught:
        sweep(cloud, deployment="demo", job=JOB.id, wait=lambda _: None)
    assert caught.value.retryable
    assert left(cloud) == [stuck]
    assert all(cloud.store.machines[one].is_gone for one in others)


class Protected(deque[CloudError]):
    """Faults of one machine only, for ever: it is protected from termination."""

    def __init__(self, cloud: FakeCloud, machine: str) -> None:
        super().__init__([PROTECTED])
        self.cloud, self.machine = cloud, machine

    def __bool__(self) -> bool:
        return self.cloud.store.calls[-1] == ("remove", self.machine)

    def popleft(self) -> CloudError:
        return PROTECTED


def test_the_reaper_goes_on_after_a_refusal_and_then_says_it(cloud: FakeCloud, ledger: Ledger) -> None:
    stuck, *_ = (cloud.launch(deployment="demo", job="pca-unknown") for _ in range(3))
    cloud.store.faults["remove"] = Protected(cloud, stuck)
    with pytest.raises(CloudError, match="OperationNotPermitted"):
        reaped(cloud, ledger, later=LATER)
    assert left(cloud) == [stuck]
    assert ReaperBook(ledger.engine).last_round() is None


def test_what_the_reaper_did_is_kept_and_told(cloud: FakeCloud, ledger: Ledger) -> None:
    admit(ledger)
    machine = cloud.launch(deployment="demo", job=JOB.id)
    finish(ledger)
    assert reaped(cloud, ledger, later=LATER) == [machine]
    book = ReaperBook(ledger.engine)
    assert (book.count(), book.last_round()) == (1, NOW + LATER)
    assert f"the reaper removed instance {machine}" in [line.text for line in ledger.story(JOB.id)]


def busy(cloud: FakeCloud, *, said_by: str | None = None) -> str:
    """A machine of a job that no ledger here knows; its agent, or another's, says that it works."""
    cloud.make_bucket("demo-pca")
    machine = cloud.launch(deployment="demo", job="pca-unknown")
    one = cloud.store.machines[machine]
    tags = {**one.tags, GROUP_TAG: "lab1", ANALYSIS_TAG: "pca"}
    cloud.store.machines[machine] = replace(one, tags=tags, launched=NOW - LATER)
    status = results_of(bucket="demo-pca", group="lab1", name="", timestamp="9").status("a.npy")
    cloud.write("demo-pca", status, json.dumps({"instance": said_by or machine}).encode())
    return machine


def test_a_machine_at_work_for_a_job_that_only_another_ledger_knows_is_left_alone(
    cloud: FakeCloud, ledger: Ledger
) -> None:
    machine = busy(cloud)
    assert reaped(cloud, ledger, later=timedelta(minutes=1)) == []
    cloud.fail_next("list", CloudError("away", service="s3", code="Unreachable", retryable=True))
    assert reaped(cloud, ledger, later=timedelta(hours=1)) == []  # nobody could look
    assert reaped(cloud, ledger, later=timedelta(minutes=4)) == [machine]  # it fell silent


def test_a_machine_is_not_spared_for_the_work_of_another(cloud: FakeCloud, ledger: Ledger) -> None:
    machine = busy(cloud, said_by="i-other")
    assert reaped(cloud, ledger, later=timedelta(minutes=1)) == [machine]


def test_a_machine_at_work_that_is_overdue_is_not_spared(cloud: FakeCloud, ledger: Ledger) -> None:
    machine = busy(cloud)
    cloud.store.machines[machine] = replace(cloud.store.machines[machine], launched=NOW - timedelta(days=1))
    assert reaped(cloud, ledger, later=timedelta(minutes=1)) == [machine]

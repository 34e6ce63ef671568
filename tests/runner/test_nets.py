"""The nets under everything: caps, workspaces, locks, and ledger and cloud held against each other."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner.cloud_values import DEADLINE_TAG
from runner.nets import clear, reconcile, stale_objects, stale_workspaces
from runner.reaper import DEVELOPER_TAG, EXEMPT_TAG, forgotten
from state.backend import LocalBackend, S3Backend
from state.chronicle import Attempt, Chronicle, Tried
from state.database import sqlite_url
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import NOW, a_job, a_source

ALIVE, OVER = a_job(1), a_job(2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    for number, job in ((1, ALIVE), (2, OVER)):
        source = a_source(number)
        ledger.admit(job, source=source, bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None)
    ledger.conclude(OVER.id, Ending(status=JobStatus.FAILED, reason=""), NOW)
    ledger.finish(OVER.id, NOW)
    return ledger


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(now=lambda: NOW)


def launch(cloud: FakeCloud, job: str, **tags: str) -> str:
    one = cloud.launch(deployment="demo", job=job)
    machine = cloud.store.machines[one]
    cloud.store.machines[one] = replace(machine, tags={**machine.tags, **tags})
    return one


@pytest.mark.parametrize(
    ("job", "tags", "limits"),
    [
        (ALIVE.id, {DEADLINE_TAG: "2026-11-22T13:00:00Z"}, (69, False)),
        (ALIVE.id, {DEADLINE_TAG: "2026-11-22T13:00:00Z"}, (71, True)),  # its own timer and its worker both failed
        (ALIVE.id, {}, (119, False)),
        (ALIVE.id, {}, (121, True)),
        (ALIVE.id, {DEADLINE_TAG: "soon"}, (121, True)),
        ("", {DEVELOPER_TAG: "jo"}, (2879, False)),
        ("", {DEVELOPER_TAG: "jo"}, (2881, True)),
        (ALIVE.id, {DEADLINE_TAG: "2026-11-22T13:00:00Z", EXEMPT_TAG: "yes"}, (10_000, False)),
        (OVER.id, {DEADLINE_TAG: "2026-11-22T20:00:00Z"}, (16, True)),
    ],
)
def test_no_machine_lives_longer_than_it_may(
    cloud: FakeCloud, ledger: Ledger, job: str, tags: dict[str, str], limits: tuple[int, bool]
) -> None:
    minutes, goes = limits
    one = launch(cloud, job, **tags)
    found = forgotten(cloud, ledger, deployment="demo", now=NOW + timedelta(minutes=minutes))
    assert [thing.id for thing in found] == ([one] if goes else [])


def test_workspaces_of_jobs_that_are_over_are_removed_once_they_are_old(
    tmp_path: Path, cloud: FakeCloud, ledger: Ledger
) -> None:
    jobs, now = tmp_path / "jobs", datetime.now(UTC)
    for name in (ALIVE.id, OVER.id, "pca-unknown", f".{ALIVE.id}.draft"):
        (jobs / name).mkdir(parents=True)
        (jobs / name / "main.tf").write_text("")
    assert stale_workspaces(jobs, ledger, now) == []
    for path in jobs.iterdir():
        os.utime(path, (0, 0))
    told = clear(cloud, LocalBackend(folder=tmp_path), ledger, jobs, now)
    assert sorted(told) == sorted(f"workspace {name}" for name in (f".{ALIVE.id}.draft", OVER.id, "pca-unknown"))
    assert [path.name for path in jobs.iterdir()] == [ALIVE.id]
    assert stale_workspaces(tmp_path / "none", ledger, now) == []


def test_locks_of_jobs_that_are_over_are_removed_and_those_of_living_ones_are_not(
    tmp_path: Path, cloud: FakeCloud, ledger: Ledger
) -> None:
    cloud.make_bucket("states")
    backend = S3Backend(bucket="states", region="us-east-1")
    for job in (ALIVE.id, OVER.id):
        cloud.write("states", f"jobs/{job}.tfstate", b"{}")
        cloud.write("states", f"jobs/{job}.tfstate.tflock", b"{}")
        cloud.write("states", f"jobs/{job}.workspace.json", b"{}")
    assert stale_objects(cloud, backend, ledger, NOW) == []
    later = NOW + timedelta(minutes=16)
    told = clear(cloud, backend, ledger, tmp_path / "jobs", later)
    assert told == [f"lock jobs/{OVER.id}.tfstate.tflock", f"workspace jobs/{OVER.id}.workspace.json"]
    assert len(list(cloud.list("states", "jobs/"))) == 4


def test_where_ledger_and_cloud_differ_is_said_at_the_start(cloud: FakeCloud, ledger: Ledger) -> None:
    chronicle = Chronicle(ledger.engine)
    ledger.advance(ALIVE.id, JobStatus.PROVISIONING, NOW)
    first = Attempt(job=ALIVE.id, task=0, number=0, way=0, offer=ALIVE.ways[0], at=NOW, run=0)
    chronicle.place([first])
    chronicle.mark(first, Tried.STARTED, instance="i-gone")
    stray = cloud.launch(deployment="demo", job=OVER.id)
    told = reconcile(cloud, ledger, deployment="demo", clock=lambda: NOW)
    assert told == [
        f"{ALIVE.id}: the ledger thinks 1 machines are up, and the cloud has none",
        f"{stray}: runs for {OVER.id}, which is not under way; the reaper looks after it",
    ]
    assert "the cloud has none" in ledger.story(ALIVE.id)[-1].text
    cloud.launch(deployment="demo", job=ALIVE.id)
    cloud.end(stray)
    assert reconcile(cloud, ledger, deployment="demo", clock=lambda: NOW) == []

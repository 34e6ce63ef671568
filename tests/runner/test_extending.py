"""A job that is granted more time: the ledger pays for it, and everybody who would end the job learns of it."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from compiler.job import iso
from compiler.model import Platform
from compiler.profile import Budget
from runner.beacon import Beacon
from runner.cloud_values import DEADLINE_TAG
from runner.extending import Extension, extend, weigh
from runner.iae.ending import Ending as AgentEnding
from runner.iae.halt import SystemClock
from runner.iae.manifest import parse_manifest
from runner.iae.outlook import Outlook
from runner.iae.task import run_task
from runner.pricing import PROVISIONING, WRAP_UP
from runner.reaper import LATE, forgotten
from state.chronicle import Outcome, TaskEnding
from state.errors import BudgetError, JobError
from state.job import Ending, JobStatus
from state.stops import Orders
from tests.fakes.agent import ROOT, FakeStore, JumpingClock, raw_manifest
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import NOW, a_job
from tests.fakes.platform import a_platform
from tests.runner.stage import Stage

HALF_AN_HOUR = 1800
PLATFORM = f"{ROOT}logs/platform.json"
READ = "import json, pathlib, sys, time\nm = json.load(open(sys.argv[1]))\nout = pathlib.Path(m['results'])\n"


def with_limits(*, amount: str = "10", max_s: int = 4 * 3600, cost: str = "50") -> Platform:
    platform = a_platform()
    group = replace(platform.groups["lab1"], budget=Budget(amount=Decimal(amount)))
    blueprint = platform.blueprints["pca"]
    limits = replace(blueprint.limits, max_duration_s=max_s, cost=Decimal(cost))
    return replace(
        platform,
        groups={**platform.groups, "lab1": group},
        blueprints={**platform.blueprints, "pca": replace(blueprint, limits=limits)},
    )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, a_job())


def grant(stage: Stage, platform: Platform, seconds: int = HALF_AN_HOUR) -> Extension:
    return extend(stage.ledger, platform, stage.job.id, seconds, stage.now)


# What is allowed, and what pays for it


def test_what_the_time_may_cost_is_reserved_and_told(stage: Stage) -> None:
    before = stage.ledger.committed("lab1", None)
    found = grant(stage, with_limits())
    hourly = max(way.hourly_price for way in stage.job.ways)
    assert found.bound == pytest.approx(hourly / 2)
    assert stage.ledger.committed("lab1", None) == before + found.bound
    assert found.limit_s == stage.job.duration_s + HALF_AN_HOUR == stage.ledger.job(stage.job.id).admitted.duration_s
    told = [line.text for line in stage.ledger.story(stage.job.id)]
    assert any(line.startswith("granted 30 minutes more") for line in told)


def test_weighing_changes_nothing(stage: Stage) -> None:
    before = stage.ledger.job(stage.job.id)
    assert weigh(stage.ledger, with_limits(), stage.job.id, HALF_AN_HOUR).bound > 0
    assert stage.ledger.job(stage.job.id) == before


def test_only_datasets_that_are_not_done_are_paid_for(tmp_path: Path) -> None:
    job = a_job()
    first = job.tasks[0]
    tasks = tuple(replace(first, number=number, dataset=f"lab1/inputs/{number}.npy") for number in range(3))
    stage = Stage(tmp_path, replace(job, tasks=tasks))
    whole = weigh(stage.ledger, with_limits(), job.id, HALF_AN_HOUR)
    stage.chronicle.end_task(job.id, Outcome(task=1, ending=TaskEnding.SUCCEEDED, reason=""))
    part = weigh(stage.ledger, with_limits(), job.id, HALF_AN_HOUR)
    assert (whole.tasks, part.tasks) == (3, 2)
    assert part.bound * 3 == whole.bound * 2


@pytest.mark.parametrize(
    ("limits", "error", "words"),
    [
        ({"amount": "1.01"}, BudgetError, "only 0.01 USD are free"),
        ({"max_s": 3600}, JobError, "allows at most 60 .limits.max_duration in"),
        ({"cost": "0.01"}, JobError, "may cost at most 0.0100 USD .limits.cost in"),
    ],
)
def test_beyond_budget_or_limits_nothing_is_granted(
    stage: Stage, limits: dict[str, str], error: type[Exception], words: str
) -> None:
    before = stage.ledger.job(stage.job.id)
    with pytest.raises(error, match=words):
        grant(stage, with_limits(**limits), 3600)  # type: ignore[arg-type]
    assert stage.ledger.job(stage.job.id) == before


def test_two_who_grant_at_the_same_time_do_not_exceed_the_limit_together(stage: Stage) -> None:
    job, most_s = stage.job, HALF_AN_HOUR
    stage.ledger.extend(job.id, bound=Decimal("0.1"), extra_s=1200, most_s=most_s, cap=Decimal(9), since=None)
    with pytest.raises(JobError, match="may be granted 10 minutes more, not 20"):
        stage.ledger.extend(job.id, bound=Decimal("0.1"), extra_s=1200, most_s=most_s, cap=Decimal(9), since=None)


def test_a_job_that_is_stopped_or_over_is_granted_nothing(stage: Stage) -> None:
    stage.ledger.request_cancel(stage.job.id, "a mistake", NOW)
    with pytest.raises(JobError, match=r"is being stopped \(a mistake\)"):
        grant(stage, with_limits())
    stage.ledger.conclude(stage.job.id, Ending(status=JobStatus.CANCELLED, reason="a mistake"), NOW)
    with pytest.raises(JobError, match="has ended, or is being taken down"):
        grant(stage, with_limits())
    with pytest.raises(JobError, match="has ended, or is being taken down"):
        stage.ledger.extend(stage.job.id, bound=Decimal(0), extra_s=1, most_s=9, cap=Decimal(9), since=None)


def test_an_analysis_that_is_gone_allows_nothing(stage: Stage) -> None:
    platform = replace(a_platform(), blueprints={})
    with pytest.raises(JobError, match=r"analysis pca of job .* no longer part of this platform"):
        grant(stage, platform)


# Who learns of it


def manifest_of(stage: Stage) -> dict[str, object]:
    values = json.loads((stage.worker.shop.jobs / stage.job.id / "job.auto.tfvars.json").read_text())
    script = base64.b64decode(values["tasks"]["0"]["user_data"]).decode()
    line = next(line for line in script.splitlines() if line.startswith("manifest="))
    found: dict[str, object] = json.loads(base64.b64decode(line.removeprefix("manifest=")))
    return found | {"tag": values["deadline"]}


def test_a_job_that_has_not_begun_is_written_with_all_its_time(stage: Stage) -> None:
    grant(stage, with_limits())
    stage.worker.prepare(stage.job.id)
    whole = stage.job.duration_s + HALF_AN_HOUR
    deadline = iso(NOW + PROVISIONING + timedelta(seconds=whole) + WRAP_UP)
    assert manifest_of(stage) | {"time_limit_s": whole, "deadline": deadline, "tag": deadline} == manifest_of(stage)


def test_a_running_job_goes_on_beyond_its_first_deadline(stage: Stage) -> None:
    """Without the grant the same job times out; the fake clock is moved when the job is looked at."""
    stage.worker.prepare(stage.job.id)
    first = stage.ledger.job(stage.job.id).deadline
    assert first is not None
    stage.worker.provision(stage.job.id)
    grant(stage, with_limits())
    deadline = first + timedelta(seconds=HALF_AN_HOUR)
    stage.now = deadline - timedelta(seconds=1)
    signs = stage.worker._observe(stage.job)
    assert stage.worker._weigh(stage.job, signs, [], [(NOW, stage.now)]) is None
    assert json.loads(stage.text(stage.job.results.platform))["deadline"] == iso(deadline)
    stage.now = deadline
    ending = stage.worker._weigh(stage.job, signs, [], [(NOW, stage.now)])
    assert ending is not None
    assert ending.status is JobStatus.TIMED_OUT
    assert f"its limit of {(stage.job.duration_s + HALF_AN_HOUR) // 60} minutes" in ending.reason


def test_the_reaper_leaves_a_machine_alone_until_the_later_deadline(stage: Stage) -> None:
    stage.worker.prepare(stage.job.id)
    first = stage.ledger.job(stage.job.id).deadline
    assert first is not None
    one = stage.cloud.launch(deployment="demo", job=stage.job.id)
    machine = stage.cloud.store.machines[one]
    stage.cloud.store.machines[one] = replace(machine, tags={**machine.tags, DEADLINE_TAG: iso(first)})
    late = first + LATE + timedelta(seconds=1)

    def reaped(now: datetime) -> list[str]:
        return [found.id for found in forgotten(stage.cloud, stage.ledger, deployment="demo", now=now)]

    assert reaped(late) == [one]
    grant(stage, with_limits())
    assert reaped(late) == []
    assert reaped(late + timedelta(seconds=HALF_AN_HOUR)) == [one]


def said(orders: Orders) -> bytes:
    """Return what the platform writes for its machines."""
    cloud, job = FakeCloud(now=lambda: NOW), a_job()
    cloud.make_bucket(job.results.bucket)
    Beacon(cloud, lambda: NOW).shine(job, orders)
    return cloud.read(job.results.bucket, job.results.platform)


def test_the_machine_believes_a_later_deadline_and_tells_its_own_timer(tmp_path: Path) -> None:
    clock, store = JumpingClock(), FakeStore()
    manifest = parse_manifest(raw_manifest(tmp_path, ["x"], platform=PLATFORM))
    outlook = Outlook(manifest=manifest, store=store, clock=clock, ask_metadata=lambda _: "", timer=tmp_path)
    later = manifest.deadline.replace(microsecond=0) + timedelta(hours=1)

    def hear(deadline: datetime) -> None:
        store.objects[PLATFORM] = said(Orders(wish=None, deadline=deadline))
        for _ in range(3):
            outlook.look()

    hear(manifest.deadline)
    assert outlook.granted() == 0
    assert not (tmp_path / "deadline").exists()
    hear(later)
    assert outlook.deadline == later
    assert int((tmp_path / "deadline").read_text()) == later.timestamp()
    hear(later - timedelta(minutes=10))  # nothing that was granted is taken back
    assert outlook.deadline == later


def run_agent(folder: Path, script: str, when: Callable[[FakeStore], None]) -> AgentEnding:
    """Run a task that may take one second; `when` is called once its analysis has said something."""
    image, store = folder / "image", FakeStore()
    (image / "files").mkdir(parents=True)
    (image / "manifest.json").write_text(json.dumps({"digest": "d" * 64}))
    (image / "files" / "run.py").write_text(READ + script)
    store.objects |= {"lab/inputs/data.txt": b"1 2 3", "lab/configs/config.yaml": b"n: 3\n"}
    raw = raw_manifest(image, [sys.executable, "files/run.py"], platform=PLATFORM, time_limit_s=1)
    manifest = parse_manifest(raw)

    def tell(key: str) -> None:
        if key == manifest.results.status and json.loads(store.objects[key])["stdout"]:
            when(store)

    store.on_write = tell
    outcome = run_task(
        manifest,
        store=store,
        clock=SystemClock(),
        stop=threading.Event(),
        environ={},
        work=folder,
        find_instance=lambda: "i-1",
    )
    return outcome.ending


WORKS_LONG = "print('working', flush=True)\ntime.sleep(2)\n(out / 'x').write_text('x')\n"


def test_an_analysis_at_work_may_take_the_time_that_it_was_granted(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)

    def extend_it(store: FakeStore) -> None:
        store.objects[PLATFORM] = said(Orders(wish=None, deadline=later))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert run_agent(tmp_path / "a", WORKS_LONG, lambda _: None) is AgentEnding.TIMED_OUT
    assert run_agent(tmp_path / "b", WORKS_LONG, extend_it) is AgentEnding.SUCCEEDED

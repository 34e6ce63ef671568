"""Workers on several machines: what one wrote of a job another takes up, and only what the platform itself wrote."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runner.worker import Worker
from runner.workplace import Workplace, copy_key
from runner.workspace import VALUES
from state.backend import S3Backend
from state.errors import CloudError
from state.job import Ending, JobStatus
from tests.fakes.jobs import a_job
from tests.runner.stage import Stage

STATES = S3Backend(bucket="states", region="us-east-1")
AWAY = CloudError("nothing answers", service="s3", code="Unreachable", retryable=True)
CANCELLED = Ending(status=JobStatus.CANCELLED, reason="a mistake")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path, a_job())
    made.cloud.make_bucket("states")
    made.terraform.states = tmp_path / "states"
    return made


def worker_on(stage: Stage, machine: str, folder: Path) -> Worker:
    return Worker(replace(stage.worker.shop, backend=STATES, jobs=folder / machine, name=machine))


def files_below(root: Path) -> dict[str, bytes]:
    """Return all but the log, which tells what was run on that machine."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name != "terraform.log"}


def test_another_machine_goes_on_where_a_worker_died(stage: Stage, tmp_path: Path) -> None:
    job, first = stage.job.id, worker_on(stage, "a", tmp_path)
    assert first.prepare(job) is None
    assert first.provision(job) is None
    [machine] = stage.left
    second = worker_on(stage, "b", tmp_path)
    second = Worker(replace(second.shop, module={"main.tf": "# of a later release"}))
    assert second.provision(job) is None  # what the engine repeats when it does not know that it was done
    assert stage.left == [machine]
    assert files_below(tmp_path / "b" / job) == files_below(tmp_path / "a" / job)
    stage.report()
    ending = asyncio.run(asyncio.wait_for(second.monitor(job), 20))
    ending = second.collect(job, ending)
    second.destroy(job, ending)
    second.settle(job)
    assert second.certify(job) is JobStatus.DONE
    assert [call.root.parent.name for call in stage.terraform.calls if call.command == "destroy"] == ["b"]
    assert stage.left == []
    assert "for_each" in stage.text(stage.job.results.workspace + "module/main.tf")
    assert list(stage.cloud.list("states", "jobs/")) == []
    assert any("b goes on from the workspace in s3://states" in line.text for line in stage.ledger.story(job))


def test_what_another_machine_changed_counts_on_the_first_one_too(stage: Stage, tmp_path: Path) -> None:
    job = stage.job.id
    worker_on(stage, "a", tmp_path).prepare(job)
    here, there = (Workplace(worker_on(stage, name, tmp_path).shop) for name in "ab")
    there.enter(job)
    there.change(job, {"0": {"name": "changed there"}})
    assert here.enter(job) == tmp_path / "a" / job
    values = json.loads((tmp_path / "a" / job / VALUES).read_text())
    assert values["tasks"]["0"] == {"name": "changed there"}
    (tmp_path / "a" / job / VALUES).write_text("{}")  # a change of its own that could not be kept yet
    here.enter(job)
    assert (tmp_path / "a" / job / VALUES).read_text() == "{}"


def test_a_workspace_that_was_written_once_is_not_rendered_anew_elsewhere(stage: Stage, tmp_path: Path) -> None:
    job = stage.job.id
    worker_on(stage, "a", tmp_path).prepare(job)
    stage.pass_time(600)  # a workspace that is rendered now would say other things
    worker_on(stage, "b", tmp_path).prepare(job)
    assert files_below(tmp_path / "b" / job) == files_below(tmp_path / "a" / job)


def test_without_the_copy_everything_goes_all_the_same(stage: Stage, tmp_path: Path) -> None:
    job, first = stage.job.id, worker_on(stage, "a", tmp_path)
    first.prepare(job)
    first.provision(job)
    assert stage.left
    second = worker_on(stage, "b", tmp_path)
    stage.cloud.fail_next("head", AWAY, times=10)
    second.destroy(job, CANCELLED)
    assert stage.left == []
    assert "destroy" not in stage.terraform.commands()


def test_a_copy_that_is_out_of_reach_does_not_pass_results_unseen(stage: Stage, tmp_path: Path) -> None:
    job, first = stage.job.id, worker_on(stage, "a", tmp_path)
    first.prepare(job)
    first.provision(job)
    stage.report(outputs=[{"path": "x.npy", "size": 3}])
    stage.cloud.fail_next("head", AWAY)
    done = Ending(status=JobStatus.DONE, reason="1 dataset processed.")
    ending = worker_on(stage, "b", tmp_path).collect(job, done)
    assert ending.status is JobStatus.FAILED
    assert "missing from the bucket: x.npy" in ending.reason


def test_code_never_comes_from_a_bucket_of_users(stage: Stage, tmp_path: Path) -> None:
    job = stage.job.id
    worker_on(stage, "a", tmp_path).prepare(job)
    assert stage.cloud.head("states", copy_key(job)) is not None
    keys = [one.key for one in stage.cloud.list(stage.job.results.bucket, stage.job.results.workspace)]
    assert keys == []  # what is kept there as evidence is written when nothing is run from it any more

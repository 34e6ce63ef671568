from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.job import iso
from runner.cloud_values import LeftoverKind
from runner.worker import Worker
from state.backend import S3Backend
from state.chronicle import Tried
from state.errors import CloudError, TerraformError
from state.job import Ending, JobStatus
from state.record import JobRecord
from tests.fakes.jobs import NOW, a_job
from tests.runner.stage import Stage

DONE = Ending(status=JobStatus.DONE, reason="1 dataset processed.")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, a_job())


def when_up(stage: Stage, act: Callable[[], object]) -> None:
    """Do something as soon as Terraform has made the machines."""
    before = stage.terraform.on_apply

    def both(root: Path) -> Any:
        found = before(root) if before else None
        act()
        return found

    stage.terraform.on_apply = both


def test_a_job_ends_done_with_its_results_its_certificate_and_nothing_left(stage: Stage) -> None:
    when_up(stage, lambda: stage.report(files={"x.npy": b"123"}, outputs=[{"path": "x.npy", "size": 3}]))
    assert stage.run() is JobStatus.DONE
    assert stage.left == []
    keys = stage.job.results
    assert stage.text(keys.end).startswith("end of analysis: done")
    assert "STEP 4/4 (Initialize Processing): DONE" in stage.text(keys.certificate)
    assert "module" in stage.text(keys.workspace + "main.tf")
    assert not (stage.worker.shop.jobs / stage.job.id).exists()
    record = stage.ledger.job(stage.job.id)
    assert record.cost is not None
    assert len(stage.ledger.usage(stage.job.id, stage.now)) == 1


def test_the_ledger_knows_a_job_its_tags_and_its_deadline_before_anything_is_applied(stage: Stage) -> None:
    known: list[tuple[JobRecord, dict[str, Any]]] = []

    def look(root: Path) -> Any:
        known.append((stage.ledger.job(stage.job.id), json.loads((root / "job.auto.tfvars.json").read_text())))
        assert stage.made == []
        return normal(root) if normal else None

    normal, stage.terraform.on_apply = stage.terraform.on_apply, look
    stage.on_machine = lambda *_: stage.report()
    assert stage.run() is JobStatus.DONE
    [(record, tags)] = known
    assert record.status is JobStatus.PROVISIONING
    assert record.deadline is not None
    assert tags["deadline"] == iso(record.deadline)
    assert (tags["job"], tags["group"], tags["analysis"]) == (record.id, record.group, record.analysis)


def test_a_job_that_was_over_before_the_first_look_has_run_all_the_same(stage: Stage) -> None:
    when_up(stage, stage.report)
    stage.run()
    told = [line.text for line in stage.ledger.story(stage.job.id) if line.kind == "status"]
    assert told == ["submitted", "admitted", "provisioning", "running", "uploading", "destroying", "done"]


def test_a_result_that_was_reported_and_is_not_there_fails_the_job(stage: Stage) -> None:
    when_up(stage, lambda: stage.report(files={"x.npy": b"12"}, outputs=[{"path": "x.npy", "size": 3}]))
    assert stage.run() is JobStatus.FAILED
    assert "missing from the bucket: x.npy" in stage.text(stage.job.results.end)


def test_terraforms_refusal_is_the_reason_and_nothing_is_left(stage: Stage) -> None:
    refusal = "UnauthorizedOperation: you may not start instances"
    stage.terraform.fail("apply", TerraformError("apply failed", command="apply", diagnostics=[refusal]))
    assert stage.run() is JobStatus.FAILED
    assert refusal in stage.text(stage.job.results.end)
    assert stage.terraform.commands().count("apply") == 1


def test_a_terraform_that_was_killed_is_tried_again_and_its_stray_machine_removed(stage: Stage) -> None:
    strays: list[str] = []

    def die(_: Path) -> dict[str, Any]:
        strays.append(stage.cloud.launch(deployment="demo", job=stage.job.id))
        stage.terraform.on_apply = normal
        raise TerraformError("terraform was killed", command="apply")

    normal, stage.terraform.on_apply = stage.terraform.on_apply, die
    when_up_normal = normal

    def report_after(root: Path) -> Any:
        assert stage.left == []  # the stray went before its successor came
        stage.report()
        return when_up_normal(root) if when_up_normal else None

    normal = report_after
    assert stage.run() is JobStatus.DONE
    assert stage.left == []
    assert [one.instance for one in stage.ledger.usage(stage.job.id, stage.now)] == [*strays, *stage.made]


def test_provisioning_again_does_not_make_a_finished_machine_anew(stage: Stage) -> None:
    job = stage.job.id
    stage.worker.prepare(job)
    stage.worker.provision(job)
    stage.report()
    stage.cloud.end(stage.made[0])
    chronicle = stage.worker.shop.chronicle
    chronicle.mark(chronicle.current(job)[0], Tried.OPEN)  # the worker died before it wrote down what Terraform made
    stage.worker.provision(job)
    stage.worker.provision(job)
    assert [call.options["refresh"] for call in stage.terraform.calls if call.command == "apply"] == [True, False]


def test_a_failing_terraform_destroy_is_made_good_by_the_sweep(stage: Stage) -> None:
    when_up(stage, stage.report)
    stage.terraform.fail("destroy", TerraformError("state is gone", command="destroy"))
    stage.cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job=stage.job.id)
    assert stage.run() is JobStatus.DONE
    assert stage.left == []
    assert "removed by tag: instance" in stage.text(stage.job.results.certificate)


def test_a_job_that_cannot_be_destroyed_is_not_called_ended(stage: Stage) -> None:
    when_up(stage, stage.report)
    job = stage.job.id
    stage.worker.prepare(job)
    stage.worker.provision(job)
    stage.terraform.on_destroy = None
    held = CloudError("in use", service="ec2", code="DependencyViolation", retryable=True)
    stage.cloud.fail_next("remove", held, times=200)
    with pytest.raises(CloudError, match="still has instance"):
        stage.worker.destroy(job, DONE)
    assert stage.ledger.job(job).status is JobStatus.DESTROYING
    stage.cloud.store.faults.clear()
    stage.worker.destroy(job, DONE)
    assert stage.left == []


def test_cancelling_before_it_starts_makes_no_machine(stage: Stage) -> None:
    stage.ledger.request_cancel(stage.job.id, "wrong file", NOW)
    assert stage.run() is JobStatus.CANCELLED
    assert "apply" not in stage.terraform.commands()
    assert "wrong file" in stage.text(stage.job.results.end)


def test_cancelling_interrupts_an_apply(stage: Stage) -> None:
    stage.terraform.hold("apply")
    thread = threading.Thread(target=stage.run)
    thread.start()
    moment = threading.Event()
    while "apply" not in stage.terraform.commands() and thread.is_alive():
        moment.wait(0.01)
    stage.ledger.request_cancel(stage.job.id, "wrong file", NOW)
    thread.join(60)
    assert not thread.is_alive()
    assert stage.ledger.job(stage.job.id).status is JobStatus.CANCELLED


def test_a_job_past_its_deadline_is_taken_down_though_its_agent_still_works(stage: Stage) -> None:
    def work_on() -> None:
        stage.pass_time(100_000)
        said = b'{"status": "IN PROGRESS", "phase": "running", "stdout": {}}'
        stage.cloud.write("demo-pca", stage.job.status_key(stage.job.tasks[0]), said)

    when_up(stage, work_on)
    assert stage.run() is JobStatus.TIMED_OUT
    assert "reached its limit of 60 minutes while it was still working on a.npy" in stage.text(stage.job.results.end)
    assert stage.left == []


def test_an_agent_that_never_reported_is_said_rather_than_a_time_limit(stage: Stage) -> None:
    when_up(stage, lambda: stage.pass_time(100_000))
    assert stage.run() is JobStatus.FAILED
    assert "never reported" in stage.text(stage.job.results.end)


def test_the_state_of_a_job_in_s3_goes_with_its_workspace(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.cloud.make_bucket("states")
    key = f"jobs/{stage.job.id}.tfstate"
    stage.cloud.write("states", key, b"{}")
    worker = Worker(replace(stage.worker.shop, backend=S3Backend(bucket="states", region="us-east-1")))
    (worker.shop.jobs / stage.job.id).mkdir(parents=True)
    stage.ledger.conclude(stage.job.id, DONE, NOW)
    worker.certify(stage.job.id)
    assert stage.cloud.head("states", key) is None


def test_the_console_of_a_silent_machine_is_kept(stage: Stage) -> None:
    def die() -> None:
        machine = next(iter(stage.cloud.store.machines))
        stage.cloud.say(machine, "kernel panic")
        stage.cloud.end(machine, reason="Server.InternalError")

    when_up(stage, die)
    assert stage.run() is JobStatus.FAILED
    assert "Server.InternalError" in stage.text(stage.job.results.end)
    assert stage.text(stage.job.results.console(0)) == "kernel panic"


def test_an_unreadable_report_is_a_failure_not_a_crash(stage: Stage) -> None:
    when_up(stage, lambda: stage.cloud.write("demo-pca", stage.job.results.report(0), b"{{{"))
    assert stage.run() is JobStatus.FAILED
    assert "cannot be read" in stage.text(stage.job.results.end)


@pytest.mark.parametrize("step", ["prepare", "provision", "collect", "destroy", "settle", "certify"])
def test_every_step_may_be_done_twice(stage: Stage, step: str) -> None:
    when_up(stage, stage.report)
    job, worker = stage.job.id, stage.worker
    steps: dict[str, Callable[[], object]] = {
        "prepare": lambda: worker.prepare(job),
        "provision": lambda: worker.provision(job),
        "collect": lambda: worker.collect(job, DONE),
        "destroy": lambda: worker.destroy(job, DONE),
        "settle": lambda: worker.settle(job),
        "certify": lambda: worker.certify(job),
    }
    for name, act in steps.items():
        act()
        if name == step:
            stage.pass_time(60)
            act()
    assert stage.ledger.job(job).status is JobStatus.DONE
    assert len(stage.ledger.usage(job, stage.now)) == 1
    assert stage.left == []
    ends = [line for line in stage.ledger.story(job) if line.text == JobStatus.DONE]
    assert len(ends) == 1

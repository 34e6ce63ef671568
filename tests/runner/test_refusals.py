"""Whoever waits for a submission learns what became of it: of this one, and not of one before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.profile import Storage
from state.errors import CloudError
from state.job import JobStatus
from tests.fakes.jobs import a_job
from tests.fakes.platform import a_platform
from tests.runner.stage import Stage
from tests.runner.test_watcher import BUCKET, Office

END = "lab1/results/job__demo-pca_t1/process_results/end.txt"
CERTIFICATE = "lab1/results/job__demo-pca_t1/logs/certificate.txt"
LAB = "lab-of-their-own"
GOOD: dict[str, Any] = {"dataname": "lab1/inputs/a.npy", "configname": "lab1/configs/c.yaml", "timestamp": "t1"}
OUTSIDE = {
    "dataname": [f"s3://{LAB}/gone.npy"],
    "configname": f"s3://{LAB}/c.yaml",
    "resultpath": f"s3://{LAB}/out",
    "timestamp": "t1",
}
OUTSIDE_END = "out/job__demo-pca_t1/process_results/end.txt"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def admitted(office: Office) -> int:
    return len(office.ledger.jobs(statuses=[JobStatus.ADMITTED]))


def test_a_mended_submission_does_not_find_the_end_of_the_refused_one(office: Office) -> None:
    office.put("submit.json", GOOD | {"dataname": "lab1/inputs/gone.npy"})
    office.settle()
    assert "end of analysis: rejected" in office.text(END)
    office.put("submit.json", GOOD)
    office.settle()
    assert admitted(office) == 1
    assert office.cloud.head(BUCKET, END) is None
    assert "JOB TERMINATE" not in office.text(CERTIFICATE)


def test_a_submission_that_is_refused_again_says_why_this_time(office: Office) -> None:
    office.put("submit.json", GOOD | {"dataname": "lab1/inputs/gone.npy"})
    office.settle()
    office.put("submit.json", GOOD | {"configname": "lab1/configs/gone.yaml"})
    office.settle()
    assert "The config file" in office.text(END)


def test_an_event_that_comes_twice_takes_no_end_marker_away(office: Office) -> None:
    office.put("submit.json", GOOD | {"dataname": "lab1/inputs/gone.npy"})
    office.settle()
    source = office.put("submit.json", GOOD)
    office.settle()
    office.cloud.write(BUCKET, END, b"end of analysis: done\n")
    office.restart().post.desk.decide(source, office.platform)
    assert office.text(END) == "end of analysis: done\n"


def outside(tmp_path: Path) -> Office:
    platform = a_platform()
    lab = replace(platform.groups["lab1"], storage=Storage(outside_buckets=(LAB,)))
    office = Office(tmp_path, replace(platform, groups={**platform.groups, "lab1": lab}))
    office.cloud.make_bucket(LAB)
    office.cloud.write(LAB, "c.yaml", b"n_components: 3\n")
    return office


def test_a_refused_job_on_storage_of_the_groups_own_is_told_there_too(tmp_path: Path) -> None:
    office = outside(tmp_path)
    office.put("submit.json", OUTSIDE)
    office.settle()
    told = office.cloud.read(LAB, OUTSIDE_END).decode()
    assert told.startswith("end of analysis: rejected\n")
    assert "gone.npy" in told
    assert "rejected" in office.text(END)


def test_storage_that_is_not_registered_is_not_written_to(office: Office) -> None:
    office.cloud.make_bucket(LAB)
    office.put("submit.json", OUTSIDE)
    office.settle()
    assert office.cloud.head(LAB, OUTSIDE_END) is None
    assert "not registered" in office.text(END)


def test_a_bucket_that_takes_no_refusal_does_not_keep_it_from_the_analysiss(tmp_path: Path) -> None:
    office = outside(tmp_path)
    office.put("submit.json", OUTSIDE)
    office.cloud.fail_next("write", CloudError("no", service="s3", code="AccessDenied"))
    office.settle()
    assert office.cloud.head(LAB, OUTSIDE_END) is None
    assert "rejected" in office.text(END)


def test_what_another_job_left_in_the_folder_says_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    folder = stage.job.results
    stage.report(job="pca-of-long-ago")
    old = {"status": "SUCCESS", "phase": "done", "job": "pca-of-long-ago"}
    stage.cloud.write("demo-pca", stage.job.status_key(stage.job.tasks[0]), json.dumps(old).encode())
    stage.cloud.write("demo-pca", folder.end, b"end of analysis: rejected\n")
    stage.worker.prepare(stage.job.id)
    assert stage.cloud.head("demo-pca", folder.end) is None
    stage.on_machine = lambda _, machine: stage.cloud.end(machine)
    assert stage.run() is JobStatus.FAILED
    assert "ended without a report" in stage.text(folder.end)

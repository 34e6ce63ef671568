"""Parts of the demo: what it refuses before anything starts, and what it does when it is stopped or waits in vain."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.demo import LEAST_DISK, call_off, finish_earlier, tell_rest, waiting
from mayfly.cli.main import run
from mayfly.localcloud.gate import SPARE
from mayfly.localcloud.home import free_bytes
from runner.parcel import Parcel, prepare
from runner.submit import send
from state.database import sqlite_url
from state.errors import CloudError, EnvironmentMissingError, SubmissionError, UsageError
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import a_job, a_source
from tests.fakes.platform import a_platform

REPOSITORY = Path(__file__).parents[3]
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
BUCKET = "demo-pca"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with datasets; the test stands in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "mayfly.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "users", tmp_path / "users")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "blueprints" / "pca", tmp_path / "blueprints" / "pca", ignore=ignored)
    (tmp_path / "my lab").mkdir()
    (tmp_path / "my lab" / "good.npy").write_bytes(b"numbers")
    (tmp_path / "my lab" / "wrong.csv").write_text("1,2")
    (tmp_path / "my lab" / "wrong.yaml").write_text("n_components: many\n")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--data", "my lab/gone.npy"], UsageError.exit_code, "my lab/gone.npy does not exist"),
        (["--data", "my lab/wrong.csv"], SubmissionError.exit_code, "its name must end in .npy"),
        (["--data", "my lab/good.npy", "--config", "gone.yaml"], UsageError.exit_code, "gone.yaml cannot be read"),
        (["--data", "my lab/good.npy", "--config", "my lab/wrong.yaml"], SubmissionError.exit_code, "n_components"),
        (["--config", "my lab"], UsageError.exit_code, "is a directory"),
        (["--analysis", "pac"], UsageError.exit_code, "There is no analysis pac"),
        (["--group", "lab7"], UsageError.exit_code, "There is no group lab7. There are: lab1, lab2."),
        (["--group", "lab2"], SubmissionError.exit_code, "may not use the analysis pca"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    project: Path, capfd: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert run(["demo", *options]) == code
    said = capfd.readouterr()
    assert words in said.err
    assert (said.out, "Traceback" in said.err) == ("", False)
    assert not (project / ".mayfly" / "demo" / "cloud").exists()


def test_a_terraform_that_is_too_old_is_found_before_anything_starts(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = project / "bin" / "terraform"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho Terraform v1.5.7\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    assert run(["demo"]) == EnvironmentMissingError.exit_code
    said = capfd.readouterr().err
    assert said.startswith(f"{old}: Terraform 1.5.7 is too old, 1.11 or later is needed.")
    assert len(said.splitlines()) == 1
    assert not (project / ".mayfly" / "demo" / "cloud").exists()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


@pytest.fixture
def cloud() -> FakeCloud:
    cloud = FakeCloud()
    cloud.make_bucket(BUCKET)
    return cloud


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    (tmp_path / "a.npy").write_bytes(b"data")
    platform = a_platform()
    return prepare(platform=platform, group="lab1", analysis="pca", datasets=[tmp_path / "a.npy"], config=None, now=AT)


def admit(ledger: Ledger, number: int = 1, **changes: Any) -> str:
    job = a_job(number, **changes)
    ledger.admit(job, source=a_source(number), bound=Decimal(1), cap=Decimal(100), since=None, at=AT)
    return job.id


def cancel_files(cloud: FakeCloud) -> list[Any]:
    return [
        json.loads(cloud.read(BUCKET, info.key)) for info in cloud.list(BUCKET, "") if info.key.endswith("cancel.json")
    ]


def test_a_job_that_nobody_has_seen_yet_is_cancelled_by_a_file(
    ledger: Ledger, cloud: FakeCloud, parcel: Parcel
) -> None:
    send(cloud, parcel)
    call_off(ledger, cloud, parcel, "The demo was stopped.")
    [wish] = cancel_files(cloud)
    assert wish == {"timestamp": "20261122T120000000000Z", "reason": "The demo was stopped."}


def test_a_job_that_is_known_is_cancelled_in_the_ledger(ledger: Ledger, cloud: FakeCloud, parcel: Parcel) -> None:
    send(cloud, parcel)
    other, mine = admit(ledger, 1), admit(ledger, 2, results=parcel.results)
    call_off(ledger, cloud, parcel, "The demo was stopped.")
    assert ledger.cancel_reason(mine) == "The demo was stopped."
    assert ledger.cancel_reason(other) is None
    assert cancel_files(cloud) == []


def test_what_was_not_uploaded_whole_needs_no_cancelling(ledger: Ledger, cloud: FakeCloud, parcel: Parcel) -> None:
    call_off(ledger, cloud, parcel, "The demo was stopped.")
    assert list(cloud.list(BUCKET, "")) == []


def test_a_cloud_that_is_gone_does_not_hide_that_the_demo_was_stopped(
    ledger: Ledger, cloud: FakeCloud, parcel: Parcel, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.fail_next("list", CloudError("nothing answers", service="s3", code="Unreachable"))
    call_off(ledger, cloud, parcel, "The demo was stopped.")
    assert "could not be cancelled, and goes on in the next demo: nothing answers" in capsys.readouterr().err


def test_jobs_of_an_earlier_run_are_waited_for(ledger: Ledger) -> None:
    job = admit(ledger)

    def live_on(_seconds: float) -> None:
        for status in (JobStatus.PROVISIONING, JobStatus.RUNNING, JobStatus.UPLOADING):
            ledger.advance(job, status, AT)
        finish(ledger, job)

    assert finish_earlier(ledger, live_on) == []


def finish(ledger: Ledger, job: str) -> None:
    ledger.conclude(job, Ending(status=JobStatus.DONE, reason="done"), AT)
    ledger.settle(job, AT)
    ledger.finish(job, AT)


def test_an_earlier_job_that_does_not_end_is_named_and_makes_the_demo_fail(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = admit(ledger)
    unfinished = finish_earlier(ledger, lambda _: None, seconds=0)
    assert tell_rest(unfinished, 0, tmp_path) == 1
    assert f"Job {job} of an earlier run has not ended (admitted)" in capsys.readouterr().err


def test_what_is_left_makes_the_demo_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell_rest([], 0, tmp_path) == 0
    assert tell_rest([], 2, tmp_path) == 1
    assert "2 resources of jobs are left" in capsys.readouterr().err


class Platform:
    """A platform all of whose processes are well."""

    def check(self) -> None:
        """Find nothing to do."""


def pause(folder: Path, asked: threading.Event) -> Callable[[float], object]:
    platform: Any = Platform()
    return waiting(platform, folder, asked)


def test_a_ctrl_c_that_was_lost_ends_the_next_pause(tmp_path: Path) -> None:
    asked = threading.Event()
    wait = pause(tmp_path, asked)
    wait(0)
    asked.set()
    with pytest.raises(KeyboardInterrupt):
        wait(0)


def test_who_waits_on_a_full_disk_waits_in_vain_and_is_told() -> None:
    full = Path("/proc")
    assert free_bytes(full) == 0
    with pytest.raises(EnvironmentMissingError, match="/proc: the disk is full"):
        pause(full, threading.Event())(0)


def test_the_demo_and_the_embedded_cloud_agree_when_a_disk_is_full() -> None:
    assert LEAST_DISK == SPARE

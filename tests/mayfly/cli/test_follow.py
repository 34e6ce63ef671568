"""Following a job tells all of it, once, however late one begins and however its log arrives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from mayfly.cli.context import Context
from mayfly.cli.demo_show import show_left, show_outcome, stages
from mayfly.cli.follow import Follower, LogLine, TaskLog
from mayfly.cli.jobs import download, find_job
from runner.cloud_values import LeftoverKind
from state.database import sqlite_url
from state.errors import StateError, UsageError
from state.job import Ending, Job, JobStatus
from state.ledger import Ledger, open_ledger
from state.record import StoryLine
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import a_job, a_source

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


@pytest.fixture
def job() -> Job:
    return a_job(datasets=2)


@pytest.fixture
def cloud(job: Job) -> FakeCloud:
    cloud = FakeCloud()
    cloud.make_bucket(job.results.bucket)
    return cloud


def admit(ledger: Ledger, job: Job, number: int = 0) -> None:
    ledger.admit(
        job,
        source=a_source(number),
        bound=Decimal(1),
        cap=Decimal(100),
        since=None,
        at=AT,
        enqueue=lambda _: None,
    )


def end(ledger: Ledger, job: Job) -> None:
    for number, status in enumerate((JobStatus.PROVISIONING, JobStatus.RUNNING, JobStatus.UPLOADING)):
        ledger.advance(job.id, status, AT + timedelta(seconds=10 * number))
    ledger.conclude(job.id, Ending(status=JobStatus.DONE, reason="all done"), AT + timedelta(seconds=40))
    ledger.settle(job.id, AT + timedelta(seconds=50))
    ledger.finish(job.id, AT + timedelta(seconds=50))


def write_chunk(cloud: FakeCloud, job: Job, chunk: int, text: str, task: int = 0) -> None:
    cloud.write(job.results.bucket, job.results.live(task, chunk), text.encode())


def test_a_log_comes_in_whole_lines_and_only_once(cloud: FakeCloud, job: Job) -> None:
    log = TaskLog(cloud=cloud, keys=job.results, task=0)
    assert log.poll() == []
    write_chunk(cloud, job, 1, "one\ntw")
    assert log.poll() == ["one"]
    write_chunk(cloud, job, 2, "o\nthree\n")
    assert log.poll() == ["two", "three"]
    cloud.write(job.results.bucket, job.results.log(0), b"one\ntwo\nthree\nfour without an end")
    assert log.finish() == ["four without an end"]


def test_a_letter_that_is_cut_in_two_is_one_letter(cloud: FakeCloud, job: Job) -> None:
    log = TaskLog(cloud=cloud, keys=job.results, task=0)
    text = "größe\n".encode()
    cloud.write(job.results.bucket, job.results.live(0, 1), text[:3])
    assert log.poll() == []
    cloud.write(job.results.bucket, job.results.live(0, 2), text[3:])
    assert log.poll() == ["größe"]


def test_who_comes_late_reads_the_whole_log(cloud: FakeCloud, job: Job) -> None:
    cloud.write(job.results.bucket, job.results.log(1), b"all of it\r\n")
    assert TaskLog(cloud=cloud, keys=job.results, task=1).finish() == ["all of it"]


def test_following_to_the_end(ledger: Ledger, cloud: FakeCloud, job: Job) -> None:
    admit(ledger, job)
    looks: list[float] = []

    def live_on(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            write_chunk(cloud, job, 1, "hello\n")
        else:
            end(ledger, job)

    events = list(Follower(ledger=ledger, cloud=cloud, job_id=job.id, wait=live_on).events())

    told = [event.text for event in events if isinstance(event, StoryLine) and event.kind == "status"]
    assert told == ["submitted", "admitted", "provisioning", "running", "uploading", "destroying", "done"]
    assert [event for event in events if isinstance(event, LogLine)] == [LogLine(task=0, text="hello")]


def test_stages_say_how_long_each_took(ledger: Ledger, job: Job) -> None:
    admit(ledger, job)
    end(ledger, job)
    lines = dict(line.split(maxsplit=1) for line in stages(ledger.story(job.id)))
    assert lines["provisioning"] == "10.0 s"
    assert lines["uploading"] == "20.0 s"
    assert lines["destroying"] == "10.0 s"


def test_a_job_is_found_by_a_beginning_that_only_it_has(ledger: Ledger) -> None:
    first, second = a_job(1), a_job(2)
    admit(ledger, first, 1)
    admit(ledger, second, 2)
    assert find_job(ledger, first.id).id == first.id
    with pytest.raises(StateError, match="the beginning of 2 jobs"):
        find_job(ledger, first.id[:3])
    with pytest.raises(StateError, match="no job nope"):
        find_job(ledger, "nope")


def test_no_result_is_written_outside_of_its_folder(ledger: Ledger, cloud: FakeCloud, job: Job, tmp_path: Path) -> None:
    admit(ledger, job)
    key = f"{job.results.root}../../../evil"
    cloud.write(job.results.bucket, key, b"x")
    with pytest.raises(UsageError, match="outside"):
        download(cloud, ledger.job(job.id), [key], tmp_path / "here")
    assert not (tmp_path / "evil").exists()


def test_the_demo_shows_results_plot_cost_and_certificate(
    ledger: Ledger, cloud: FakeCloud, job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admit(ledger, job)
    end(ledger, job)
    table = "component,variance,ratio\n1,9,0.75\n2,3,0.25\n"
    for name, body in {"a/explained_variance.csv": table, "a/scree.png": "PNG", "end.txt": "end"}.items():
        cloud.write(job.results.bucket, f"{job.results.results}{name}", body.encode())
    cloud.write(job.results.bucket, job.results.certificate, b"certified")
    write_chunk(cloud, job, 1, "live")

    show_outcome(Context(home_option=tmp_path), ledger, cloud, job.id)

    printed = capsys.readouterr().out
    folder = tmp_path / "results" / job.id
    assert f"plot        {folder}/process_results/a/scree.png" in printed
    assert f"certificate {folder}/logs/certificate.txt" in printed
    assert "component 1  ████████████████████████           75.0%" in printed
    assert "USD" in printed
    assert (folder / "logs" / "certificate.txt").read_text() == "certified"
    assert not (folder / "logs" / "live").exists()


def test_what_is_left_is_counted_and_named(cloud: FakeCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_left(cloud, "demo") == 0
    mine = cloud.leave(LeftoverKind.SECURITY_GROUP, deployment="demo", job="pca-1")
    earlier = cloud.leave(LeftoverKind.VOLUME, deployment="demo", job="pca-0")
    assert show_left(cloud, "demo") == 2
    printed = capsys.readouterr().out
    assert "job resources left: 0" in printed
    assert f"security-group {mine} of pca-1" in printed
    assert f"volume {earlier} of pca-0" in printed

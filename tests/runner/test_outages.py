"""What does not answer, and what refuses: good jobs outlast it, every job still ends, and no machine outlives it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from datetime import timedelta
from pathlib import Path

import pytest

from runner.beacon import Beacon
from runner.monitor import silence
from runner.sight import Sight
from state.errors import CloudError
from state.inbox import Inbox
from state.job import Ending, JobStatus
from state.keys import ResultKeys
from state.stops import Orders
from tests.fakes.jobs import NOW, a_job, a_source
from tests.runner.stage import PATIENCE_S, Stage

AWAY = CloudError("nothing answers", service="s3", code="Unreachable", retryable=True)
DENIED = CloudError("writing s3://lab/x failed: AccessDenied", service="s3", code="AccessDenied")
DONE = Ending(status=JobStatus.DONE, reason="1 dataset processed.")
HOUR = timedelta(hours=1)
NOTHING = Orders(wish=None, deadline=None)
LAB = ResultKeys(bucket="lab-of-their-own", root="data/job__demo-pca_t0/")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, a_job())


def furnish(stage: Stage) -> None:
    stage.worker.prepare(stage.job.id)
    stage.worker.provision(stage.job.id)


def refuse(stage: Stage, error: CloudError = DENIED) -> None:
    """Let S3 refuse everything from now on."""
    for method in ("list", "write", "read", "head"):
        stage.cloud.fail_next(method, error, times=10_000)


def story(stage: Stage) -> str:
    return " | ".join(line.text for line in stage.ledger.story(stage.job.id))


def monitor(stage: Stage) -> Ending:
    return asyncio.run(asyncio.wait_for(stage.worker.monitor(stage.job.id), PATIENCE_S))


@pytest.mark.parametrize("error", [DENIED, AWAY], ids=["refused", "away"])
def test_a_job_of_which_nothing_can_be_seen_is_cancelled_and_leaves_no_machine(stage: Stage, error: CloudError) -> None:
    furnish(stage)
    refuse(stage, error)
    stage.ledger.request_cancel(stage.job.id, "wrong file", NOW)
    ending = monitor(stage)
    assert ending.status is JobStatus.CANCELLED
    assert stage.worker.collect(stage.job.id, ending) == ending
    stage.worker.destroy(stage.job.id, ending)
    assert stage.left == []
    stage.worker.settle(stage.job.id)
    stage.cloud.store.faults.clear()
    stage.worker.certify(stage.job.id)
    assert stage.ledger.job(stage.job.id).status is JobStatus.CANCELLED


def test_a_job_of_which_nothing_can_be_seen_ends_at_its_deadline(stage: Stage) -> None:
    furnish(stage)
    refuse(stage)
    stage.pass_time(100_000)
    ending = monitor(stage)
    assert ending.status is JobStatus.TIMED_OUT
    assert "nothing could be seen of it: writing s3://lab/x failed: AccessDenied" in ending.reason
    stage.worker.destroy(stage.job.id, ending)
    assert stage.left == []


def test_a_store_that_takes_no_certificate_does_not_stop_the_watching(stage: Stage) -> None:
    furnish(stage)
    stage.report()
    stage.cloud.fail_next("write", DENIED, times=10_000)
    assert monitor(stage).status is JobStatus.DONE


def test_a_bucket_that_refuses_is_noticed_before_anything_is_spent(stage: Stage) -> None:
    refuse(stage)
    ending = stage.worker.prepare(stage.job.id)
    assert ending is not None
    assert ending.reason.startswith("The results could not be written: ")


def test_a_lost_bucket_of_the_users_own_is_told_of_in_the_analysiss(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(results=LAB))
    inbox = Inbox(stage.ledger.engine)
    inbox.record(a_source(), NOW)
    inbox.close(a_source(), NOW, stage.job.id)
    stage.cloud.make_bucket(LAB.bucket)
    stage.on_machine = lambda *_: stage.cloud.store.objects.pop(LAB.bucket)
    furnish(stage)
    stage.pass_time(100_000)
    ending = stage.worker.collect(stage.job.id, monitor(stage))
    stage.worker.destroy(stage.job.id, ending)
    stage.worker.settle(stage.job.id)
    stage.worker.certify(stage.job.id)
    assert stage.ledger.job(stage.job.id).status is JobStatus.TIMED_OUT
    assert stage.left == []
    home = f"lab1/results/job__demo-pca_t0-{stage.job.id}/"
    assert "end of analysis: timed out" in stage.text(f"{home}process_results/end.txt")
    assert "JOB TIMED OUT" in stage.text(f"{home}logs/certificate.txt")


def test_nobody_insists_for_ever_on_telling_a_bucket_that_is_gone(stage: Stage) -> None:
    job = stage.job.id
    del stage.cloud.store.objects["demo-pca"]
    ending = stage.worker.prepare(job)
    assert ending is not None
    stage.worker.destroy(job, ending)
    stage.worker.settle(job)
    with pytest.raises(CloudError, match="demo-pca does not exist"):
        stage.worker.certify(job)
    stage.pass_time(25 * 3600)
    stage.worker.certify(job)
    assert stage.ledger.job(job).status is JobStatus.FAILED
    assert "nobody could be told, because s3://demo-pca takes nothing" in story(stage)


def test_a_blip_of_the_store_does_not_cost_what_is_known_of_a_failed_job(stage: Stage) -> None:
    furnish(stage)
    stage.report(status="FAILED", ending="failed", reason="NaN")
    stage.cloud.fail_next("list", AWAY, times=2)
    failed = Ending(status=JobStatus.FAILED, reason="1 of 1 dataset failed")
    assert stage.worker.collect(stage.job.id, failed) == failed
    assert stage.chronicle.outcomes(stage.job.id)[0].reason == "NaN"


def test_an_outage_before_the_machines_are_made_is_outlasted(stage: Stage) -> None:
    stage.cloud.fail_next("head", AWAY, times=20)  # the agent cannot be published
    stage.cloud.fail_next("leftovers", AWAY, times=20)  # what is left of the job cannot be asked for
    stage.on_machine = lambda number, _: stage.report(number)
    assert stage.run() is JobStatus.DONE
    assert stage.now - NOW >= timedelta(seconds=400)
    assert "AWS does not answer; it is asked again until it does" in story(stage)
    deadline = stage.ledger.job(stage.job.id).deadline
    assert deadline is not None
    assert deadline - NOW > timedelta(hours=1, minutes=33)  # the wait for S3 took nothing of the job's own time


def test_a_wish_ends_the_waiting_for_an_answer(stage: Stage) -> None:
    stage.worker.prepare(stage.job.id)
    stage.cloud.fail_next("leftovers", AWAY, times=10_000)
    stage.ledger.request_stop(stage.job.id, Ending(status=JobStatus.CANCELLED, reason="x"), NOW, grace=HOUR / 2)
    ending = stage.worker.provision(stage.job.id)
    assert ending == Ending(status=JobStatus.CANCELLED, reason="x")
    assert HOUR / 2 <= stage.now - NOW < HOUR


def test_results_are_checked_once_the_store_answers_again(stage: Stage) -> None:
    furnish(stage)
    stage.report()
    stage.cloud.fail_next("list", AWAY, times=20)
    assert stage.worker.collect(stage.job.id, DONE).status is JobStatus.DONE
    assert stage.now - NOW >= timedelta(seconds=200)


@pytest.mark.parametrize("error", [DENIED, AWAY], ids=["refused", "away"])
def test_results_that_could_not_be_checked_are_not_called_done(stage: Stage, error: CloudError) -> None:
    furnish(stage)
    stage.report()
    stage.cloud.fail_next("list", error, times=10_000)
    ending = stage.worker.collect(stage.job.id, DONE)
    assert ending.status is JobStatus.FAILED
    assert ending.reason.startswith("The results could not be checked: ")


class Outage(deque[CloudError]):
    """Errors of which each takes two minutes."""

    def __init__(self, stage: Stage, times: int) -> None:
        super().__init__([AWAY] * times)
        self.stage = stage

    def popleft(self) -> CloudError:
        self.stage.pass_time(120)
        return super().popleft()


def test_the_silence_of_an_outage_is_not_held_against_a_machine(stage: Stage) -> None:
    furnish(stage)
    said = {"status": "IN PROGRESS", "phase": "running", "stdout": {}}
    stage.cloud.write("demo-pca", stage.job.status_key(stage.job.tasks[0]), json.dumps(said).encode())

    stage.cloud.store.faults["list"] = Outage(stage, 5)
    looks = len(stage.cloud.calls_of("list")) + 8
    stage.watch_until(lambda: len(stage.cloud.calls_of("list")) > looks)  # and nobody has given it up
    assert stage.now - NOW == timedelta(minutes=10)
    stage.report()
    assert monitor(stage).status is JobStatus.DONE


def test_a_sign_of_life_that_was_refused_is_given_at_the_next_look(stage: Stage) -> None:
    beacon = Beacon(stage.cloud, lambda: stage.now)
    stage.cloud.fail_next("write", AWAY)
    with pytest.raises(CloudError):
        beacon.shine(stage.job, NOTHING)
    beacon.shine(stage.job, NOTHING)
    assert '"stop": null' in stage.text(stage.job.results.platform)


def test_gaps_are_what_lies_between_two_looks_of_which_one_failed_in_between() -> None:
    sight, minute = Sight(NOW), timedelta(minutes=1)
    sight.ask()
    sight.see(NOW + minute)
    assert sight.gaps == []
    for _ in range(3):
        sight.ask()
    sight.see(NOW + 5 * minute)
    sight.ask()
    sight.see(NOW + 6 * minute)
    assert sight.gaps == [(NOW + minute, NOW + 5 * minute)]
    assert silence(NOW, NOW + 6 * minute, sight.gaps) == 2 * minute
    assert silence(NOW + 2 * minute, NOW + 6 * minute, sight.gaps) == minute
    assert silence(NOW + 5 * minute, NOW + 6 * minute, sight.gaps) == minute

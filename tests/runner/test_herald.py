"""A client that reads nothing but the bucket learns that its job is queued, and what it waits for."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from compiler.deployment import PlatformLimits
from runner.certify import Certifier
from runner.herald import AT_ONCE, Herald, keep_telling
from runner.waiting import explain
from state.dispatch import Gate
from state.errors import CloudError
from state.job import Ending, JobStatus
from state.turns import Caps
from tests.runner.test_watcher import BUCKET, Office

LIMITS = PlatformLimits(jobs=3, jobs_per_group=1)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def herald_of(office: Office) -> Herald:
    certifier = Certifier(ledger=office.ledger, cloud=office.cloud, clock=lambda: office.now, deployment="demo")
    return Herald(ledger=office.ledger, certifier=certifier, limits=lambda: LIMITS, clock=lambda: office.now)


def go_round(office: Office, herald: Herald) -> int:
    office.now += timedelta(seconds=10)
    return herald.go_round()


def admit(office: Office, *stamps: str, group: str = "lab1") -> list[str]:
    for stamp in stamps:
        office.submit(stamp, group=group)
    office.settle()
    return [office.ledger.jobs(limit=100)[n].id for n in reversed(range(len(stamps)))]


def certificate(office: Office, stamp: str) -> str:
    return office.text(f"lab1/results/job_{stamp}_{BUCKET}_{stamp}/logs/certificate.txt")


def test_a_queued_job_has_a_certificate_that_follows_what_it_waits_for(office: Office) -> None:
    admit(office, "t1")
    herald = herald_of(office)
    assert go_round(office, herald) == 1
    assert "STEP 2/4 (Validation): DONE" in certificate(office, "t1")
    assert "It waits for its turn" in certificate(office, "t1")
    assert go_round(office, herald) == 0  # nothing is news
    gate = Gate(office.ledger.engine, lambda *_: None)
    gate.open(Caps(groups={"lab1": 0}), office.now)
    assert go_round(office, herald) == 1
    assert "It waits for the limit of lab1: 0 of 0 instances are in use, and it needs 1." in certificate(office, "t1")


def test_a_job_that_the_engine_holds_back_names_the_engines_limit(office: Office) -> None:
    first, second = admit(office, "t1", "t2")
    Gate(office.ledger.engine, lambda *_: None).open(Caps(), office.now)
    herald = herald_of(office)
    go_round(office, herald)
    assert "It waits for a free worker" in certificate(office, "t2")
    office.ledger.advance(first, JobStatus.PROVISIONING, office.now)
    go_round(office, herald)
    words = "It waits for a place in the engine: 1 of 1 jobs of lab1 are under way."
    assert explain(office.ledger, office.ledger.job(second)).why == words
    assert words in certificate(office, "t2")
    end(office, first)
    go_round(office, herald)
    assert "It waits for a free worker" in explain(office.ledger, office.ledger.job(second)).why


def end(office: Office, job: str) -> None:
    office.ledger.conclude(job, Ending(status=JobStatus.DONE, reason=""), office.now)
    office.ledger.finish(job, office.now)


def test_a_crowd_is_told_a_few_at_a_time_and_nobody_is_left_out(office: Office) -> None:
    jobs = admit(office, *(f"t{number}" for number in range(AT_ONCE + 5)))
    herald = herald_of(office)
    assert [go_round(office, herald) for _ in range(3)] == [AT_ONCE, 5, 0]
    assert len(herald.told) == len(jobs)


def test_a_bucket_that_refuses_keeps_nobody_else_from_being_told(office: Office) -> None:
    admit(office, "t1", "t2")
    office.cloud.fail_next("write", CloudError("no", service="s3", code="AccessDenied"))
    herald = herald_of(office)
    assert go_round(office, herald) == 2
    written = [key for key in office.cloud.store.objects[BUCKET] if key.endswith("certificate.txt")]
    assert len(written) == 1
    assert go_round(office, herald) == 0


class Slow:
    """A certifier that takes so long that the job is over when it is done."""

    def __init__(self, office: Office) -> None:
        self.office, self.closed = office, list[str]()

    def write(self, job_id: str) -> None:
        end(self.office, job_id)

    def close(self, job_id: str) -> JobStatus:
        self.closed.append(job_id)
        return JobStatus.DONE


def test_a_late_word_never_stands_over_the_end_of_a_job(office: Office) -> None:
    [job] = admit(office, "t1")
    slow = Slow(office)
    herald = Herald(ledger=office.ledger, certifier=slow, limits=lambda: LIMITS, clock=lambda: office.now)
    go_round(office, herald)
    assert slow.closed == [job]


def test_the_herald_outlives_a_store_that_is_away(office: Office) -> None:
    [job] = admit(office, "t1")
    stop, tried = threading.Event(), threading.Event()

    class Failing(Slow):
        def write(self, job_id: str) -> None:
            if tried.is_set():
                stop.set()
            tried.set()
            raise (
                RuntimeError(job_id)
                if stop.is_set()
                else CloudError(job_id, service="s3", code="SlowDown", retryable=True)
            )

    office.now += timedelta(seconds=10)
    herald = Herald(ledger=office.ledger, certifier=Failing(office), limits=lambda: LIMITS, clock=lambda: office.now)
    thread = threading.Thread(target=keep_telling, args=(herald, stop), kwargs={"every_s": 0.01}, daemon=True)
    thread.start()
    assert stop.wait(60), job
    thread.join(60)
    assert not thread.is_alive()

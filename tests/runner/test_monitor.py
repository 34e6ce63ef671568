from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from runner.cloud_values import Instance
from runner.monitor import Patience, Signs, Verdict, decide, judge, outcome_of, progress
from state.chronicle import Attempt, TaskEnding, Tried
from state.job import Ending, JobStatus, Offer, Policy, TaskStatus
from state.stops import StopRequest
from tests.fakes.jobs import NOW, a_job

JOB = a_job(datasets=2)
DEADLINE = NOW + timedelta(hours=1)
PATIENCE = Patience()
GOOD = {"status": "SUCCESS", "ending": "succeeded", "reason": "done"}


OFFER = Offer(instance_type="m5.large", hourly_price=Decimal("0.096"))
STARTED = Attempt(
    job=JOB.id, task=0, number=0, way=0, offer=OFFER, at=NOW, run=0, instance="i-0", outcome=Tried.STARTED
)


def signs(number: int = 0, **changes: Any) -> Signs:
    machine = Instance(id=f"i-{number}", job=JOB.id, task=number, state="running", type="m5.large", launched=NOW)
    return replace(Signs(task=JOB.tasks[number], instance=machine, heard=NOW), **changes)


def ended(reason: str = "") -> Instance:
    return Instance(
        id="i-9", job=JOB.id, task=0, state="terminated", type="m5.large", launched=NOW, ended=NOW, reason=reason
    )


def decision(
    *all_signs: Signs, now: datetime = NOW, wish: StopRequest | None = None, policy: Policy | None = None
) -> Ending | None:
    found = {one.task.number: judge(one, now, PATIENCE) for one in all_signs}
    verdicts = {number: verdict for number, verdict in found.items() if verdict is not None}
    job = replace(JOB, policy=policy or Policy())
    return decide(job, list(all_signs), verdicts, wish=wish, deadline=DEADLINE, now=now)


def test_a_job_goes_on_while_a_task_works() -> None:
    assert decision(signs(0, report=GOOD), signs(1)) is None


def test_a_job_is_done_when_all_tasks_succeeded() -> None:
    found = decision(signs(0, report=GOOD), signs(1, report=GOOD))
    assert found == Ending(status=JobStatus.DONE, reason="2 datasets processed.")


def test_a_failed_task_is_named_with_its_reason() -> None:
    bad = {"status": "FAILED", "ending": "failed", "reason": "NaN in row 3."}
    found = decision(signs(0, report=bad), signs(1, report=GOOD))
    assert found == Ending(status=JobStatus.FAILED, reason="1 of 2 datasets failed: a.npy: NaN in row 3.")


def test_an_analysis_that_names_its_dataset_itself_is_not_corrected() -> None:
    bad = {"status": "FAILED", "ending": "failed", "reason": "a.npy holds NaN."}
    found = decision(signs(0, report=bad), signs(1, report=GOOD))
    assert found == Ending(status=JobStatus.FAILED, reason="1 of 2 datasets failed: a.npy holds NaN.")


def test_tasks_that_all_ran_out_of_time_make_a_timed_out_job() -> None:
    late = {"status": "FAILED", "ending": "timed_out", "reason": "more than 60 minutes"}
    assert decision(signs(0, report=late), signs(1, report=GOOD)).status is JobStatus.TIMED_OUT  # type: ignore[union-attr]


def test_a_report_counts_even_when_its_machine_is_gone() -> None:
    assert judge(signs(report=GOOD, instance=ended()), NOW, PATIENCE).ending == "succeeded"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("seen", "after", "words"),
    [
        (signs(instance=None), timedelta(seconds=61), "has disappeared"),
        (signs(instance=None, heard=None), timedelta(), "has disappeared"),
        (signs(instance=None, heard=None, attempt=STARTED), timedelta(minutes=11), "has disappeared"),
        (signs(instance=ended("Client.UserInitiatedShutdown")), timedelta(), "without a report: Client.User"),
        (signs(heard=None), timedelta(minutes=11), "never reported"),
        (signs(), timedelta(minutes=4), "not reported for 4 minutes"),
    ],
)
def test_a_silent_task_is_diagnosed(seen: Signs, after: timedelta, words: str) -> None:
    verdict = judge(seen, NOW + after, PATIENCE)
    assert verdict is not None
    assert verdict.ending == "lost"
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("seen", "after"),
    [
        (signs(heard=None), timedelta(minutes=9)),
        (signs(), timedelta(minutes=2)),
        (signs(instance=None), timedelta(seconds=59)),  # EC2's list may leave out what is there
        (signs(instance=None, heard=None, attempt=STARTED), timedelta(minutes=9)),
    ],
)
def test_a_task_has_time_to_boot_and_to_breathe(seen: Signs, after: timedelta) -> None:
    assert judge(seen, NOW + after, PATIENCE) is None


def test_cancelling_ends_a_job_whatever_it_does() -> None:
    wish = StopRequest(status=JobStatus.CANCELLED, reason="enough", due=NOW)
    assert decision(signs(0), signs(1), wish=wish) == Ending(status=JobStatus.CANCELLED, reason="enough")


def test_over_budget_a_job_has_until_its_grace_is_over_to_save_what_it_has() -> None:
    wish = StopRequest(status=JobStatus.OVER_BUDGET, reason="all is spent", due=NOW + timedelta(minutes=2))
    over = Ending(status=JobStatus.OVER_BUDGET, reason="all is spent")
    stopped = {"status": "FAILED", "ending": "stopped", "reason": "told to stop"}
    assert decision(signs(0), signs(1, report=stopped), wish=wish) is None
    assert decision(signs(0, report=stopped), signs(1, report=stopped), wish=wish) == over
    assert decision(signs(0), signs(1), wish=wish, now=wish.due) == over
    done = decision(signs(0, report=GOOD), signs(1, report=GOOD), wish=wish)
    assert done is not None
    assert done.status is JobStatus.DONE


def test_a_failed_task_stops_the_others_only_when_the_blueprint_says_so() -> None:
    bad = {"status": "FAILED", "ending": "failed", "reason": "NaN"}
    assert decision(signs(0, report=bad), signs(1)) is None
    found = decision(signs(0, report=bad), signs(1), policy=Policy(stop_on_failure=True))
    assert found is not None
    assert found.status is JobStatus.FAILED
    assert "a.npy: NaN" in found.reason
    assert "1 dataset was stopped" in found.reason


def test_a_held_machine_keeps_its_job_open_until_its_time_is_over() -> None:
    until = NOW + timedelta(minutes=30)
    bad = {"status": "FAILED", "ending": "failed", "reason": "NaN", "held_until": until.isoformat()}
    all_signs = (signs(0, report=bad), signs(1, report=GOOD))
    assert decision(*all_signs) is None
    assert decision(*all_signs, now=until) is not None
    assert decision(signs(0, report=bad, instance=ended()), signs(1, report=GOOD)) is not None


def test_what_waits_for_a_machine_is_not_lost_and_what_gets_none_has_failed() -> None:
    offer = Offer(instance_type="m5.large", hourly_price=Decimal(1))
    waits = Attempt(job=JOB.id, task=0, number=1, way=0, offer=offer, at=NOW, run=0)
    assert judge(signs(instance=None, attempt=waits), NOW, PATIENCE) is None
    none = replace(waits, outcome=Tried.GIVEN_UP, reason="no machine was to be had")
    assert judge(signs(instance=None, attempt=none), NOW, PATIENCE).reason == "no machine was to be had"  # type: ignore[union-attr]


def test_a_spot_machine_that_was_taken_back_is_interrupted_and_not_lost() -> None:
    gone = ended("Server.SpotInstanceTermination: Spot instance termination")
    assert judge(signs(instance=gone), NOW, PATIENCE).ending == "interrupted"  # type: ignore[union-attr]
    found = decision(signs(0, instance=gone), signs(1, report=GOOD))
    assert found is not None
    assert found.status is JobStatus.INTERRUPTED


@pytest.mark.parametrize(
    ("ending", "job", "word"),
    [
        ("succeeded", JobStatus.DONE, TaskEnding.SUCCEEDED),
        ("failed", JobStatus.FAILED, TaskEnding.FAILED),
        ("timed_out", JobStatus.TIMED_OUT, TaskEnding.TIMED_OUT),
        ("interrupted", JobStatus.INTERRUPTED, TaskEnding.INTERRUPTED),
        ("stopped", JobStatus.OVER_BUDGET, TaskEnding.OVER_BUDGET),
        (None, JobStatus.CANCELLED, TaskEnding.CANCELLED),
        (None, JobStatus.TIMED_OUT, TaskEnding.TIMED_OUT),
        (None, JobStatus.FAILED, TaskEnding.FAILED),
    ],
)
def test_every_task_has_an_ending_of_its_own(ending: str | None, job: JobStatus, word: TaskEnding) -> None:
    good = TaskStatus.SUCCESS if ending == "succeeded" else TaskStatus.FAILED
    verdict = Verdict(status=good, ending=ending, reason="why") if ending else None
    assert outcome_of(JOB.tasks[0], verdict, Ending(status=job, reason="x")).ending is word


def test_at_its_deadline_a_job_is_timed_out_and_the_slow_dataset_named() -> None:
    found = decision(signs(0, report=GOOD), signs(1, heard=DEADLINE), now=DEADLINE)
    assert found is not None
    assert found.status is JobStatus.TIMED_OUT
    assert "60 minutes while it was still working on b.npy" in found.reason


def test_progress_follows_the_slowest_task() -> None:
    assert progress([signs(0, heard=None), signs(1, heard=None)]) is JobStatus.PROVISIONING
    assert progress([signs(0, status={"phase": "uploading"}), signs(1)]) is JobStatus.RUNNING
    assert progress([signs(0, status={"phase": "uploading"}), signs(1, report=GOOD)]) is JobStatus.UPLOADING

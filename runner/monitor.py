"""What a running job's signs mean: pure decisions over what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from runner.cloud_values import Instance
from state.chronicle import Attempt, Outcome, TaskEnding, Tried
from state.job import Ending, Job, JobStatus, Task, TaskStatus
from state.stops import StopRequest

Gap = tuple[datetime, datetime]
"""From when until when a job could not be looked at."""
SHOWN = 3
"""Failed datasets whose reasons are spelled out in the reason of their job."""
SPOT_END = "Server.SpotInstanceTermination"
"""What EC2 says of an instance that it took back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence is taken for work.

    Attributes:
        boot: from launch to the first sign of the agent.
        silence: between two signs of the agent.
        missing: from the last sign of an agent whose instance EC2 leaves out of its list: that may be a slip of the
            list's.
    """

    boot: timedelta = timedelta(minutes=10)
    silence: timedelta = timedelta(minutes=3)
    missing: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What was seen of one task.

    Attributes:
        task: which.
        instance: its newest instance, or None when there is none.
        heard: when its status file was last written, UTC; None before the first.
        status: the content of its status file, as the agent wrote it; empty before the first.
        report: what the agent said at the end, or None.
        reported: when it said so, UTC.
        attempt: its newest try to get a machine; None for a job that keeps no record of tries.
    """

    task: Task
    instance: Instance | None = None
    heard: datetime | None = None
    status: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None
    reported: datetime | None = None
    attempt: Attempt | None = None

    @property
    def phase(self) -> str:
        """What the agent is doing: downloading, running, uploading or done; empty before it starts."""
        return str(self.status.get("phase", ""))

    def is_held(self, now: datetime) -> bool:
        """Whether its machine failed and is kept for its developer."""
        until = when((self.report or {}).get("held_until"))
        alive = self.instance is not None and self.instance.state in {"pending", "running"}
        return alive and until is not None and now < until


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one task ended.

    Attributes:
        status: SUCCESS or FAILED, in the words of the status file.
        ending: the agent's word (`succeeded`, `failed`, `timed_out`, `interrupted` …) or `lost`.
        reason: in words.
    """

    status: TaskStatus
    ending: str
    reason: str


def judge(signs: Signs, now: datetime, patience: Patience, gaps: Sequence[Gap] = ()) -> Verdict | None:
    """Return how a task ended, or None while it may still be working.

    Args:
        signs: what was seen of it.
        now: UTC.
        patience: how long its silence is taken for work.
        gaps: when nobody could look. What cannot be read could not be written either: that is not its silence.
    """
    attempt = signs.attempt
    if attempt is not None and attempt.outcome is Tried.GIVEN_UP:
        return Verdict(status=TaskStatus.FAILED, ending="no_machine", reason=attempt.reason)
    if signs.report is not None:
        good = signs.report.get("status") == TaskStatus.SUCCESS
        return Verdict(
            status=TaskStatus.SUCCESS if good else TaskStatus.FAILED,
            ending=str(signs.report.get("ending", "failed")),
            reason=str(signs.report.get("reason", "") or "no reason was given"),
        )
    if attempt is not None and attempt.outcome is not Tried.STARTED:
        return None  # it waits for a machine; what was there before is another story
    instance = signs.instance
    if instance is not None and SPOT_END in instance.reason and instance.state not in {"pending", "running"}:
        return Verdict(status=TaskStatus.FAILED, ending="interrupted", reason="AWS took its spot machine back")
    lost = _lost(signs, now, patience, gaps)
    return None if lost is None else Verdict(status=TaskStatus.FAILED, ending="lost", reason=lost)


def _lost(signs: Signs, now: datetime, patience: Patience, gaps: Sequence[Gap]) -> str | None:
    instance = signs.instance
    if instance is None:
        since, most = signs.heard, patience.missing
        if since is None and signs.attempt is not None:
            since, most = signs.attempt.at, patience.boot
        is_late = since is None or silence(since, now, gaps) > most
        return "its instance has disappeared" if is_late else None
    if instance.state not in {"pending", "running"}:
        why = f": {instance.reason}" if instance.reason else ""
        return f"instance {instance.id} ended without a report{why}"
    if signs.heard is None:
        if silence(instance.launched, now, gaps) > patience.boot:
            return (
                f"instance {instance.id} started but its agent never reported; its console output is kept in the logs"
            )
        return None
    passed = silence(signs.heard, now, gaps)
    if passed > patience.silence:
        minutes = int(passed.total_seconds() // 60)
        return f"instance {instance.id} has not reported for {minutes} minutes"
    return None


def silence(since: datetime, now: datetime, gaps: Sequence[Gap]) -> timedelta:
    """Return how long nothing was heard since a moment, without the time in which nobody could look."""
    deaf = (min(end, now) - max(start, since) for start, end in gaps if end > since)
    return now - since - sum(deaf, timedelta(0))


def progress(all_signs: list[Signs]) -> JobStatus:
    """Return the status of a job whose machines are up, as far as its tasks have come."""
    phases = [signs.phase for signs in all_signs if signs.report is None]
    if all(phase in {"uploading", "done"} for phase in phases):
        return JobStatus.UPLOADING
    return JobStatus.RUNNING if any(signs.heard or signs.report for signs in all_signs) else JobStatus.PROVISIONING


def decide(
    job: Job,
    all_signs: list[Signs],
    verdicts: Mapping[int, Verdict],
    *,
    wish: StopRequest | None,
    deadline: datetime,
    now: datetime,
) -> Ending | None:
    """Return how a job ends, or None while it goes on.

    Args:
        job: which.
        all_signs: what was seen of its tasks.
        verdicts: of the tasks that are over, by number.
        wish: somebody's, or the budget's, to stop it.
        deadline: when everything must be gone.
        now: UTC.
    """
    over = [(signs.task, verdicts[signs.task.number]) for signs in all_signs if signs.task.number in verdicts]
    open_tasks = [signs.task for signs in all_signs if signs.task.number not in verdicts]
    all_good = not open_tasks and all(verdict.status is TaskStatus.SUCCESS for _, verdict in over)
    if wish is not None and not all_good and (now >= wish.due or not open_tasks):
        return wish.ending
    if now >= deadline and open_tasks:
        slow = ", ".join(task.name for task in open_tasks)
        return too_late(job, f"it was still working on {slow}")
    if any(signs.is_held(now) for signs in all_signs) and now < deadline:
        return None
    if not open_tasks:
        return conclude(over)
    bad = [(task, verdict) for task, verdict in over if verdict.status != TaskStatus.SUCCESS]
    if bad and job.policy.stop_on_failure:
        ending = conclude(over)
        rest = (
            f"{_datasets(len(open_tasks))} {'was' if len(open_tasks) == 1 else 'were'} stopped: the blueprint says so."
        )
        return Ending(status=ending.status, reason=f"{ending.reason} {rest}")
    return None


def decide_blind(
    job: Job, *, wish: StopRequest | None, deadline: datetime | None, now: datetime, why: str
) -> Ending | None:
    """Return how a job ends of which nothing can be seen, or None while it may go on; `why` says what is in the way."""
    if wish is not None and now >= wish.due:
        return wish.ending
    late = deadline is not None and now >= deadline
    return too_late(job, f"nothing could be seen of it: {why.rstrip('.')}") if late else None


def too_late(job: Job, meanwhile: str) -> Ending:
    """Return the ending of a job whose time is over while something went on."""
    return Ending(
        status=JobStatus.TIMED_OUT,
        reason=f"The job reached its limit of {job.duration_s // 60} minutes while {meanwhile}. "
        "Set a larger __duration__ in the config file, up to what the analysis allows.",
    )


def conclude(verdicts: list[tuple[Task, Verdict]]) -> Ending:
    """Return the ending of a job whose tasks are all over."""
    bad = [(task, verdict) for task, verdict in verdicts if verdict.status != TaskStatus.SUCCESS]
    count = len(verdicts)
    if not bad:
        return Ending(status=JobStatus.DONE, reason=f"{_datasets(count)} processed.")
    reasons = "; ".join(_blame(task, verdict.reason.rstrip(".")) for task, verdict in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    kinds = {verdict.ending for _, verdict in bad}
    status = {"timed_out": JobStatus.TIMED_OUT, "interrupted": JobStatus.INTERRUPTED}
    return Ending(
        status=status.get(kinds.pop(), JobStatus.FAILED) if len(kinds) == 1 else JobStatus.FAILED,
        reason=f"{len(bad)} of {_datasets(count)} failed: {reasons}{more}.",
    )


def _blame(task: Task, reason: str) -> str:
    """Return why a task failed, with its name; many an analysis begins with that itself."""
    return reason if reason.startswith(task.name) else f"{task.name}: {reason}"


def outcome_of(task: Task, verdict: Verdict | None, ending: Ending | None) -> Outcome:
    """Return how a task ended in the words of the ledger.

    A task that was still at work when its job was stopped ended as its job did.
    """
    words = {
        "succeeded": TaskEnding.SUCCEEDED,
        "timed_out": TaskEnding.TIMED_OUT,
        "interrupted": TaskEnding.INTERRUPTED,
    }
    stopped = verdict is None or verdict.ending == "stopped"
    if stopped and ending is not None and ending.status is not JobStatus.DONE:
        return Outcome(task=task.number, ending=TaskEnding(ending.status), reason=ending.reason)
    if verdict is None:
        return Outcome(task=task.number, ending=TaskEnding.FAILED, reason="its job ended before it did")
    good = verdict.status is TaskStatus.SUCCESS
    word = TaskEnding.SUCCEEDED if good else words.get(verdict.ending, TaskEnding.FAILED)
    return Outcome(task=task.number, ending=word, reason="" if good else verdict.reason)


def when(text: object) -> datetime | None:
    """Return the aware time that an agent wrote, or None."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _datasets(count: int) -> str:
    return "1 dataset" if count == 1 else f"{count} datasets"

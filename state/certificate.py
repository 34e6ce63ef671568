"""The certificate: a job's own story, as text that NeuroCAAS's clients can read, and as JSON for programs.

Pure: the same values give the same bytes, so it can be written again after any crash. Words that come from users are
put on one line and stripped of control characters, so that nobody can forge a line of somebody's certificate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from state.chronicle import Attempt
from state.job import FINAL, Ending, JobStatus, TaskStatus
from state.signature import Signer
from state.usage import CENT, Usage

RULE: Final = "=" * 72
_WHO: Final = "[Job Manager]"


class Step(StrEnum):
    """The four steps clients look for, in order."""

    INITIALIZATION = "Initialization"
    VALIDATION = "Validation"
    ENVIRONMENT = "Environment Setup"
    PROCESSING = "Initialize Processing"

    @property
    def label(self) -> str:
        """How a line names the step: `STEP 2/4 (Validation)`."""
        steps = list(Step)
        return f"STEP {steps.index(self) + 1}/{len(steps)} ({self.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the story: when, and what in words."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far one dataset has come.

    Attributes:
        dataset: its name.
        status: as its status file says.
        started: when its work began, UTC; None before.
        ended: when it was over, UTC; None before.
        last_command: the last thing it said that it was doing.
        cpu: percent of its machine, as its status file says; empty when unknown.
        reason: why it failed, in words; empty otherwise.
        ending: how it ended, in the ledger's word; empty before.
    """

    dataset: str
    status: TaskStatus = TaskStatus.INITIALIZING
    started: datetime | None = None
    ended: datetime | None = None
    last_command: str = ""
    cpu: str = ""
    reason: str = ""
    ending: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Everything a certificate tells.

    Attributes:
        job: our id.
        timestamp: the user's own text, which clients know the job by.
        analysis: blueprint id; empty when the submission could not be matched to one.
        version: the analysis version; empty when it was not looked up.
        group: whose job it is.
        started: when the submission was uploaded, UTC.
        now: when this certificate is written, UTC.
        events: the story so far; see `tell_steps`.
        tasks: the datasets, in the order of the submission.
        usages: what was used, as far as it is known.
        ending: how the job ended; None while it runs.
        environment: facts about the software and the machines, by name; shown in the order of their names.
        attempts: every try to get a machine, by task.
        evidence: hashes, checksums, parameters and summaries, by name; only in the JSON twin.
    """

    job: str
    timestamp: str
    analysis: str
    version: str
    group: str
    started: datetime
    now: datetime
    events: tuple[Event, ...] = ()
    tasks: tuple[TaskProgress, ...] = ()
    usages: tuple[Usage, ...] = ()
    ending: Ending | None = None
    environment: tuple[tuple[str, str], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


def tell_steps(
    statuses: Sequence[tuple[datetime, JobStatus]], ending: Ending | None = None, *, cloud_failed: bool = False
) -> tuple[Event, ...]:
    """Turn the statuses a job went through into the lines that clients look for.

    Args:
        statuses: each with the moment it began, in order of time; a repeated status counts once.
        ending: how the job ends, as soon as that is known.
        cloud_failed: whether AWS is to blame when a step failed, rather than us or the submission.
    """
    moments: dict[JobStatus, datetime] = {}
    for at, status in statuses:
        moments.setdefault(status, at)
    told: list[Event] = []
    open_steps = list(Step)
    ended = False
    for status, at in moments.items():
        for step in _COMPLETES.get(status, ()):
            if step in open_steps:
                open_steps.remove(step)
                told.append(_say(at, f"{step.label}: DONE"))
        if status is JobStatus.PROVISIONING:
            told.append(_say(at, "Building the job's own infrastructure."))
        if ending is not None and not ended and status in _ENDS:
            told += _tell_ending(ending, at, open_steps, cloud_failed=cloud_failed)
            ended = True
        if status.is_final and status is not JobStatus.REJECTED:
            told.append(_say(at, f"JOB {status.upper()}. Nothing of its infrastructure is left."))
    if ending is not None and not ended and moments:
        told += _tell_ending(ending, max(moments.values()), open_steps, cloud_failed=cloud_failed)
    return tuple(told)


_COMPLETES: Final = {
    JobStatus.SUBMITTED: (Step.INITIALIZATION,),
    JobStatus.REJECTED: (Step.INITIALIZATION,),
    JobStatus.ADMITTED: (Step.VALIDATION,),
    JobStatus.RUNNING: (Step.ENVIRONMENT, Step.PROCESSING),
    JobStatus.UPLOADING: (Step.ENVIRONMENT, Step.PROCESSING),
}
"""Which steps are over when a status begins."""
_ENDS: Final = FINAL | {JobStatus.DESTROYING}


def _say(at: datetime, text: str) -> Event:
    return Event(at=at, text=f"{_WHO} {text}")


def _tell_ending(ending: Ending, at: datetime, open_steps: Sequence[Step], *, cloud_failed: bool) -> list[Event]:
    if ending.status is JobStatus.DONE:
        return [_say(at, "All datasets are processed. Taking down the job's infrastructure.")]
    reason = f"[JOB TERMINATE REASON] '{one_line(ending.reason)}'"
    blame = "AWS" if cloud_failed else "INTERNAL"
    first = f"{open_steps[0].label}: {blame} ERROR. {reason}" if open_steps else reason
    return [_say(at, first), _say(at, "Shutting down job.")]


def render_text(certificate: Certificate) -> str:
    """Return certificate.txt."""
    c = certificate
    head = [
        f"REQUEST START TIME: {c.started.astimezone(UTC):%Y-%m-%d %H:%M:%S} (GMT)",
        f"ANALYSIS VERSION ID: {one_line(c.version) or 'unknown'}",
        f"JOB ID: {one_line(c.timestamp)}",
    ]
    lines = [_timed(text, c.started, c.started) for text in head]
    lines += [_timed(one_line(event.text), event.at, c.started) for event in c.events]
    if c.ending is None and c.tasks:
        lines += [RULE, *(_live(task, c.now) for task in c.tasks), RULE]
    if c.ending is not None:
        lines += [_timed(text, c.now, c.started) for text in _summary(c)]
    return "\n".join(lines) + "\n"


def render_json(certificate: Certificate, signer: Signer | None = None) -> str:
    """Return certificate.json: the same facts and the evidence, sorted and signed; times in UTC, money as text."""
    facts = certificate_facts(certificate)
    if signer is not None:
        facts = signer.sign(facts)
    return json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def certificate_facts(certificate: Certificate) -> dict[str, Any]:
    """Return what certificate.json states, without its signature."""
    c = certificate
    return {
        "version": 1,
        "job": c.job,
        "timestamp": c.timestamp,
        "analysis": c.analysis,
        "analysis_version": c.version,
        "group": c.group,
        "started": _iso(c.started),
        "written": _iso(c.now),
        "ending": None if c.ending is None else {"status": c.ending.status, "reason": c.ending.reason},
        "events": [{"at": _iso(event.at), "text": event.text} for event in c.events],
        "datasets": [_task_facts(task) for task in c.tasks],
        "usage": [_usage_facts(usage) for usage in c.usages],
        "cost_usd": str(_cost(c.usages)),
        "environment": dict(c.environment),
        "attempts": [_attempt_facts(attempt) for attempt in c.attempts],
        "evidence": dict(c.evidence),
    }


def end_text(ending: Ending) -> str:
    """Return end.txt, the marker that clients poll for: how the job ended on the first line, why on the second."""
    return f"end of analysis: {ending.status}\n{one_line(ending.reason)}\n"


def one_line(text: str) -> str:
    """Return text on one line, without characters that could move a cursor or forge a line."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def format_elapsed(elapsed: timedelta) -> str:
    """Return a length of time as h:mm:ss.cc; a clock that ran backwards counts as zero."""
    hundredths = max(0, round(elapsed.total_seconds() * 100))
    seconds, hundredths = divmod(hundredths, 100)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}.{hundredths:02d}"


def _timed(text: str, at: datetime, start: datetime) -> str:
    return f"{text} [+{format_elapsed(at - start)}]"


def _live(task: TaskProgress, now: datetime) -> str:
    spent = (task.ended or now) - task.started if task.started else timedelta(0)
    return (
        f"DATANAME: {one_line(task.dataset)} | STATUS: {task.status} | TIME: {format_elapsed(spent)} | "
        f"LAST COMMAND: {one_line(task.last_command)} | CPU_USAGE: {one_line(task.cpu)}"
    )


def _summary(c: Certificate) -> list[str]:
    """Return what stands below the story when a job is over."""
    total = len(c.tasks)
    lines = []
    for number, task in enumerate(c.tasks, start=1):
        spent = f" in {format_elapsed(task.ended - task.started)}" if task.started and task.ended else ""
        reason = f": {one_line(task.reason)}" if task.reason else ""
        lines.append(f"[Dataset {number}/{total}] {one_line(task.dataset)}: {task.status}{spent}{reason}")
        if task.ending:
            lines[-1] += f" [{task.ending}]"
    if any(attempt.number for attempt in c.attempts):  # otherwise the usage says it all
        lines += [f"[Try] {_try_line(attempt)}" for attempt in c.attempts]
    lines += [f"[Usage] {_usage_line(usage)}" for usage in c.usages]
    if c.usages:
        lines.append(f"[Usage] TOTAL COST: {_cost(c.usages)} USD")
    lines += [f"[Environment] {one_line(name)}: {one_line(value)}" for name, value in sorted(c.environment)]
    return lines


def _try_line(attempt: Attempt) -> str:
    reason = f": {one_line(attempt.reason)[:200]}" if attempt.reason else ""
    return f"dataset {attempt.task + 1}, try {attempt.number + 1}: {attempt.offer}: {attempt.outcome}{reason}"


def _usage_line(usage: Usage) -> str:
    spot = " (spot)" if usage.spot else ""
    return (
        f"{usage.instance}: {usage.instance_type}{spot}, {format_elapsed(usage.end - usage.start)} at "
        f"{usage.hourly_price} USD an hour = {usage.cost} USD"
    )


def _cost(usages: Sequence[Usage]) -> Decimal:
    return sum((usage.cost for usage in usages), Decimal(0)).quantize(CENT)


def _task_facts(task: TaskProgress) -> dict[str, Any]:
    return {
        "dataset": task.dataset,
        "status": task.status,
        "started": _iso(task.started),
        "ended": _iso(task.ended),
        "last_command": task.last_command,
        "cpu": task.cpu,
        "reason": task.reason,
        "ending": task.ending,
    }


def _attempt_facts(attempt: Attempt) -> dict[str, Any]:
    return {
        "task": attempt.task,
        "number": attempt.number,
        "at": _iso(attempt.at),
        "instance_type": attempt.offer.instance_type,
        "zone": attempt.offer.zone,
        "spot": attempt.offer.spot,
        "most_hourly_usd": str(attempt.offer.hourly_price),
        "restart": attempt.run,
        "instance": attempt.instance,
        "outcome": attempt.outcome,
        "reason": one_line(attempt.reason),
    }


def _usage_facts(usage: Usage) -> dict[str, Any]:
    return {
        "task": usage.task,
        "instance": usage.instance,
        "instance_type": usage.instance_type,
        "spot": usage.spot,
        "hourly_price_usd": str(usage.hourly_price),
        "start": _iso(usage.start),
        "end": _iso(usage.end),
        "seconds": str(usage.seconds),
        "cost_usd": str(usage.cost),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")

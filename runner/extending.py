"""Letting a job run longer: what its analysis allows, what it may cost more, and the reservation that pays for it.

The job itself learns of it as it learns of everything: its worker reads the ledger, its machines the platform's sign of
life. So nothing here touches a machine, and a crash in between leaves either all of it or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from compiler.model import Platform
from runner.desk import period_start
from runner.pricing import format_money, work_cost
from state.chronicle import Chronicle
from state.errors import JobError
from state.job import Job
from state.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What a job would be granted, or has been.

    Attributes:
        job: its id.
        extra_s: how much longer each of its tasks may run, seconds.
        limit_s: how long each may run then in all, seconds.
        tasks: how many are not over yet.
        bound: the most that it may cost more, USD.
        deadline: when everything must be gone then, UTC; None for a job that has not begun.
    """

    job: str
    extra_s: int
    limit_s: int
    tasks: int
    bound: Decimal
    deadline: datetime | None


def weigh(ledger: Ledger, platform: Platform, job_id: str, extra_s: int) -> Extension:
    """Return what it takes to let a job run longer, if it may; changes nothing.

    Args:
        ledger: the durable record.
        platform: what the YAML files say today.
        job_id: which.
        extra_s: how much longer each of its tasks may run, seconds.

    Raises:
        JobError: it has ended, is being stopped, has no task at work, or its analysis does not allow so much.
    """
    record = ledger.job(job_id)
    if record.ending is not None or record.status.is_final:
        raise JobError(f"Job {job_id} has ended, or is being taken down: it cannot run longer.")
    if (wish := ledger.stop_request(job_id)) is not None:
        raise JobError(f"Job {job_id} is being stopped ({wish.reason}): it cannot run longer.")
    job = record.admitted
    limit_s, hourly = job.duration_s + extra_s, max(way.hourly_price for way in job.ways)
    _check_limits(platform, job, limit_s, work_cost(hourly=hourly, duration_s=limit_s, tasks=len(job.tasks)))
    at_work = len(job.tasks) - len(Chronicle(ledger.engine).outcomes(job_id))
    if not at_work:
        raise JobError(f"Every dataset of job {job_id} is done: there is nothing that could run longer.")
    return Extension(
        job=job_id,
        extra_s=extra_s,
        limit_s=limit_s,
        tasks=at_work,
        bound=work_cost(hourly=hourly, duration_s=extra_s, tasks=at_work),
        deadline=None if record.deadline is None else record.deadline + timedelta(seconds=extra_s),
    )


def extend(ledger: Ledger, platform: Platform, job_id: str, extra_s: int, now: datetime) -> Extension:
    """Let a job run longer, if its analysis allows it and its group's budget covers it; not to be repeated blindly.

    Args:
        ledger: the durable record.
        platform: what the YAML files say today.
        job_id: which.
        extra_s: how much longer each of its tasks may run, seconds.
        now: UTC.

    Raises:
        JobError: see `weigh`.
        BudgetError: the budget of its group does not cover it.
    """
    wanted, record = weigh(ledger, platform, job_id, extra_s), ledger.job(job_id)
    budget = platform.groups[record.group].budget
    admitted_s = record.admitted.duration_s - record.extra_s
    deadline = ledger.extend(
        job_id,
        bound=wanted.bound,
        extra_s=extra_s,
        most_s=platform.blueprints[record.analysis].limits.max_duration_s - admitted_s,
        cap=budget.amount,
        since=period_start(budget.period, now),
    )
    minutes = extra_s // 60
    more = f"{minutes} minute{'' if minutes == 1 else 's'} more, {wanted.limit_s // 60} in all"
    text = f"granted {more}; {format_money(wanted.bound)} more are reserved"
    ledger.tell(job_id, text, now)
    return replace(wanted, deadline=deadline)


def _check_limits(platform: Platform, job: Job, limit_s: int, most: Decimal) -> None:
    blueprint = platform.blueprints.get(job.analysis)
    if blueprint is None or job.group not in platform.groups:
        gone = f"group {job.group}" if blueprint else f"analysis {job.analysis}"
        raise JobError(f"The {gone} of job {job.id} is no longer part of this platform: nobody can allow it more time.")
    limits = blueprint.limits
    if limit_s > limits.max_duration_s:
        raise JobError(
            f"Job {job.id} would have {limit_s // 60} minutes in all, but {job.analysis} allows at most "
            f"{limits.max_duration_s // 60} (limits.max_duration in {blueprint.place.file}); "
            f"{max(0, limits.max_duration_s - job.duration_s) // 60} more are possible."
        )
    if most > limits.cost:
        raise JobError(
            f"Job {job.id} may then cost up to {format_money(most)}, but a job of {job.analysis} may cost at most "
            f"{format_money(limits.cost)} (limits.cost in {blueprint.place.file})."
        )

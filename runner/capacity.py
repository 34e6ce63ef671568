"""Where a task's machine may come from, and what Terraform's refusals mean: pure decisions.

A job carries its ways to get a machine, best first: the kinds of the resource bank, each in its zones, at the Save
price where the blueprint says so. When AWS has none, or the account's quota is used up, the next one is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from compiler.blueprint import Choice, Fallback, Interruption, OnFailure, Price
from state.chronicle import Attempt, Tried
from state.job import Job, Offer, Policy, Task

SAVE_MOST = timedelta(hours=6)
"""The longest declared duration that may run at the Save price (NeuroCAAS's figure)."""
RUN_RATE = 2.0
RUN_BURST = 5
"""What EC2 lets an account start: that many RunInstances at once, then so many a second."""
CREATE_S = 10
"""Seconds that Terraform waits for one new instance; with the rate it bounds how many it should make side by side."""


class Shortage(StrEnum):
    """What stands behind a refusal that another try may get around."""

    CAPACITY = "no capacity"
    QUOTA = "quota"
    THROTTLED = "throttled"


_SIGNS: tuple[tuple[Shortage, re.Pattern[str]], ...] = (
    (
        Shortage.THROTTLED,
        re.compile(
            r"RequestLimitExceeded|Throttling|TooManyRequests|request rate exceeded|RequestThrottled", re.IGNORECASE
        ),
    ),
    (
        Shortage.QUOTA,
        re.compile(
            r"VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|SpotRequestLimitExceeded"
            r"|ResourceCountExceeded|VolumeLimitExceeded|MaxSpotFleetRequestCountExceeded",
            re.IGNORECASE,
        ),
    ),
    (
        Shortage.CAPACITY,
        re.compile(
            r"Insufficient\w*Capacity|InsufficientFreeAddresses|UnfulfillableCapacity|SpotMaxPriceTooLow|MaxPriceTooLow"
            r"|SpotInstanceTermination|NoCapacity|\bUnsupported\b|InstanceTypeNotSupported|InvalidAvailabilityZone"
            r"|not supported in your requested Availability Zone|insufficient .{0,40}capacity",
            re.IGNORECASE,
        ),
    ),
)


def read_shortage(diagnostics: Sequence[str]) -> Shortage | None:
    """Return what Terraform's errors come down to; None when one of them is something that no other machine mends."""
    found = [_shortage(text) for text in diagnostics]
    if not found or None in found:
        return None
    for kind in (Shortage.CAPACITY, Shortage.QUOTA):
        if kind in found:
            return kind
    return Shortage.THROTTLED


def _shortage(text: str) -> Shortage | None:
    return next((kind for kind, sign in _SIGNS if sign.search(text)), None)


def offers(
    choices: Iterable[Choice], *, region: str, hourly: dict[str, Decimal], duration_s: int, declared: bool
) -> tuple[Offer, ...]:
    """Return the ways to get a machine for a job, in the order of the resource bank; each of them once.

    Choices in another region are left out: data, image and network are here. Where only the Save price is listed, the
    standard price follows at the end, so that a job never waits for spot capacity that does not come.

    Args:
        choices: of the blueprint, or the one that the user picked.
        region: where the job runs.
        hourly: on-demand prices, USD per hour, by instance type.
        duration_s: the most a task may run.
        declared: whether the user said how long; the Save price is only for those who did.
    """
    may_save = declared and timedelta(seconds=duration_s) <= SAVE_MOST
    found: list[Offer] = []
    fallback: list[Offer] = []
    for choice in choices:
        if choice.region not in {None, region}:
            continue
        for zone in choice.zones or (None,):
            price = hourly[choice.instance_type]
            standard = Offer(instance_type=choice.instance_type, zone=zone, hourly_price=price)
            if choice.price is Price.SAVE and may_save:
                spot = Offer(instance_type=choice.instance_type, zone=zone, spot=True, hourly_price=price)
                found.append(spot)
                fallback.append(standard)
            else:
                found.append(standard)
    return tuple(dict.fromkeys([*found, *fallback]))


def policy(on_failure: OnFailure, keep_failed_s: int, interruption: Interruption) -> Policy:
    """Return what a blueprint says about things that go wrong, as a job carries it."""
    return Policy(
        stop_on_failure=on_failure is OnFailure.STOP,
        keep_failed_s=keep_failed_s,
        restarts=interruption.retries,
        stay_on_spot=interruption.fallback is Fallback.SPOT,
    )


def first_attempts(job: Job, now: datetime) -> list[Attempt]:
    """Return the first try of every task: the best way."""
    return [
        Attempt(job=job.id, task=task.number, number=0, way=0, offer=job.ways[0], at=now, run=0) for task in job.tasks
    ]


def next_way(job: Job, attempt: Attempt, now: datetime) -> Attempt | None:
    """Return the try that follows one for which there was no machine; None after the last way."""
    way = attempt.way + 1
    if attempt.run and not job.policy.stay_on_spot:
        while way < len(job.ways) and job.ways[way].spot:
            way += 1
    if way >= len(job.ways):
        return None
    return _follow(job, attempt, way, run=attempt.run, now=now)


def from_the_top(job: Job, attempt: Attempt, now: datetime) -> Attempt:
    """Return the try that begins a new round."""
    first = _first_standard(job) if attempt.run and not job.policy.stay_on_spot else 0
    return _follow(job, attempt, first, run=attempt.run, now=now)


def after_interruption(job: Job, attempt: Attempt, now: datetime) -> Attempt | None:
    """Return the try that follows when AWS took the machine back; None when it was taken often enough."""
    if attempt.run >= job.policy.restarts:
        return None
    way = attempt.way if job.policy.stay_on_spot else _first_standard(job)
    return _follow(job, attempt, way, run=attempt.run + 1, now=now)


def _first_standard(job: Job) -> int:
    ways = job.ways
    return next((index for index, offer in enumerate(ways) if not offer.spot), len(ways) - 1)


def _follow(job: Job, attempt: Attempt, way: int, *, run: int, now: datetime) -> Attempt:
    return Attempt(
        job=job.id, task=attempt.task, number=attempt.number + 1, way=way, offer=job.ways[way], at=now, run=run
    )


def waiting_for(attempts: Iterable[Attempt]) -> str:
    """Return what tasks wait for, in words: how many machines of which kind."""
    counts: dict[str, int] = {}
    for one in attempts:
        counts[str(one.offer)] = counts.get(str(one.offer), 0) + 1
    return ", ".join(f"{count} x {offer}" for offer, count in counts.items())


def is_settled(attempt: Attempt | None) -> bool:
    """Whether a task needs no machine any more: it has one, or there is none to be had."""
    return attempt is not None and attempt.outcome in {Tried.STARTED, Tried.GIVEN_UP}


def side_by_side(count: int, *, paced: bool) -> int:
    """Return how many machines Terraform may make at once, so that EC2 is not asked more than it takes."""
    return max(10, count) if not paced else max(1, min(count, RUN_BURST + int(RUN_RATE * CREATE_S)))


def name_tasks(job: Job, tasks: Iterable[Task]) -> str:
    """Return the names of tasks for a sentence; not more than a few of them."""
    names = [job.label(task) for task in tasks]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004

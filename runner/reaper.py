"""The nets under Terraform: nothing that carries a job's tag outlives the job.

Terraform's state is lost when its process is killed, so state alone is never trusted: `sweep` asks the cloud itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from runner.cloud_values import DEADLINE_TAG, Cloud, Leftover, LeftoverKind
from state.errors import CloudError, StateError
from state.ledger import Ledger

EXEMPT_TAG = "mayfly:exempt"
DEVELOPER_TAG = "mayfly:developer"
LATE = timedelta(minutes=10)
"""After its deadline an instance's own timer and its job's worker have had this long to end it."""
UNDECLARED_CAP, DEVELOPER_CAP = timedelta(minutes=120), timedelta(minutes=2880)
"""The longest that an instance without a deadline, and a developer's box, may live (NeuroCAAS's figures)."""
FORGOTTEN = timedelta(minutes=15)
"""Age at which a resource of a job that nobody runs is removed (NeuroCAAS's figure)."""

log = logging.getLogger(__name__)
Wait = Callable[[float], object]


def sweep(
    cloud: Cloud, *, deployment: str, job: str, keep: Collection[str] = (), wait: Wait, tries: int = 120
) -> list[Leftover]:
    """Remove what is still there of a job, except `keep`, and return it once it is gone.

    Args:
        cloud: asked by tag.
        deployment: whose.
        job: job id.
        keep: ids of resources that Terraform knows and that shall live.
        wait: sleeps for some seconds; a shutdown may cut it short.
        tries: looks, a second apart, before giving up.

    Raises:
        CloudError: something is still there after all tries; retryable.
    """
    removed: dict[str, Leftover] = {}
    left: list[Leftover] = []
    for _ in range(tries):
        left = [one for one in cloud.leftovers(deployment=deployment, job=job) if one.id not in keep]
        if keep:  # a kept instance holds its volumes and its security group
            left = [one for one in left if one.kind is LeftoverKind.INSTANCE]
        if not left:
            return list(removed.values())
        for one in left:
            _remove(cloud, one, first=one.id not in removed)
            removed[one.id] = one
        wait(1)
    names = ", ".join(f"{one.kind} {one.id}" for one in left)
    raise CloudError(
        f"Job {job} still has {names} after {tries} tries.", service="ec2", code="StillThere", retryable=True
    )


def _remove(cloud: Cloud, one: Leftover, *, first: bool) -> None:
    if first:
        log.info("removing %s %s of job %s", one.kind, one.id, one.job)
    try:
        cloud.remove(one)
    except CloudError as error:
        if not error.retryable:
            raise


def forgotten(cloud: Cloud, ledger: Ledger, *, deployment: str, now: datetime) -> list[Leftover]:
    """Return what belongs to no job that is under way: marked, not yet removed.

    A resource of a job that the ledger never knew, or that has ended, counts once it is old enough; without a creation
    time it counts at once, because then its job has ended. An instance past its deadline counts even when its job is
    under way. A developer's box may live for two days. Whatever carries the exempt tag is left alone.
    """
    alive = {record.id for record in ledger.running()}
    found: list[Leftover] = []
    for one in cloud.leftovers(deployment=deployment):
        if EXEMPT_TAG in one.tags:
            continue
        if is_overdue(one, now):
            found.append(one)
            continue
        if one.job in alive or DEVELOPER_TAG in one.tags:
            continue
        if one.created is None and not _known(ledger, one.job):
            continue  # a security group of a job unknown to this ledger: it has no age to judge by and costs nothing
        if one.created is None or now - one.created > FORGOTTEN:
            found.append(one)
    return found


def is_overdue(one: Leftover, now: datetime) -> bool:
    """Whether an instance has lived longer than it may, whatever else is known of it."""
    if one.kind is not LeftoverKind.INSTANCE:
        return False
    try:
        return now > datetime.fromisoformat(one.tags.get(DEADLINE_TAG, "")) + LATE
    except (ValueError, TypeError):  # none, or not one of ours
        most = DEVELOPER_CAP if DEVELOPER_TAG in one.tags else UNDECLARED_CAP
        return one.created is not None and now - one.created > most


def reap(
    cloud: Cloud, ledger: Ledger, *, deployment: str, clock: Callable[[], datetime], wait: Wait, pause_s: float = 5
) -> list[Leftover]:
    """Remove what is forgotten: mark, wait, look again, and remove only what was marked twice. Return it."""
    marked = {one.id for one in forgotten(cloud, ledger, deployment=deployment, now=clock())}
    if not marked:
        return []
    wait(pause_s)
    again = [one for one in forgotten(cloud, ledger, deployment=deployment, now=clock()) if one.id in marked]
    for one in again:
        log.warning("reaping %s %s of job %s", one.kind, one.id, one.job or "none")
        _remove(cloud, one, first=False)
    return again


def _known(ledger: Ledger, job: str) -> bool:
    try:
        ledger.job(job)
    except StateError:
        return False
    return True

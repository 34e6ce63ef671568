"""The nets under Terraform: nothing that carries a job's tag outlives the job.

Terraform's state is lost when its process is killed, so state alone is never trusted: `sweep` asks the cloud itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from compiler.names import default_bucket
from runner.cloud_values import DEADLINE_TAG, Cloud, Leftover, LeftoverKind
from runner.observe import STATUS_LIMIT, parse
from state.errors import CloudError, StateError
from state.keys import is_status, prefix
from state.ledger import Ledger
from state.reaped import ReaperBook

GROUP_TAG, ANALYSIS_TAG = "mayfly:group", "mayfly:analysis"
EXEMPT_TAG = "mayfly:exempt"
DEVELOPER_TAG = "mayfly:developer"
LATE = timedelta(minutes=10)
"""After its deadline an instance's own timer and its job's worker have had this long to end it."""
UNDECLARED_CAP, DEVELOPER_CAP = timedelta(minutes=120), timedelta(minutes=2880)
"""The longest that an instance without a deadline, and a developer's box, may live (NeuroCAAS's figures)."""
FORGOTTEN = timedelta(minutes=15)
"""Age at which a resource of a job that nobody runs is removed (NeuroCAAS's figure)."""
FRESH = timedelta(minutes=3)
"""Age up to which a status file says that its machine is at work; agents write one every few seconds."""

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
    refused: dict[str, CloudError] = {}
    for times in range(1, tries + 1):
        left = [one for one in cloud.leftovers(deployment=deployment, job=job) if one.id not in keep]
        if keep:  # a kept instance holds its volumes and its security group
            left = [one for one in left if one.kind is LeftoverKind.INSTANCE]
        if not left:
            return list(removed.values())
        refused = {}
        for one in left:
            if one.id not in removed:
                log.info("removing %s %s of job %s", one.kind, one.id, one.job)
            removed[one.id] = one
            try:
                cloud.remove(one)
            except CloudError as error:  # whatever it is: the others go all the same
                refused[one.id] = error
        if all(one.id in refused and not refused[one.id].retryable for one in left):
            tries = times  # all that is left is refused for good
            break
        wait(1)
    names = ", ".join(f"{one.kind} {one.id}{_why(refused.get(one.id))}" for one in left)
    raise CloudError(
        f"Job {job} still has {names} after {tries} tries.", service="ec2", code="StillThere", retryable=True
    )


def _why(error: CloudError | None) -> str:
    return f" ({error})" if error is not None and not error.retryable else ""


def forgotten(cloud: Cloud, ledger: Ledger, *, deployment: str, now: datetime) -> list[Leftover]:
    """Return what belongs to no job that is under way: marked, not yet removed.

    A resource of a job that the ledger never knew, or that has ended, counts once it is old enough; without a creation
    time it counts at once, because then its job has ended. An instance past its deadline counts even when its job is
    under way. A developer's box may live for two days. Whatever carries the exempt tag is left alone.
    """
    alive = {record.id: record.deadline for record in ledger.running()}
    found: list[Leftover] = []
    for one in cloud.leftovers(deployment=deployment):
        if EXEMPT_TAG in one.tags:
            continue
        if is_overdue(one, now, granted=alive.get(one.job)):
            found.append(one)
            continue
        if one.job in alive or DEVELOPER_TAG in one.tags:
            continue
        if one.created is None and not _known(ledger, one.job):
            continue  # a security group of a job unknown to this ledger: it has no age to judge by and costs nothing
        if one.created is None or now - one.created > FORGOTTEN:
            found.append(one)
    return found


def is_overdue(one: Leftover, now: datetime, granted: datetime | None = None) -> bool:
    """Whether an instance has lived longer than it may, whatever else is known of it.

    Args:
        one: the instance; its tag says until when it might live when it was made.
        now: UTC.
        granted: the deadline of its job as the ledger knows it; later than the tag when the job was granted more time.
    """
    if one.kind is not LeftoverKind.INSTANCE:
        return False
    try:
        declared = datetime.fromisoformat(one.tags.get(DEADLINE_TAG, ""))
        return now > max(declared, granted or declared) + LATE
    except (ValueError, TypeError):  # none, or not one of ours
        most = DEVELOPER_CAP if DEVELOPER_TAG in one.tags else UNDECLARED_CAP
        return one.created is not None and now - one.created > most


def reap(
    cloud: Cloud,
    ledger: Ledger,
    *,
    deployment: str,
    clock: Callable[[], datetime],
    wait: Wait,
    pause_s: float = 5,
    bucket_of: Callable[[str], str | None] | None = None,
    on_removed: Callable[[Leftover], object] = lambda _: None,
) -> list[Leftover]:
    """Remove what is forgotten: mark, wait, look again, and remove only what was marked twice. Return it.

    Args:
        cloud: asked by tag.
        ledger: knows which jobs are under way.
        deployment: whose.
        clock: returns the time, UTC.
        wait: sleeps for some seconds.
        pause_s: between the two looks.
        bucket_of: returns the bucket of an analysis, None for one that it does not know.
        on_removed: told of each as it goes.

    Raises:
        CloudError: something refused to go, after everything else was removed.
    """
    book = ReaperBook(ledger.engine)
    marked = {one.id for one in forgotten(cloud, ledger, deployment=deployment, now=clock())}
    if marked:
        wait(pause_s)
    again = forgotten(cloud, ledger, deployment=deployment, now=clock()) if marked else []
    removed: list[Leftover] = []
    refused: list[CloudError] = []
    for one in again:
        if one.id not in marked or (
            not is_overdue(one, clock())
            and not _known(ledger, one.job)
            and is_busy(cloud, one, bucket=_bucket(one, deployment, bucket_of), now=clock())
        ):
            continue
        log.warning("reaping %s %s of job %s", one.kind, one.id, one.job or "none")
        try:
            cloud.remove(one)
        except CloudError as error:
            if not error.retryable:  # what only waits for another thing to go is there in the next round
                refused.append(error)
            continue
        _report(ledger, book, one, clock())
        removed.append(one)
        on_removed(one)
    if refused:
        raise refused[0]
    book.went_round(clock())
    return removed


def is_busy(cloud: Cloud, one: Leftover, *, bucket: str, now: datetime) -> bool:
    """Whether a machine of a job that this ledger does not know still says that it works.

    The ledger may be a restored one, or not the only one. Such a machine ends itself when it has heard nothing from its
    platform for an hour, and is removed when its deadline has passed. One whose bucket does not answer is left alone.
    """
    group = one.tags.get(GROUP_TAG)
    if one.kind is not LeftoverKind.INSTANCE or group is None:
        return False
    try:
        for found in cloud.list(bucket, prefix(group, "results")):
            if is_status(found.key) and now - found.modified < FRESH:
                said = parse(cloud.read(bucket, found.key, limit=STATUS_LIMIT))
                if said.get("instance") == one.id:
                    log.warning("%s of job %s, which nobody here knows, is at work and left alone", one.id, one.job)
                    return True
    except CloudError as error:
        log.warning("whether %s is at work cannot be seen: %s", one.id, error)
        return error.code != "NoSuchBucket"
    return False


def _bucket(one: Leftover, deployment: str, bucket_of: Callable[[str], str | None] | None) -> str:
    analysis = one.tags.get(ANALYSIS_TAG, "")
    return (bucket_of and bucket_of(analysis)) or default_bucket(deployment, analysis)


def _report(ledger: Ledger, book: ReaperBook, one: Leftover, now: datetime) -> None:
    book.note(identity=one.id, kind=str(one.kind), job=one.job, at=now)
    if _known(ledger, one.job):
        ledger.tell(one.job, f"the reaper removed {one.kind} {one.id}", now, once=f"reaped/{one.id}")


def _known(ledger: Ledger, job: str) -> bool:
    try:
        ledger.job(job)
    except StateError:
        return False
    return True

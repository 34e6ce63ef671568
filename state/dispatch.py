"""The gate between admission and the engine: jobs pass it when it is their turn, each of them once.

The decision and the handing over are one transaction, so a crash leaves a job on one side of the gate or on the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from state.budget import lock_account
from state.chronicle import ATTEMPT, Tried
from state.job import FINAL, JobStatus
from state.tables import CANCEL, JOB, STORY
from state.turns import Caps, Claim, take_turns
from state.vcpus import Got, claims_on, counts_families, read_needs

GATE = "*"
"""The account that everybody locks who opens the gate; no group can be called so."""
AHEAD = 100
"""How many jobs of each group are looked at: enough to fill the limits."""

AT_ONCE = 25
"""Jobs that pass in one transaction: on SQLite nobody else can write while it lasts."""

Enqueue = Callable[[sa.Connection, str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job stands in line.

    Attributes:
        ahead: jobs of its group that wait and were admitted before it.
        total: jobs of all groups that wait.
        with_engine: jobs that were handed to the engine and not begun.
    """

    ahead: int
    total: int
    with_engine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A job that has no machines yet.

    Attributes:
        job: its id.
        group: whose.
        enqueued: whether it was handed to the engine.
        waits: what it waits for, a clause; empty when nobody has said.
    """

    job: str
    group: str
    enqueued: bool
    waits: str


class Gate:
    """Hands admitted jobs to the engine."""

    def __init__(self, engine: sa.Engine, enqueue: Enqueue) -> None:
        """Use `engine`, whose tables are up to date; `enqueue` takes a job inside the transaction."""
        self.engine, self._enqueue = engine, enqueue

    def open(self, caps: Caps, at: datetime) -> list[str]:
        """Let pass whose turn it is, and keep what the others wait for. Return the ids of those that passed.

        Call it until nobody passes: it lets a few pass at a time.
        """
        if not self._anybody_waits():
            return []
        with self.engine.begin() as connection:
            lock_account(connection, GATE)
            waiting, said = _waiting(connection, caps)
            turns = take_turns(waiting, _running(connection, caps), caps, at)
            groups = {claim.job: claim.group for claim in waiting}
            passed = turns.start[:AT_ONCE]
            for job in passed:
                self._enqueue(connection, job, groups[job])
                connection.execute(JOB.update().where(JOB.c.id == job).values(enqueued=at, waits=None))
            for job, words in turns.waits.items():
                if said[job] != words:
                    connection.execute(JOB.update().where(JOB.c.id == job).values(waits=words))
                    if said[job] is None:  # later changes are told by `mayfly jobs why`; a story is not a ticker
                        row = {"job": job, "at": at, "kind": "note", "text": f"waiting: {words}"}
                        connection.execute(STORY.insert().values(**row))
        return list(passed)

    def _anybody_waits(self) -> bool:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(JOB.c.id).where(*_at_the_gate()).limit(1)).first() is not None


def place_of(engine: sa.Engine, job_id: str) -> Place:
    """Return where a waiting job stands."""
    mine = sa.select(JOB.c.group_id, JOB.c.turn).where(JOB.c.id == job_id).subquery()
    count = sa.select(sa.func.count()).select_from(JOB)
    ahead = count.where(
        *_at_the_gate(),
        JOB.c.group_id == sa.select(mine.c.group_id).scalar_subquery(),
        JOB.c.turn < sa.select(mine.c.turn).scalar_subquery(),
    )
    handed = count.where(JOB.c.status == JobStatus.ADMITTED, JOB.c.enqueued.is_not(None))
    with engine.connect() as connection:
        return Place(
            ahead=connection.execute(ahead).scalar() or 0,
            total=connection.execute(count.where(*_at_the_gate())).scalar() or 0,
            with_engine=connection.execute(handed).scalar() or 0,
        )


def waiters(engine: sa.Engine, *, before: datetime) -> list[Waiter]:
    """Return the jobs that were admitted before a moment and have not begun, in the order in which they came."""
    query = (
        sa.select(JOB.c.id, JOB.c.group_id, JOB.c.enqueued, JOB.c.waits)
        .where(JOB.c.status == JobStatus.ADMITTED, JOB.c.changed < before)
        .order_by(JOB.c.changed, JOB.c.id)
    )
    with engine.connect() as connection:
        return [
            Waiter(job=row.id, group=row.group_id, enqueued=row.enqueued is not None, waits=row.waits or "")
            for row in connection.execute(query)
        ]


def under_way(engine: sa.Engine) -> dict[str, int]:
    """Return how many jobs of each group the engine runs."""
    idle = [JobStatus.ADMITTED, JobStatus.SUBMITTED, *FINAL]
    query = sa.select(JOB.c.group_id, sa.func.count()).where(JOB.c.status.not_in(idle)).group_by(JOB.c.group_id)
    with engine.connect() as connection:
        return dict(connection.execute(query).tuples().all())


def _at_the_gate() -> tuple[sa.ColumnElement[bool], ...]:
    return (JOB.c.status == JobStatus.ADMITTED, JOB.c.enqueued.is_(None))


def _waiting(connection: sa.Connection, caps: Caps) -> tuple[list[Claim], dict[str, str | None]]:
    """Return the first of each group's waiting jobs and those to be stopped, and what they were told to wait for."""
    place = sa.func.row_number().over(partition_by=JOB.c.group_id, order_by=JOB.c.turn).label("place")
    line = (
        sa.select(*_CLAIM, JOB.c.waits, JOB.c.turn, place, CANCEL.c.job.is_not(None).label("stopping"))
        .select_from(JOB.outerjoin(CANCEL, CANCEL.c.job == JOB.c.id))
        .where(*_at_the_gate())
        .subquery()
    )
    query = sa.select(line).where(sa.or_(line.c.place <= AHEAD, line.c.stopping)).order_by(line.c.turn, line.c.id)
    rows = connection.execute(query).all()
    by_family = counts_families(caps.vcpus)
    claims = [_claim(row, by_family=by_family, stopping=bool(row.stopping)) for row in rows]
    return claims, {row.id: row.waits for row in rows}


def _running(connection: sa.Connection, caps: Caps) -> list[Claim]:
    """Return the jobs that passed and have not ended: until then their machines may be there."""
    by_family = counts_families(caps.vcpus)
    got = _got(connection) if by_family else {}
    rows = connection.execute(sa.select(*_CLAIM).where(*_UNDER_WAY))
    return [_claim(row, by_family=by_family, got=got.get(row.id, ())) for row in rows]


def _got(connection: sa.Connection) -> dict[str, list[Got]]:
    """Return, by job, which machines are what they are for good.

    One on demand stays; spot capacity may be taken back, and its task then goes on on another machine.
    """
    newest = (
        sa.select(ATTEMPT.c.job, ATTEMPT.c.task, sa.func.max(ATTEMPT.c.number).label("number"))
        .join(JOB, JOB.c.id == ATTEMPT.c.job)
        .where(*_UNDER_WAY)
        .group_by(ATTEMPT.c.job, ATTEMPT.c.task)
        .subquery()
    )
    same = [ATTEMPT.c[name] == newest.c[name] for name in ("job", "task", "number")]
    is_there = sa.and_(ATTEMPT.c.outcome == Tried.STARTED, ATTEMPT.c.spot.is_(False))
    kind = (ATTEMPT.c.job, ATTEMPT.c.offer, ATTEMPT.c.outcome)
    query = (
        sa.select(*kind, sa.func.count().label("tasks"))
        .join(newest, sa.and_(*same))
        .where(sa.or_(is_there, ATTEMPT.c.outcome == Tried.GIVEN_UP))
        .group_by(*kind)
    )
    found: dict[str, list[Got]] = defaultdict(list)
    for row in connection.execute(query):
        way = row.offer if row.outcome == Tried.STARTED else None
        found[row.job].append(Got(way=way, count=row.tasks))
    return found


_UNDER_WAY = (JOB.c.status.not_in([status.value for status in FINAL]), JOB.c.enqueued.is_not(None))
_CLAIM = tuple(
    JOB.c[name] for name in ("id", "group_id", "analysis", "instances", "vcpus", "region", "changed", "needs")
)


def _claim(
    row: sa.Row[tuple[object, ...]], *, by_family: bool, stopping: bool = False, got: Sequence[Got] = ()
) -> Claim:
    quotas = claims_on(read_needs(row.needs), row.region, row.instances, got) if by_family else {}
    return Claim(
        job=row.id,
        group=row.group_id,
        analysis=row.analysis,
        instances=row.instances,
        vcpus=row.vcpus,
        region=row.region,
        since=row.changed,
        stopping=stopping,
        quotas=quotas,
    )

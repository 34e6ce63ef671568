"""Figures of the whole ledger at one moment, for a monitoring system: counts, ages, money, and no names of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from math import inf

import sqlalchemy as sa

from state.budget import running_costs
from state.job import FINAL, JobStatus
from state.reaped import ReaperBook
from state.tables import DELIVERY, EVENT, JOB, LEASE, LETTER

NOT_A_WORKER = (":", "/")
"""In the names of what workers lend each other, such as `recover:NAME` and `terraform/JOB/NAME`, not in their own."""
WORKER_MEMORY = timedelta(hours=1)
"""How long a worker that is silent is still reported: long enough for an alert, not for every restart of a year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What there is at one moment.

    Attributes:
        jobs: how many of each status; every status is there.
        oldest_waiting_s: age of the oldest job that has no machine yet; 0 without one.
        overdue: jobs that are past their deadline and not over.
        uncertified: refused jobs whose user was not told yet.
        open_events: uploads that nobody has decided about.
        oldest_event_s: age of the oldest of them; 0 without one.
        letters: messages that could not be read.
        late_messages: notifications that are due and not sent.
        running_cost: what jobs that are not settled have cost until now, USD.
        promised: what is reserved for them, USD.
        reaped: what the reaper ever removed.
        reaper_silence_s: seconds since the reaper last went round without failing; infinite before the first time.
        workers: seconds since each worker was last heard of, by name.
    """

    jobs: Mapping[JobStatus, int]
    oldest_waiting_s: float
    overdue: int
    uncertified: int
    open_events: int
    oldest_event_s: float
    letters: int
    late_messages: int
    running_cost: Decimal
    promised: Decimal
    reaped: int = 0
    reaper_silence_s: float = inf
    workers: Mapping[str, float] = field(default_factory=dict)


def read_figures(engine: sa.Engine, now: datetime) -> Figures:
    """Return the figures of the ledger behind `engine`."""
    book = ReaperBook(engine)
    went = book.last_round()
    alive = JOB.c.status.not_in([status.value for status in FINAL])
    with engine.connect() as connection:

        def count(table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
            return connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar() or 0

        def age(column: sa.Column[datetime], *where: sa.ColumnElement[bool]) -> float:
            first = connection.execute(sa.select(sa.func.min(column)).where(*where)).scalar()
            return 0.0 if first is None else max(0.0, (now - first).total_seconds())

        by_status = dict(
            connection.execute(sa.select(JOB.c.status, sa.func.count()).group_by(JOB.c.status)).tuples().all()
        )
        beats = connection.execute(sa.select(LEASE).where(LEASE.c.beat > now - WORKER_MEMORY)).all()
        promised = sa.select(sa.func.sum(JOB.c.bound, type_=JOB.c.bound.type)).where(JOB.c.cost.is_(None))
        return Figures(
            jobs={status: by_status.get(status.value, 0) for status in JobStatus},
            oldest_waiting_s=age(JOB.c.submitted, JOB.c.status == JobStatus.ADMITTED),
            overdue=count(JOB, alive, JOB.c.deadline < now),
            uncertified=count(JOB, JOB.c.status == JobStatus.REJECTED, JOB.c.certified.is_(None)),
            open_events=count(EVENT, EVENT.c.handled.is_(None)),
            oldest_event_s=age(EVENT.c.seen, EVENT.c.handled.is_(None)),
            letters=count(LETTER),
            late_messages=count(DELIVERY, DELIVERY.c.due <= now),
            running_cost=sum(running_costs(connection, now).values(), Decimal(0)),
            promised=connection.execute(promised).scalar() or Decimal(0),
            reaped=book.count(),
            reaper_silence_s=inf if went is None else max(0.0, (now - went).total_seconds()),
            workers={
                row.holder: max(0.0, (now - row.beat).total_seconds())
                for row in beats
                if not any(mark in row.holder for mark in NOT_A_WORKER)
            },
        )

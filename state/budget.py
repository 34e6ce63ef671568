"""The part of the ledger that counts money: reserved, spent, and still running up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from state.errors import BudgetError, JobError
from state.job import FINAL
from state.notices import note
from state.stops import lock_job
from state.tables import ACCOUNT, JOB, USAGE, insert_into
from state.usage import cost

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of a group's money in one period, USD.

    Attributes:
        settled: what jobs that are over did cost.
        running: what jobs that are not have cost until now, by job id.
        promised: what they may still cost beyond that.
    """

    settled: Decimal
    running: dict[str, Decimal]
    promised: Decimal

    @property
    def spent(self) -> Decimal:
        """What is gone for good."""
        return self.settled + sum(self.running.values(), ZERO)

    @property
    def committed(self) -> Decimal:
        """What is gone or promised: what a new job must fit beside."""
        return self.spent + self.promised


class Budgets:
    """Money, per group and over all analyses."""

    engine: sa.Engine

    def committed(self, group: str, since: datetime | None) -> Decimal:
        """Return what a group has spent since `since` plus what its unsettled jobs may still cost, USD."""
        with self.engine.connect() as connection:
            return sum_committed(connection, group, since)

    def account(self, group: str, since: datetime | None, now: datetime) -> Account:
        """Return where a group's money is, running costs included."""
        with self.engine.connect() as connection:
            settled = connection.execute(_sum(JOB.c.cost, group, since).where(JOB.c.cost.is_not(None))).scalar() or ZERO
            open_ = sa.select(JOB.c.id, JOB.c.bound).where(JOB.c.group_id == group, JOB.c.cost.is_(None))
            bounds = {row.id: row.bound for row in connection.execute(open_)}
            running = running_costs(connection, now, group=group)
        left = sum((max(ZERO, bound - running.get(job, ZERO)) for job, bound in bounds.items()), ZERO)
        return Account(settled=settled, running=running, promised=left)

    def running_costs(self, now: datetime) -> dict[str, Decimal]:
        """Return what each unsettled job has cost until now, USD, by id; those without machines are left out."""
        with self.engine.connect() as connection:
            return running_costs(connection, now)

    def extend(
        self, job_id: str, *, bound: Decimal, extra_s: int, most_s: int, cap: Decimal, since: datetime | None
    ) -> datetime | None:
        """Let a job run longer: reserve `bound` USD more and move its deadline by `extra_s`, or neither.

        Not to be repeated blindly: each call adds. Return the new deadline, None when none was set yet.

        Args:
            job_id: which.
            bound: the most that the time may cost, USD.
            extra_s: seconds.
            most_s: the most seconds that it may be granted in all.
            cap: the group's budget, USD.
            since: when the budget's period began, UTC; None when it never ends.

        Raises:
            BudgetError: the group's budget does not cover it.
            JobError: the job is ending, or has been granted too much already.
        """
        with self.engine.begin() as connection:
            group = connection.execute(sa.select(JOB.c.group_id).where(JOB.c.id == job_id)).scalar()
            if group is not None:
                lock_account(connection, group)
            row = lock_job(connection, job_id)
            if row.ending is not None:
                raise JobError(f"Job {job_id} has ended, or is being taken down: it cannot run longer.")
            if row.extra_s + extra_s > most_s:
                left = max(0, most_s - row.extra_s)
                raise JobError(f"Job {job_id} may be granted {left // 60} minutes more, not {extra_s // 60}.")
            used = sum_committed(connection, row.group_id, since)
            if used + bound > cap:
                raise BudgetError(
                    f"Running longer may cost up to {bound:.2f} USD more, but of the budget of {row.group_id}, "
                    f"{cap:.2f} USD, only {max(ZERO, cap - used):.2f} USD are free."
                )
            deadline = None if row.deadline is None else row.deadline + timedelta(seconds=extra_s)
            values = {"bound": row.bound + bound, "extra_s": row.extra_s + extra_s, "deadline": deadline}
            connection.execute(JOB.update().where(JOB.c.id == job_id).values(**values))
            return deadline

    def cover(self, job_id: str, cost: Decimal) -> None:
        """Raise a job's reservation to what it has cost already: money that is gone cannot be promised to another."""
        with self.engine.begin() as connection:
            connection.execute(
                JOB.update().where(JOB.c.id == job_id, JOB.c.cost.is_(None), JOB.c.bound < cost).values(bound=cost)
            )

    def alert(self, group: str, *, level: int, period: str, text: str, at: datetime) -> bool:
        """Keep, once in a period, that a group has spent so many percent of its budget. Return whether it is news."""
        with self.engine.begin() as connection:
            return note(
                connection, group=group, event=f"budget {level} % {period}".strip(), kind="budget", text=text, at=at
            )


def lock_account(connection: sa.Connection, group: str, places: int = 0) -> int:
    """Lock a group's account until the transaction ends; return the last of `places` new places in its line.

    SQLite locks with the first write, PostgreSQL with the row: whoever reads a budget comes through here first.
    """
    insert = insert_into(ACCOUNT, connection.engine).values(group_id=group)
    connection.execute(insert.on_conflict_do_nothing())
    connection.execute(ACCOUNT.update().where(ACCOUNT.c.group_id == group).values(turn=ACCOUNT.c.turn + places))
    return int(connection.execute(sa.select(ACCOUNT.c.turn).where(ACCOUNT.c.group_id == group)).scalar() or 0)


def sum_committed(connection: sa.Connection, group: str, since: datetime | None) -> Decimal:
    """Return what a group has spent since `since` or promised, USD."""
    # A job that is not settled counts with its bound, whenever it began: its money may still be spent in this period.
    return connection.execute(_sum(sa.func.coalesce(JOB.c.cost, JOB.c.bound), group, since)).scalar() or ZERO


def running_costs(connection: sa.Connection, now: datetime, *, group: str | None = None) -> dict[str, Decimal]:
    """Return what jobs that are not settled have cost until `now`, USD, by id."""
    query = (
        sa.select(USAGE.c.job, USAGE.c.hourly_price, USAGE.c.start, USAGE.c.end)
        .join(JOB, JOB.c.id == USAGE.c.job)
        .where(JOB.c.cost.is_(None), JOB.c.status.not_in([status.value for status in FINAL]))
    )
    if group is not None:
        query = query.where(JOB.c.group_id == group)
    found: dict[str, Decimal] = {}
    for row in connection.execute(query):
        seconds = max(ZERO, Decimal(str(((row.end or now) - row.start).total_seconds())))
        found[row.job] = found.get(row.job, ZERO) + cost(row.hourly_price, seconds)
    return found


def _sum(amount: sa.ColumnElement[Decimal], group: str, since: datetime | None) -> sa.Select[tuple[Decimal]]:
    query = sa.select(sa.func.sum(amount, type_=JOB.c.bound.type)).where(JOB.c.group_id == group)
    return query if since is None else query.where(sa.or_(JOB.c.cost.is_(None), JOB.c.changed >= since))

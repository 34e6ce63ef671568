"""What became of a job's tasks: each try to get a machine, each ending, and the facts that its certificate states."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from state.job import Offer
from state.tables import METADATA, Instant, Money, insert_into

ATTEMPT = sa.Table(
    "attempt",
    METADATA,
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("task", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("offer", sa.Integer, nullable=False),
    sa.Column("instance_type", sa.String(32), nullable=False),
    sa.Column("zone", sa.String(32)),
    sa.Column("spot", sa.Boolean, nullable=False),
    sa.Column("hourly_price", Money, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("instance", sa.String(32)),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
OUTCOME = sa.Table(
    "outcome",
    METADATA,
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("task", sa.Integer, primary_key=True),
    sa.Column("ending", sa.String(24), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
FACT = sa.Table(
    "fact",
    METADATA,
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


class Tried(StrEnum):
    """What came of a try to get a machine."""

    OPEN = "open"
    STARTED = "started"
    NO_CAPACITY = "no capacity"
    QUOTA = "quota"
    INTERRUPTED = "interrupted"
    GIVEN_UP = "given up"


class TaskEnding(StrEnum):
    """How a task can end. The words for a job are the same, but for `done`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    OVER_BUDGET = "over budget"
    INTERRUPTED = "interrupted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to get a machine for a task.

    Attributes:
        job: job id.
        task: its number.
        number: of this try, from 0.
        way: index of the offer among the job's.
        offer: what was asked for.
        at: when, UTC.
        run: how often the task's machine had been taken back before; its agent is told this number.
        instance: EC2's id; None before there was one.
        outcome: what came of it.
        reason: in words; empty while it is open.
    """

    job: str
    task: int
    number: int
    way: int
    offer: Offer
    at: datetime
    run: int
    instance: str | None = None
    outcome: Tried = Tried.OPEN
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one task ended, and why in words."""

    task: int
    ending: TaskEnding
    reason: str


class Chronicle:
    """The record of tasks, in the ledger's database. Every method may be repeated."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date."""
        self.engine = engine

    def attempts(self, job: str) -> list[Attempt]:
        """Return every try of a job, by task and number."""
        query = sa.select(ATTEMPT).where(ATTEMPT.c.job == job).order_by(ATTEMPT.c.task, ATTEMPT.c.number)
        with self.engine.connect() as connection:
            return [_attempt(row) for row in connection.execute(query)]

    def current(self, job: str) -> dict[int, Attempt]:
        """Return the newest try of each task."""
        return {one.task: one for one in self.attempts(job)}

    def place(self, attempts: list[Attempt]) -> None:
        """Keep new tries; one that is known already stays as it is."""
        with self.engine.begin() as connection:
            for one in attempts:
                row = {
                    "job": one.job,
                    "task": one.task,
                    "number": one.number,
                    "offer": one.way,
                    "instance_type": one.offer.instance_type,
                    "zone": one.offer.zone,
                    "spot": one.offer.spot,
                    "hourly_price": one.offer.hourly_price,
                    "at": one.at,
                    "run": one.run,
                    "instance": one.instance,
                    "outcome": one.outcome,
                    "reason": one.reason,
                }
                connection.execute(insert_into(ATTEMPT, self.engine).values(**row).on_conflict_do_nothing())

    def mark(self, one: Attempt, outcome: Tried, *, reason: str = "", instance: str | None = None) -> None:
        """Keep what came of a try; an instance that is known stays known."""
        values: dict[str, Any] = {"outcome": outcome, "reason": reason}
        if instance is not None:
            values["instance"] = instance
        where = (ATTEMPT.c.job == one.job, ATTEMPT.c.task == one.task, ATTEMPT.c.number == one.number)
        with self.engine.begin() as connection:
            connection.execute(ATTEMPT.update().where(*where).values(**values))

    def end_task(self, job: str, outcome: Outcome) -> None:
        """Keep how a task ended; a later look may know better."""
        values = {"job": job, "task": outcome.task, "ending": outcome.ending, "reason": outcome.reason}
        insert = insert_into(OUTCOME, self.engine).values(**values)
        with self.engine.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[OUTCOME.c.job, OUTCOME.c.task],
                    set_={"ending": insert.excluded.ending, "reason": insert.excluded.reason},
                )
            )

    def outcomes(self, job: str) -> dict[int, Outcome]:
        """Return how the tasks of a job ended, by number, as far as they have."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(OUTCOME).where(OUTCOME.c.job == job).order_by(OUTCOME.c.task))
            return {r.task: Outcome(task=r.task, ending=TaskEnding(r.ending), reason=r.reason) for r in rows}

    def note(self, job: str, name: str, value: object) -> None:
        """Keep a fact for the certificate, as JSON; the newest of a name counts."""
        insert = insert_into(FACT, self.engine).values(job=job, name=name, value=json.dumps(value, sort_keys=True))
        with self.engine.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[FACT.c.job, FACT.c.name], set_={"value": insert.excluded.value}
                )
            )

    def facts(self, job: str) -> dict[str, Any]:
        """Return the facts of a job by name."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(FACT).where(FACT.c.job == job).order_by(FACT.c.name))
            return {row.name: json.loads(row.value) for row in rows}


def _attempt(row: sa.Row[tuple[object, ...]]) -> Attempt:
    price: Decimal = row.hourly_price
    return Attempt(
        job=row.job,
        task=row.task,
        number=row.number,
        way=row.offer,
        offer=Offer(instance_type=row.instance_type, zone=row.zone, spot=row.spot, hourly_price=price),
        at=row.at,
        run=row.run,
        instance=row.instance,
        outcome=Tried(row.outcome),
        reason=row.reason,
    )

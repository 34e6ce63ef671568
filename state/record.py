"""A job as the ledger knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from state import codec
from state.errors import StateError
from state.job import Ending, Job, JobStatus
from state.keys import ResultKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job as the ledger knows it.

    Attributes:
        ending: how it ends, known from the moment its machines start to go; None before.
        bound: the most it may cost, USD; counts against the budget until it is settled.
        cost: what it did cost, USD; None until it is settled.
        job: what was admitted, with the time that it may run now; None for a job that was rejected.
        certified: when its certificate and end marker were written; None before.
        enqueued: when it was handed to the engine; None while it waits for its turn.
        waits: what it waits for, a clause; None when it does not wait or nobody has looked yet.
        extra_s: how much longer it may run than it was admitted for, seconds.
    """

    id: str
    group: str
    analysis: str
    status: JobStatus
    ending: Ending | None
    submitted: datetime
    changed: datetime
    ended: datetime | None
    deadline: datetime | None
    bound: Decimal
    cost: Decimal | None
    results: ResultKeys
    job: Job | None
    certified: datetime | None
    enqueued: datetime | None = None
    waits: str | None = None
    extra_s: int = 0

    @property
    def admitted(self) -> Job:
        """The admitted job.

        Raises:
            StateError: the job was rejected.
        """
        if self.job is None:
            raise StateError(f"Job {self.id} was rejected: it has no tasks.")
        return self.job


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryLine:
    """One line of a job's story; `kind` is `status`, `step` or `note`."""

    number: int
    at: datetime
    kind: str
    text: str


def read_record(row: sa.Row[tuple[object, ...]]) -> JobRecord:
    """Return the record that a row of the job table holds."""
    return JobRecord(
        id=row.id,
        group=row.group_id,
        analysis=row.analysis,
        status=JobStatus(row.status),
        ending=Ending(status=JobStatus(row.ending), reason=row.reason) if row.ending else None,
        submitted=row.submitted,
        changed=row.changed,
        ended=row.ended,
        deadline=row.deadline,
        bound=row.bound,
        cost=row.cost,
        results=ResultKeys(bucket=row.result_bucket, root=row.result_root),
        job=codec.load(Job, row.spec).extended(row.extra_s) if row.spec else None,
        certified=row.certified,
        enqueued=row.enqueued,
        waits=row.waits,
        extra_s=row.extra_s,
    )

"""Reserving money for jobs: many in one transaction, each after the others, with few statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from state import codec
from state.budget import ZERO, sum_committed
from state.errors import BudgetError, SubmissionError
from state.job import Job, JobStatus
from state.submission import ObjectVersion
from state.tables import JOB, STORY, insert_into
from state.vcpus import Need, write_needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a job asks of its group's budget.

    Attributes:
        job: what passed admission.
        source: the submit file, closed in the same transaction.
        bound: the most the job may cost, USD.
        cap: the group's budget, USD.
        since: when the budget's period began; None for a budget without periods.
        vcpus: of all its machines together.
        needs: what one machine takes of the vCPU quotas, for each of the job's ways.
        notes: what its user should know, for the certificate.
    """

    job: Job
    source: ObjectVersion
    bound: Decimal
    cap: Decimal
    since: datetime | None
    vcpus: int = 0
    needs: tuple[Need, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Batch:
    """What is known inside one transaction about the jobs that want in, and what is to be written for them.

    Attributes:
        known: ids of jobs that are there.
        folders: which job writes to a result folder.
        used: what a group has spent or promised, USD.
        new: reservations that were made.
        settled: reservations whose submit file needs no further decision.
    """

    known: set[str]
    folders: dict[tuple[str, str], str]
    used: dict[tuple[str, datetime | None], Decimal]
    new: list[Reservation] = field(default_factory=list)
    settled: list[Reservation] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    stories: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, connection: sa.Connection, wanted: Sequence[Reservation]) -> Batch:
        """Look up what concerns the jobs that want in; their groups' accounts are locked."""
        ids = sa.select(JOB.c.id).where(JOB.c.id.in_([one.job.id for one in wanted]))
        roots = sa.select(JOB.c.result_bucket, JOB.c.result_root, JOB.c.id).where(
            JOB.c.result_root.in_([one.job.results.root for one in wanted]), JOB.c.spec.is_not(None)
        )
        accounts = {(one.job.group, one.since) for one in wanted}
        return cls(
            known=set(connection.execute(ids).scalars()),
            folders={(row.result_bucket, row.result_root): row.id for row in connection.execute(roots)},
            used={account: sum_committed(connection, *account) for account in accounts},
        )

    def take(self, one: Reservation, turn: int, at: datetime) -> bool:
        """Reserve for one job. Return False when it is there already.

        Raises:
            BudgetError: the budget does not cover it.
            SubmissionError: another job has the same result folder.
        """
        job, account = one.job, (one.job.group, one.since)
        if job.id in self.known:
            self.settled.append(one)
            return False
        place = (job.results.bucket, job.results.root)
        if place in self.folders:
            raise SubmissionError(
                f'The timestamp "{job.timestamp}" was used before: job {self.folders[place]} has the same result '
                "folder. Submit again with another timestamp."
            )
        used = self.used[account]
        if used + one.bound > one.cap:
            raise BudgetError(
                f"This job may cost up to {one.bound:.2f} USD, but of the budget of {job.group}, {one.cap:.2f} USD, "
                f"only {max(ZERO, one.cap - used):.2f} USD are free ({used:.2f} USD are spent or promised to running "
                "jobs). Ask for a shorter __duration__, submit fewer datasets, or have the budget raised."
            )
        self.used[account] += one.bound
        self.known.add(job.id)
        self.folders[place] = job.id
        self.new.append(one)
        self.settled.append(one)
        self.jobs.append(_row(one, turn, at))
        for status, when in ((JobStatus.SUBMITTED, job.submitted), (JobStatus.ADMITTED, at)):
            self.stories.append({"job": job.id, "at": when, "kind": "status", "text": str(status), "once": None})
        for number, text in enumerate(one.notes):
            self.stories.append({"job": job.id, "at": at, "kind": "note", "text": text, "once": f"note-{number}"})
        return True

    def write(self, connection: sa.Connection) -> None:
        """Keep what was reserved."""
        if self.jobs:
            connection.execute(JOB.insert(), self.jobs)
            connection.execute(insert_into(STORY, connection.engine).on_conflict_do_nothing(), self.stories)


def _row(one: Reservation, turn: int, at: datetime) -> dict[str, Any]:
    job = one.job
    return {
        "id": job.id,
        "group_id": job.group,
        "analysis": job.analysis,
        "status": JobStatus.ADMITTED,
        "submitted": job.submitted,
        "changed": at,
        "bound": one.bound,
        "result_bucket": job.results.bucket,
        "result_root": job.results.root,
        "spec": codec.dump(job),
        "instances": len(job.tasks),
        "vcpus": one.vcpus,
        "needs": write_needs(one.needs) if one.needs else None,
        "region": job.hardware.region,
        "turn": turn,
    }

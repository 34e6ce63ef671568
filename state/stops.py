"""What a job is told while it lives: to stop, by a person or by the budget, and by when it must be gone.

The job's own life obeys; nothing is stopped from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from state.errors import StateError
from state.job import Ending, JobStatus
from state.tables import CANCEL, JOB, insert_into

NO_GRACE = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest:
    """A wish to stop a job.

    Attributes:
        status: how the job is to end: cancelled, or over budget.
        reason: why, in words for the person who submitted it.
        due: when its machines must go; until then they may save what they have, UTC.
    """

    status: JobStatus
    reason: str
    due: datetime

    @property
    def ending(self) -> Ending:
        """The ending it asks for."""
        return Ending(status=self.status, reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a job has to obey at this moment.

    Attributes:
        wish: to stop it; None when nobody has one.
        deadline: when every machine of it must be gone, UTC; None before that was set.
    """

    wish: StopRequest | None
    deadline: datetime | None


class Stops:
    """The part of the ledger that keeps wishes to stop."""

    engine: sa.Engine

    def request_stop(self, job_id: str, ending: Ending, at: datetime, *, grace: timedelta = NO_GRACE) -> bool:
        """Ask for a job to be stopped. Return False when it has ended or is already being taken down.

        The first wish stays, but a person who cancels does not wait for the grace of an earlier one.

        Args:
            job_id: which.
            ending: how it is to end, and why.
            at: now.
            grace: how long its machines may save what they have.
        """
        due = at + grace
        with self.engine.begin() as connection:
            if lock_job(connection, job_id).ending is not None:
                return False
            wish = {"at": at, "reason": ending.reason, "status": ending.status, "due": due}
            insert = insert_into(CANCEL, self.engine).values(job=job_id, **wish)
            change = insert.on_conflict_do_update(index_elements=[CANCEL.c.job], set_=wish, where=CANCEL.c.due > due)
            connection.execute(change)
            return True

    def request_cancel(self, job_id: str, reason: str, at: datetime) -> bool:
        """Ask for a job to be stopped at once. Return False when it has ended or is already being taken down."""
        return self.request_stop(job_id, Ending(status=JobStatus.CANCELLED, reason=reason), at)

    def stop_request(self, job_id: str) -> StopRequest | None:
        """Return how and why a job is to be stopped and by when, or None."""
        return self.orders(job_id).wish

    def orders(self, job_id: str) -> Orders:
        """Return whether a job is to be stopped, and by when it must be gone, as both stand now."""
        query = sa.select(JOB.c.deadline, CANCEL).join_from(JOB, CANCEL, CANCEL.c.job == JOB.c.id, isouter=True)
        with self.engine.connect() as connection:
            row = connection.execute(query.where(JOB.c.id == job_id)).first()
        if row is None:
            return Orders(wish=None, deadline=None)
        wish = None
        if row.status is not None:
            wish = StopRequest(status=JobStatus(row.status), reason=row.reason, due=row.due or row.at)
        return Orders(wish=wish, deadline=row.deadline)

    def find_called(
        self, *, group: str, analysis: str, bucket: str, job: str | None, timestamp: str | None
    ) -> dict[str, JobStatus]:
        """Return the jobs of a group in an analysis that a person means by an id or a timestamp, with their status."""
        mine = sa.select(JOB.c.id, JOB.c.status).where(JOB.c.group_id == group, JOB.c.analysis == analysis)
        if job is not None:
            mine = mine.where(JOB.c.id == job)
        else:
            mine = mine.where(JOB.c.result_root.endswith(f"_{bucket}_{timestamp}/", autoescape=True))
        with self.engine.connect() as connection:
            return {row.id: JobStatus(row.status) for row in connection.execute(mine)}

    def set_waiting(self, job_id: str, words: str | None) -> None:
        """Keep what a job waits for beyond the limits, a clause, such as the capacity of a type in a zone."""
        with self.engine.begin() as connection:
            connection.execute(JOB.update().where(JOB.c.id == job_id).values(waits=words))

    def cancel_reason(self, job_id: str) -> str | None:
        """Return why a job is to be stopped, or None."""
        found = self.stop_request(job_id)
        return None if found is None else found.reason


def lock_job(connection: sa.Connection, job_id: str) -> sa.Row[tuple[object, ...]]:
    """Return a job's row, locked until the transaction ends.

    Raises:
        StateError: there is no such job.
    """
    connection.execute(JOB.update().where(JOB.c.id == job_id).values(id=job_id))
    row = connection.execute(sa.select(JOB).where(JOB.c.id == job_id)).first()
    if row is None:
        raise StateError(f"There is no job {job_id}. `mayfly jobs` lists those that there are.")
    return row

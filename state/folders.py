"""The part of the ledger that knows which job tells its story in which folder."""

from __future__ import annotations

import sqlalchemy as sa

from state.job import JobStatus
from state.keys import ResultKeys
from state.tables import EVENT, JOB


class Folders:
    """Result folders, and the buckets that jobs came through."""

    engine: sa.Engine

    def has_results(self, results: ResultKeys, *, other_than: str) -> bool:
        """Return whether a job other than this one writes to a result folder; one that was refused does not."""
        query = sa.select(JOB.c.id).where(*_is(results), JOB.c.spec.is_not(None), JOB.c.id != other_than)
        with self.engine.connect() as connection:
            return connection.execute(query).first() is not None

    def was_refused(self, results: ResultKeys) -> bool:
        """Return whether a result folder tells of a refusal, and of no job."""
        query = sa.select(JOB.c.id).where(*_is(results), JOB.c.status == JobStatus.REJECTED).limit(1)
        with self.engine.connect() as connection:
            refused = connection.execute(query).first() is not None
        return refused and not self.has_results(results, other_than="")

    def home_of(self, job_id: str) -> str | None:
        """Return the bucket that a job was submitted to: its analysis's own. None when its event is not known."""
        query = sa.select(EVENT.c.bucket).where(EVENT.c.result == job_id).limit(1)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar()


def _is(results: ResultKeys) -> tuple[sa.ColumnElement[bool], ...]:
    return (JOB.c.result_bucket == results.bucket, JOB.c.result_root == results.root)

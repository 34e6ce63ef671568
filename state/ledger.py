"""The ledger: what happened, durably. Every decision that money or machines hang on is made inside it.

Times are passed in. Every method is one transaction and may be repeated: a crash after any of them, and a second
call, leave the same facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from state.budget import ZERO, Budgets, lock_account
from state.database import connect, migrate
from state.errors import StateError, SubmissionError
from state.folders import Folders
from state.inbox import close, close_all
from state.job import FINAL, Ending, Job, JobStatus, check_transition
from state.keys import ResultKeys
from state.notices import note
from state.record import JobRecord, StoryLine, read_record
from state.reservation import Batch, Reservation
from state.stops import Stops, lock_job
from state.submission import ObjectVersion
from state.tables import JOB, STORY, USAGE, insert_into
from state.usage import Usage

Enqueue = Callable[[sa.Connection, str, str], None]
"""Takes a job's id and its group inside a transaction."""


class Ledger(Stops, Budgets, Folders):
    """The durable record, on SQLite or PostgreSQL."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date; see `open_ledger`."""
        self.engine = engine

    # Admission --------------------------------------------------------------------------------------------------

    def admit(
        self,
        job: Job,
        *,
        source: ObjectVersion,
        bound: Decimal,
        cap: Decimal,
        since: datetime | None,
        at: datetime,
        enqueue: Callable[[sa.Connection], None] | None = None,
    ) -> bool:
        """Reserve `bound` USD in the group's budget and keep one job, or neither; see `admit_all`.

        Returns:
            False when this very job is already there: its event was delivered twice.

        Raises:
            BudgetError: the budget does not cover the bound.
            SubmissionError: another job has the same result folder.
        """
        wanted = Reservation(job=job, source=source, bound=bound, cap=cap, since=since)
        hand_over: Enqueue | None = None
        if enqueue is not None:
            once = enqueue  # a name of its own: known not to be None inside the function
            hand_over = lambda connection, _job, _group: once(connection)  # noqa: E731
        [outcome] = self.admit_all([wanted], at, hand_over)
        if isinstance(outcome, SubmissionError):
            raise outcome
        return outcome

    def admit_all(
        self, wanted: Sequence[Reservation], at: datetime, enqueue: Enqueue | None = None
    ) -> list[bool | SubmissionError]:
        """Reserve money and keep jobs, one after the other, in one transaction: the disk is waited for once.

        Args:
            wanted: in the order in which they came.
            at: now.
            enqueue: hands a job to the engine inside the transaction; without it jobs wait for their turn
                (state.dispatch).

        Returns:
            For each: whether it is new (False when its event was delivered twice), or why it is refused.
        """
        with self.engine.begin() as connection:
            # In one order for everybody, so that two who lock several accounts never wait for each other.
            counts = Counter(one.job.group for one in wanted)
            turns = {group: lock_account(connection, group, counts[group]) for group in sorted(counts)}
            batch = Batch.read(connection, wanted)
            outcomes: list[bool | SubmissionError] = []
            for one in wanted:
                counts[one.job.group] -= 1
                try:
                    outcomes.append(batch.take(one, turns[one.job.group] - counts[one.job.group], at))
                except SubmissionError as error:
                    outcomes.append(error)
            batch.write(connection)
            close_all(connection, [(one.source, one.job.id) for one in batch.settled], at)
            if enqueue is not None:
                for one in batch.new:
                    enqueue(connection, one.job.id, one.job.group)
                    connection.execute(JOB.update().where(JOB.c.id == one.job.id).values(enqueued=at))
            return outcomes

    def reject(
        self,
        job_id: str,
        *,
        source: ObjectVersion,
        group: str,
        analysis: str,
        results: ResultKeys,
        reason: str,
        at: datetime,
    ) -> None:
        """Keep that a submission was refused, and why."""
        with self.engine.begin() as connection:
            row = {
                "id": job_id,
                "group_id": group,
                "analysis": analysis,
                "status": JobStatus.REJECTED,
                "ending": JobStatus.REJECTED,
                "reason": reason,
                "submitted": at,
                "changed": at,
                "ended": at,
                "bound": ZERO,
                "cost": ZERO,
                "result_bucket": results.bucket,
                "result_root": results.root,
            }
            new = connection.execute(insert_into(JOB, self.engine).values(**row).on_conflict_do_nothing()).rowcount
            if new:
                self._tell(connection, job_id, JobStatus.REJECTED, at)
                _note_end(connection, job_id, group, analysis, Ending(status=JobStatus.REJECTED, reason=reason), at)
            close(connection, source, at, job_id)

    # Reading ----------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRecord:
        """Return one job.

        Raises:
            StateError: there is no such job.
        """
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(JOB).where(JOB.c.id == job_id)).first()
        if row is None:
            raise StateError(f"There is no job {job_id}. `mayfly jobs` lists those that there are.")
        return read_record(row)

    def jobs(
        self,
        *,
        group: str | None = None,
        analysis: str | None = None,
        statuses: Collection[JobStatus] = (),
        limit: int = 50,
    ) -> list[JobRecord]:
        """Return jobs, the newest first."""
        query = sa.select(JOB).order_by(JOB.c.submitted.desc(), JOB.c.id).limit(limit)
        if group is not None:
            query = query.where(JOB.c.group_id == group)
        if analysis is not None:
            query = query.where(JOB.c.analysis == analysis)
        if statuses:
            query = query.where(JOB.c.status.in_(list(statuses)))
        with self.engine.connect() as connection:
            return [read_record(row) for row in connection.execute(query)]

    def running(self) -> list[JobRecord]:
        """Return every job that has not ended."""
        return self.jobs(statuses=[s for s in JobStatus if s not in FINAL], limit=1_000_000)

    def uncertified(self) -> list[JobRecord]:
        """Return the rejected jobs whose certificate is still to be written."""
        query = sa.select(JOB).where(JOB.c.status == JobStatus.REJECTED, JOB.c.certified.is_(None))
        with self.engine.connect() as connection:
            return [read_record(row) for row in connection.execute(query)]

    def story(self, job_id: str, *, after: int = 0) -> list[StoryLine]:
        """Return the lines of a job's story with a number above `after`."""
        query = sa.select(STORY).where(STORY.c.job == job_id, STORY.c.number > after).order_by(STORY.c.number)
        with self.engine.connect() as connection:
            return [StoryLine(number=r.number, at=r.at, kind=r.kind, text=r.text) for r in connection.execute(query)]

    # The life of a job ------------------------------------------------------------------------------------------

    def advance(self, job_id: str, status: JobStatus, at: datetime) -> None:
        """Move a job to its next status; repeating the present one is nothing.

        Raises:
            JobError: that status may not follow the present one.
        """
        with self.engine.begin() as connection:
            row = lock_job(connection, job_id)
            if row.status != status:
                check_transition(JobStatus(row.status), status)
                connection.execute(JOB.update().where(JOB.c.id == job_id).values(status=status, changed=at, waits=None))
                self._tell(connection, job_id, status, at)
                if status in {JobStatus.RUNNING, JobStatus.UPLOADING}:
                    text = f"Job {job_id} ({row.analysis}) has started."
                    event = f"started {job_id}"
                    note(connection, group=row.group_id, event=event, kind="started", text=text, at=at, job=job_id)

    def set_deadline(self, job_id: str, deadline: datetime) -> datetime:
        """Keep the moment by which every machine of a job must be gone; the first one set stays. Return it.

        Args:
            job_id: which.
            deadline: as the job was admitted, UTC; time that it was granted since is added here.
        """
        with self.engine.begin() as connection:
            row = lock_job(connection, job_id)
            if row.deadline is not None:
                return row.deadline  # type: ignore[no-any-return]
            deadline += timedelta(seconds=row.extra_s)
            connection.execute(JOB.update().where(JOB.c.id == job_id).values(deadline=deadline))
            return deadline

    def tell(self, job_id: str, text: str, at: datetime, *, kind: str = "note", once: str | None = None) -> None:
        """Add a line to a job's story; with `once`, only the first line of that name is kept."""
        with self.engine.begin() as connection:
            self._tell(connection, job_id, text, at, kind=kind, once=once)

    def conclude(self, job_id: str, ending: Ending, at: datetime) -> Ending:
        """Decide how a job ends and start taking it down. The first ending stays; return it."""
        with self.engine.begin() as connection:
            row = lock_job(connection, job_id)
            if row.ending is not None:
                return Ending(status=JobStatus(row.ending), reason=row.reason)
            check_transition(JobStatus(row.status), JobStatus.DESTROYING)
            connection.execute(
                JOB.update()
                .where(JOB.c.id == job_id)
                .values(status=JobStatus.DESTROYING, ending=ending.status, reason=ending.reason, changed=at)
            )
            self._tell(connection, job_id, JobStatus.DESTROYING, at)
            return ending

    def note_usage(self, job_id: str, usage: Sequence[Usage], *, ended: bool) -> None:
        """Keep which instances a job has; `ended` says that their end times are final."""
        with self.engine.begin() as connection:
            for one in usage:
                values = {
                    "job": job_id,
                    "instance": one.instance,
                    "task": one.task,
                    "instance_type": one.instance_type,
                    "spot": one.spot,
                    "hourly_price": one.hourly_price,
                    "start": one.start,
                    "end": one.end if ended else None,
                }
                insert = insert_into(USAGE, self.engine).values(**values)
                if ended:  # the first end that was seen stays
                    insert = insert.on_conflict_do_update(
                        index_elements=[USAGE.c.job, USAGE.c.instance],
                        set_={"end": sa.func.coalesce(USAGE.c.end, insert.excluded.end)},
                    )
                else:
                    insert = insert.on_conflict_do_nothing()
                connection.execute(insert)

    def usage(self, job_id: str, now: datetime) -> list[Usage]:
        """Return the instances a job has used; those still running are billed up to `now`."""
        query = sa.select(USAGE).where(USAGE.c.job == job_id).order_by(USAGE.c.task, USAGE.c.start)
        with self.engine.connect() as connection:
            return [
                Usage(
                    job=r.job,
                    task=r.task,
                    instance=r.instance,
                    instance_type=r.instance_type,
                    spot=r.spot,
                    hourly_price=r.hourly_price,
                    start=r.start,
                    end=r.end or now,
                )
                for r in connection.execute(query)
            ]

    def settle(self, job_id: str, at: datetime) -> Decimal:
        """Turn a job's reservation into its real cost, once. Return that cost, USD."""
        cost = sum((one.cost for one in self.usage(job_id, at)), ZERO)
        with self.engine.begin() as connection:
            row = lock_job(connection, job_id)
            if row.cost is not None:
                return row.cost  # type: ignore[no-any-return]
            connection.execute(JOB.update().where(JOB.c.id == job_id).values(cost=cost))
            connection.execute(USAGE.update().where(USAGE.c.job == job_id, USAGE.c.end.is_(None)).values(end=at))
            return cost

    def finish(self, job_id: str, at: datetime) -> JobStatus:
        """Give a job the final status that was decided; its certificate is written by now."""
        with self.engine.begin() as connection:
            row = lock_job(connection, job_id)
            final = JobStatus(row.ending)
            if row.status != final:
                check_transition(JobStatus(row.status), final)
                connection.execute(
                    JOB.update().where(JOB.c.id == job_id).values(status=final, changed=at, ended=at, certified=at)
                )
                self._tell(connection, job_id, final, at)
                _note_end(connection, job_id, row.group_id, row.analysis, Ending(status=final, reason=row.reason), at)
            elif row.certified is None:
                connection.execute(JOB.update().where(JOB.c.id == job_id).values(certified=at))
            return final

    def _tell(
        self,
        connection: sa.Connection,
        job_id: str,
        text: str,
        at: datetime,
        *,
        kind: str = "status",
        once: str | None = None,
    ) -> None:
        row = {"job": job_id, "at": at, "kind": kind, "text": str(text), "once": once}
        connection.execute(insert_into(STORY, self.engine).values(**row).on_conflict_do_nothing())


def open_ledger(url: str) -> Ledger:
    """Open the ledger at a database URL, bringing its tables up to date.

    Raises:
        StateError: it was written by a newer Mayfly, or cannot be opened.
    """
    engine = connect(url)
    try:
        migrate(engine)
    except sa.exc.OperationalError as error:
        where = engine.url.render_as_string()
        raise StateError(
            f"The ledger {where} cannot be opened: {error.orig}. Is the disk full or the server down?"
        ) from None
    return Ledger(engine)


def _note_end(  # noqa: PLR0917  (one event, told whole)
    connection: sa.Connection, job_id: str, group: str, analysis: str, ending: Ending, at: datetime
) -> None:
    """Let a group be told how one of its jobs ended, and why."""
    kind = "done" if ending.status is JobStatus.DONE else "failed"
    text = f"Job {job_id} ({analysis}) is over: {ending.status}. {ending.reason}"
    note(connection, group=group, event=f"ended {job_id}", kind=kind, text=text, at=at, job=job_id)

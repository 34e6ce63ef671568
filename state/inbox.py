"""The inbox: which uploaded objects were seen, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from state.submission import ObjectVersion
from state.tables import EVENT, LETTER, insert_into

TICK = timedelta(microseconds=1)
"""Objects that are recorded together are this far apart, so that their order is kept."""
LONGEST_BODY = 4096
"""Characters kept of a message that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An object that somebody deals with now; `tries` counts how often that was begun."""

    source: ObjectVersion
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message that nobody can read, and why.

    Attributes:
        id: SQS's id of the message.
        seen: when it was first delivered, UTC.
        attempts: how often it was delivered; after the last one SQS moves it to the dead-letter queue.
        reason: why it cannot be read.
        body: its text, cut off when it is long.
    """

    id: str
    seen: datetime
    attempts: int
    reason: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """An uploaded object that led to no job, and why."""

    source: ObjectVersion
    at: datetime
    result: str


class Inbox:
    """Events, at least once in; an object's bucket, key and version make it one and the same."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date."""
        self.engine = engine
        self._last: datetime | None = None  # two batches of one moment keep their order, too

    def record(self, source: ObjectVersion, at: datetime) -> bool:
        """Keep that an object appeared. Return whether it is news."""
        return self.record_all([source], at) == 1

    def record_all(self, sources: Iterable[ObjectVersion], at: datetime) -> int:
        """Keep that objects appeared, in their order and in one transaction. Return how many are news."""
        first = at if self._last is None else max(at, self._last + TICK)
        rows = [
            {"bucket": one.bucket, "key": one.key, "version": one.version, "seen": first + number * TICK}
            for number, one in enumerate(sources)
        ]
        if not rows:
            return 0
        self._last = first + len(rows) * TICK
        with self.engine.begin() as connection:
            return connection.execute(insert_into(EVENT, self.engine).on_conflict_do_nothing(), rows).rowcount

    def pending(self, limit: int = 1000) -> list[ObjectVersion]:
        """Return the objects that nobody has dealt with, oldest first."""
        query = sa.select(EVENT).where(EVENT.c.handled.is_(None)).order_by(EVENT.c.seen, EVENT.c.key).limit(limit)
        with self.engine.connect() as connection:
            return [_source(row) for row in connection.execute(query)]

    def take(self, limit: int, at: datetime) -> list[Taken]:
        """Begin with the next objects: in each group the oldest first, and of every group in turn.

        The try is counted before anything is done, so that an object at which Mayfly dies is not tried for ever.
        What a dead process took is simply taken again: deciding twice changes nothing.
        """
        place = sa.func.row_number().over(partition_by=self._group(), order_by=(EVENT.c.seen, EVENT.c.key))
        open_ = (
            sa.select(EVENT, place.label("place"))
            .where(EVENT.c.handled.is_(None), sa.or_(EVENT.c.due.is_(None), EVENT.c.due <= at))
            .subquery()
        )
        query = sa.select(open_).order_by(open_.c.place, open_.c.seen, open_.c.key).limit(limit)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return []
        with self.engine.begin() as connection:
            connection.execute(
                EVENT.update().where(*_THIS).values(tries=EVENT.c.tries + 1), [_this(_source(row)) for row in rows]
            )
        return [Taken(source=_source(row), tries=row.tries + 1) for row in rows]

    def postpone(self, sources: Sequence[ObjectVersion], until: datetime, *, blameless: bool) -> None:
        """Put objects back until a time; `blameless` does not count the try."""
        with self.engine.begin() as connection:
            for one in sources:
                tries = EVENT.c.tries - 1 if blameless else EVENT.c.tries
                connection.execute(EVENT.update().where(*_is(one)).values(due=until, tries=tries))

    def knows(self, bucket: str, key: str, version: str) -> bool:
        """Return whether this object was recorded before."""
        query = sa.select(EVENT.c.key).where(EVENT.c.bucket == bucket, EVENT.c.key == key, EVENT.c.version == version)
        with self.engine.connect() as connection:
            return connection.execute(query).first() is not None

    def close(self, source: ObjectVersion, at: datetime, result: str) -> None:
        """Keep that an event was dealt with; `result` is a job id or a reason in words."""
        with self.engine.begin() as connection:
            close(connection, source, at, result)

    def closed_without_job(self, limit: int = 50) -> list[Closed]:
        """Return the objects that led to no job, the newest first; a job's id never has a space, a reason always."""
        query = (
            sa.select(EVENT)
            .where(EVENT.c.handled.is_not(None), EVENT.c.result.like("% %"))
            .order_by(EVENT.c.handled.desc())
            .limit(limit)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query)
            return [Closed(source=_source(row), at=row.handled, result=row.result) for row in rows]

    # Messages that cannot be read -------------------------------------------------------------------------------

    def keep_letter(self, letter: Letter) -> bool:
        """Keep a message that cannot be read. Return whether it is news."""
        row = {
            "id": letter.id,
            "seen": letter.seen,
            "attempts": letter.attempts,
            "reason": letter.reason,
            "body": letter.body.replace("\0", "\\0")[:LONGEST_BODY],
        }
        with self.engine.begin() as connection:
            done = connection.execute(insert_into(LETTER, self.engine).values(**row).on_conflict_do_nothing())
            if not done.rowcount:
                again = LETTER.update().where(LETTER.c.id == letter.id, LETTER.c.attempts < letter.attempts)
                connection.execute(again.values(attempts=letter.attempts))
            return done.rowcount == 1

    def letters(self, limit: int = 50) -> list[Letter]:
        """Return the messages that could not be read, the newest first."""
        query = sa.select(LETTER).order_by(LETTER.c.seen.desc(), LETTER.c.id).limit(limit)
        with self.engine.connect() as connection:
            return [
                Letter(id=r.id, seen=r.seen, attempts=r.attempts, reason=r.reason, body=r.body)
                for r in connection.execute(query)
            ]

    def _group(self) -> sa.ColumnElement[str]:
        """Return the first segment of the key, which each database spells in its own way."""
        if self.engine.dialect.name == "postgresql":
            return sa.func.split_part(EVENT.c.key, "/", 1)
        return sa.func.substr(EVENT.c.key, 1, sa.func.instr(EVENT.c.key, "/"))


def close(connection: sa.Connection, source: ObjectVersion, at: datetime, result: str) -> None:
    """Close an event inside a transaction of the ledger."""
    connection.execute(EVENT.update().where(*_is(source)).values(handled=at, result=result))


def close_all(connection: sa.Connection, closed: Sequence[tuple[ObjectVersion, str]], at: datetime) -> None:
    """Close many events, each with its result, inside a transaction of the ledger."""
    if closed:
        change = EVENT.update().where(*_THIS).values(handled=at, result=sa.bindparam("this_result"))
        connection.execute(change, [{**_this(source), "this_result": result} for source, result in closed])


_THIS = (
    EVENT.c.bucket == sa.bindparam("this_bucket"),
    EVENT.c.key == sa.bindparam("this_key"),
    EVENT.c.version == sa.bindparam("this_version"),
)
"""One event, whose names come with each execution: a statement is compiled once for many events."""


def _this(source: ObjectVersion) -> dict[str, str]:
    return {"this_bucket": source.bucket, "this_key": source.key, "this_version": source.version}


def _is(source: ObjectVersion) -> tuple[sa.ColumnElement[bool], ...]:
    return (EVENT.c.bucket == source.bucket, EVENT.c.key == source.key, EVENT.c.version == source.version)


def _source(row: sa.Row[tuple[object, ...]]) -> ObjectVersion:
    return ObjectVersion(bucket=row.bucket, key=row.key, version=row.version)

"""What people are to be told, kept in the transaction of the event itself: one notice per event, whatever repeats."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from state.tables import DELIVERY, NOTICE, insert_into

MOST_TRIES = 12
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event to tell a group of.

    Attributes:
        number: counts up; with the channel it names a delivery.
        group: whose.
        event: what happened to what, unique in the group, such as `done pca-1`.
        kind: started, done, failed or budget.
        job: id, or None for what concerns no single job.
        text: a sentence or more.
        at: when it happened, UTC.
    """

    number: int
    group: str
    event: str
    kind: str
    job: str | None
    text: str
    at: datetime


def note(
    connection: sa.Connection, *, group: str, event: str, kind: str, text: str, at: datetime, job: str | None = None
) -> bool:
    """Keep a notice inside a transaction of the ledger. Return whether it is news."""
    row = {"group_id": group, "event": event, "kind": kind, "job": job, "text": text, "at": at}
    # A notice that is there already makes the counting up skip a number, and nothing else.
    done = connection.execute(insert_into(NOTICE, connection.engine).values(**row).on_conflict_do_nothing())
    return done.rowcount == 1


class Notices:
    """The outbox. A message is claimed, durably, before it is sent, so that no crash sends it twice."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date."""
        self.engine = engine

    def fresh(self, limit: int = 100) -> list[Notice]:
        """Return the notices that no channel was chosen for yet, oldest first."""
        query = sa.select(NOTICE).where(NOTICE.c.spread.is_(None)).order_by(NOTICE.c.number).limit(limit)
        with self.engine.connect() as connection:
            return [_notice(row) for row in connection.execute(query)]

    def spread(self, number: int, channels: Collection[str], at: datetime) -> None:
        """Choose the channels of a notice, once."""
        with self.engine.begin() as connection:
            mine = connection.execute(
                NOTICE.update().where(NOTICE.c.number == number, NOTICE.c.spread.is_(None)).values(spread=at)
            )
            if mine.rowcount:
                for channel in sorted(set(channels)):
                    row = {"notice": number, "channel": channel, "due": at, "tries": 0}
                    connection.execute(insert_into(DELIVERY, self.engine).values(**row).on_conflict_do_nothing())

    def due(self, at: datetime, limit: int = 100) -> list[tuple[Notice, str]]:
        """Return the deliveries to try now, the oldest notice first."""
        query = (
            sa.select(NOTICE, DELIVERY.c.channel)
            .join(DELIVERY, DELIVERY.c.notice == NOTICE.c.number)
            .where(DELIVERY.c.due <= at)
            .order_by(NOTICE.c.number, DELIVERY.c.channel)
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [(_notice(row), row.channel) for row in connection.execute(query)]

    def claim(self, number: int, channel: str, at: datetime) -> bool:
        """Take one delivery, so that nobody else tries it. Return whether it is ours."""
        with self.engine.begin() as connection:
            done = connection.execute(
                DELIVERY.update()
                .where(DELIVERY.c.notice == number, DELIVERY.c.channel == channel, DELIVERY.c.due <= at)
                .values(due=None, claimed=at, tries=DELIVERY.c.tries + 1)
            )
            return done.rowcount == 1

    def sent(self, number: int, channel: str, at: datetime) -> None:
        """Keep that a message was taken by its server."""
        self._change(number, channel, sent=at, problem=None)

    def failed(self, number: int, channel: str, at: datetime, problem: str, *, again: bool) -> None:
        """Keep that a message was certainly not taken; with `again`, try it later, at growing distances."""
        with self.engine.begin() as connection:
            mine = (DELIVERY.c.notice == number, DELIVERY.c.channel == channel)
            tries = connection.execute(sa.select(DELIVERY.c.tries).where(*mine)).scalar() or 0
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, tries - 1))
            due = at + pause if again and tries < MOST_TRIES else None
            connection.execute(DELIVERY.update().where(*mine).values(due=due, claimed=None, problem=problem))

    def uncertain(self, number: int, channel: str, problem: str) -> None:
        """Keep that nobody knows whether a message arrived: it is not sent again, rather none than two."""
        self._change(number, channel, problem=problem)

    def _change(self, number: int, channel: str, **values: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                DELIVERY.update().where(DELIVERY.c.notice == number, DELIVERY.c.channel == channel).values(**values)
            )


def _notice(row: sa.Row[tuple[object, ...]]) -> Notice:
    return Notice(
        number=row.number,
        group=row.group_id,
        event=row.event,
        kind=row.kind,
        job=row.job,
        text=row.text,
        at=row.at,
    )

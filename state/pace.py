"""One pace for all workers of an account: calls that AWS counts are spread by a bucket of tokens in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from state.tables import METADATA, Instant, insert_into

PACE = sa.Table(
    "pace",
    METADATA,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("tokens", sa.Float, nullable=False),
    sa.Column("at", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A token bucket that every worker shares.

    Attributes:
        engine: the ledger's database, whose tables are up to date.
        name: what is limited, and whose: for example `run-instances/123456789012/us-east-1`.
        rate: tokens that come back per second.
        burst: the most that can be saved up.
    """

    engine: sa.Engine
    name: str
    rate: float = 2.0
    burst: float = 5.0

    def take(self, count: int, now: datetime) -> float:
        """Take tokens, running into debt if need be; return the seconds to wait before they may be used."""
        left = self._change(-float(count), now)
        # What fits into a full bucket may go at once; who wants more waits until all but a bucketful is paid back.
        return max(0.0, -(left + max(0.0, count - self.burst)) / self.rate)

    def slow_down(self, seconds: float, now: datetime) -> None:
        """Keep everybody waiting: AWS said that it is too much."""
        self._change(-seconds * self.rate, now)

    def _change(self, tokens: float, now: datetime) -> float:
        with self.engine.begin() as connection:
            insert = insert_into(PACE, self.engine).values(name=self.name, tokens=self.burst, at=now)
            connection.execute(insert.on_conflict_do_nothing())
            # The write locks the row (or, on SQLite, the database) for the reading that follows.
            connection.execute(PACE.update().where(PACE.c.name == self.name).values(name=self.name))
            row = connection.execute(sa.select(PACE).where(PACE.c.name == self.name)).one()
            passed = max(0.0, (now - row.at).total_seconds())
            left = min(self.burst, row.tokens + passed * self.rate) + tokens
            at = max(now, row.at)
            connection.execute(PACE.update().where(PACE.c.name == self.name).values(tokens=left, at=at))
            return float(left)

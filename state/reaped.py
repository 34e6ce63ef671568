"""What the reaper did: everything that it removed, once, and when it last went round."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from state.lease import Leases
from state.tables import LEASE, METADATA, Instant, insert_into

REAPED = sa.Table(
    "reaped",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("job", sa.String(256), nullable=False),
    sa.Column("at", Instant, nullable=False),
)
ROUND = "reaper:round"
"""The lease by which a reaper says that it went round."""


class ReaperBook:
    """The reaper's own record, in the ledger's database. Every method may be repeated."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date."""
        self.engine = engine

    def note(self, *, identity: str, kind: str, job: str, at: datetime) -> None:
        """Keep that something was removed; `job` may be one that this ledger does not know, or empty."""
        insert = insert_into(REAPED, self.engine).values(id=identity, kind=kind, job=job, at=at)
        with self.engine.begin() as connection:
            connection.execute(insert.on_conflict_do_nothing())

    def went_round(self, at: datetime) -> None:
        """Keep that everything was looked at and nothing failed."""
        Leases(self.engine).beat(ROUND, at)

    def count(self) -> int:
        """Return how much was ever removed."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(REAPED)).scalar() or 0

    def last_round(self) -> datetime | None:
        """Return when a reaper last went round; None before the first time."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(LEASE.c.beat).where(LEASE.c.holder == ROUND)).scalar()

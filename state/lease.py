"""Leases: which workers live, so that a dead one's jobs are taken over."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from state.tables import LEASE, insert_into


class Leases:
    """Names with the time when each was last heard of."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use `engine`, whose tables are up to date."""
        self.engine = engine

    def beat(self, holder: str, at: datetime) -> None:
        """Say that a worker lives."""
        with self.engine.begin() as connection:
            insert = insert_into(LEASE, self.engine).values(holder=holder, beat=at)
            connection.execute(
                insert.on_conflict_do_update(index_elements=[LEASE.c.holder], set_={"beat": insert.excluded.beat})
            )

    def claim(self, holder: str, at: datetime, ttl: timedelta) -> bool:
        """Take a lease that nobody has renewed within `ttl`. Return whether it is ours now."""
        with self.engine.begin() as connection:
            insert = insert_into(LEASE, self.engine).values(holder=holder, beat=at)
            done = connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[LEASE.c.holder], set_={"beat": insert.excluded.beat}, where=LEASE.c.beat < at - ttl
                )
            )
            return done.rowcount == 1

    def holders(self, since: datetime) -> set[str]:
        """Return who has said that it lives since then."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(LEASE.c.holder).where(LEASE.c.beat > since)).scalars())

    def release_all(self, prefix: str) -> None:
        """Remove every lease whose name begins so: what they were for is over."""
        with self.engine.begin() as connection:
            connection.execute(LEASE.delete().where(LEASE.c.holder.startswith(prefix, autoescape=True)))

    def release(self, holder: str) -> None:
        """Give a lease back, at a clean end."""
        with self.engine.begin() as connection:
            connection.execute(LEASE.delete().where(LEASE.c.holder == holder))

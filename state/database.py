"""Opening the ledger's database: SQLite on one machine, PostgreSQL for many workers."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from state.errors import StateError

PRAGMAS = ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL")
"""WAL lets readers read while a job is written; FULL makes a commit survive a power cut."""
MILLISECONDS_SINCE: Final = (3, 42)
"""SQLite's first release that knows `unixepoch('subsec')`."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite:///{path.resolve()}"


def connect(url: str) -> sa.Engine:
    """Return an engine for `url` with the settings that both the ledger and the job engine rely on.

    On SQLite a transaction takes the write lock with its first write, so whoever decides by what it reads
    (the budget) writes first.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(
            url.replace("postgresql:", "postgresql+psycopg:", 1),
            pool_size=20,
            max_overflow=0,
            pool_pre_ping=True,
            # How many rows an INSERT made tells who was first; psycopg forgets it when SQLAlchemy closes the cursor.
            execution_options={"preserve_rowcount": True},
        )
    # All are kept: one that overflows is opened, told its pragmas and thrown away for each statement.
    engine = sa.create_engine(url, pool_size=15, max_overflow=0, pool_timeout=60)

    @sa.event.listens_for(engine, "connect")
    def settle(connection: Any, _: object) -> None:  # noqa: ANN401  (sqlite3's connection, untyped in SQLAlchemy's events)
        connection.isolation_level = "IMMEDIATE"
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if sqlite3.sqlite_version_info < MILLISECONDS_SINCE:
            # The job engine asks for it from Python 3.12 on, whichever SQLite that Python has; Debian 12's says NULL.
            connection.create_function("unixepoch", 1, _seconds)

    return engine


def _seconds(modifier: str) -> float | None:
    """Return what `unixepoch('subsec')` returns in newer releases: seconds since 1970, to the millisecond."""
    return round(time.time(), 3) if modifier == "subsec" else None


def migrate(engine: sa.Engine) -> None:
    """Bring the ledger's tables to this release's form. Safe to repeat, and from several processes at once.

    Raises:
        StateError: the database was written by a newer Mayfly.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:  # any fixed number: the lock is ours alone and ends with the transaction
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7305001)"))
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in known:
            raise StateError(
                f"The ledger {engine.url.render_as_string()} was written by a newer Mayfly (revision {current}). "
                "Update this one, or use another --home."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

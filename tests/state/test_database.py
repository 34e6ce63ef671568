"""What the ledger and the job engine rely on is there, whichever SQLite this Python has."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from state.database import connect, sqlite_url


def test_sqlite_counts_milliseconds_also_for_columns_that_nobody_fills(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "db"))
    with engine.begin() as connection:
        made = "id INTEGER, at BIGINT NOT NULL DEFAULT (unixepoch('subsec') * 1000)"
        connection.execute(sa.text(f"CREATE TABLE t ({made})"))
        connection.execute(sa.text("INSERT INTO t (id) VALUES (1)"))
        at = connection.scalar(sa.text("SELECT at FROM t"))
        now = connection.scalar(sa.text("SELECT unixepoch('subsec')"))
    assert abs(at / 1000 - time.time()) < 60
    assert abs(now - time.time()) < 60
    assert round(now, 3) == now
    engine.dispose()

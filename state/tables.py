"""The ledger's tables, as SQLAlchemy sees them. Migrations make them; a test keeps the two equal."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

METADATA = sa.MetaData()
MICRO = Decimal(1_000_000)


class Instant(sa.TypeDecorator[datetime]):
    """An aware UTC time; the database keeps it without a zone, in UTC."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive time: it would silently be another moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ANN401, ARG002
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Money(sa.TypeDecorator[Decimal]):
    """USD as an exact Decimal; the database keeps whole micro-dollars, which it can add up without rounding."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Round to a micro-dollar."""
        return None if value is None else int((value * MICRO).to_integral_value())

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> Decimal | None:  # noqa: ANN401, ARG002
        """Return dollars."""
        return None if value is None else Decimal(int(value)) / MICRO


EVENT = sa.Table(
    "event",
    METADATA,
    sa.Column("bucket", sa.String(63), primary_key=True),
    sa.Column("key", sa.String(1024), primary_key=True),
    sa.Column("version", sa.String(256), primary_key=True),
    sa.Column("seen", Instant, nullable=False),
    sa.Column("handled", Instant),
    sa.Column("result", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due", Instant),
    sa.Index("event_open", "handled", "seen"),
)
ACCOUNT = sa.Table(
    "account",
    METADATA,
    sa.Column("group_id", sa.String(63), primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
)
JOB = sa.Table(
    "job",
    METADATA,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("group_id", sa.String(63), nullable=False),
    sa.Column("analysis", sa.String(63), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("ending", sa.String(16)),
    sa.Column("reason", sa.Text),
    sa.Column("submitted", Instant, nullable=False),
    sa.Column("changed", Instant, nullable=False),
    sa.Column("ended", Instant),
    sa.Column("deadline", Instant),
    sa.Column("bound", Money, nullable=False),
    sa.Column("cost", Money),
    sa.Column("result_bucket", sa.String(63), nullable=False),
    sa.Column("result_root", sa.String(1024), nullable=False),
    sa.Column("spec", sa.Text),
    sa.Column("certified", Instant),
    sa.Column("instances", sa.Integer, nullable=False, server_default="0"),
    sa.Column("vcpus", sa.Integer, nullable=False, server_default="0"),
    sa.Column("region", sa.String(32), nullable=False, server_default=""),
    sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("enqueued", Instant),
    sa.Column("waits", sa.Text),
    sa.Column("extra_s", sa.Integer, nullable=False, server_default="0"),
    sa.Column("needs", sa.Text),
    sa.Index("job_by_turn", "status", "enqueued", "group_id", "turn"),
    sa.Index("job_by_group", "group_id", "submitted"),
    sa.Index("job_by_status", "status"),
    sa.Index(
        "job_result",
        "result_bucket",
        "result_root",
        unique=True,
        sqlite_where=sa.text("spec IS NOT NULL"),
        postgresql_where=sa.text("spec IS NOT NULL"),
    ),
)
STORY = sa.Table(
    "story",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("once", sa.String(64)),
    sa.UniqueConstraint("job", "once", name="story_once"),
)
USAGE = sa.Table(
    "usage",
    METADATA,
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("instance", sa.String(32), primary_key=True),
    sa.Column("task", sa.Integer, nullable=False),
    sa.Column("instance_type", sa.String(32), nullable=False),
    sa.Column("spot", sa.Boolean, nullable=False),
    sa.Column("hourly_price", Money, nullable=False),
    sa.Column("start", Instant, nullable=False),
    sa.Column("end", Instant),
)
CANCEL = sa.Table(
    "cancel",
    METADATA,
    sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False, server_default="cancelled"),
    sa.Column("due", Instant),
)
LETTER = sa.Table(
    "letter",
    METADATA,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("seen", Instant, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
NOTICE = sa.Table(
    "notice",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("group_id", sa.String(63), nullable=False),
    sa.Column("event", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("job", sa.String(63)),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("spread", Instant),
    sa.UniqueConstraint("group_id", "event", name="notice_once"),
    sa.Index("notice_open", "spread", "number"),
)
DELIVERY = sa.Table(
    "delivery",
    METADATA,
    sa.Column("notice", sa.Integer, sa.ForeignKey("notice.number"), primary_key=True),
    sa.Column("channel", sa.String(512), primary_key=True),
    sa.Column("due", Instant),
    sa.Column("claimed", Instant),
    sa.Column("sent", Instant),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("problem", sa.Text),
    sa.Index("delivery_due", "due"),
)
LEASE = sa.Table(
    "lease", METADATA, sa.Column("holder", sa.String(128), primary_key=True), sa.Column("beat", Instant, nullable=False)
)


def insert_into(table: sa.Table, engine: sa.Engine) -> postgresql.Insert | sqlite.Insert:
    """Return an insert that knows ON CONFLICT, which SQLAlchemy spells per dialect."""
    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)

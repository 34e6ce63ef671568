"""The first ledger: events, jobs and their story, budgets, usage, cancel flags, worker leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "event",
        sa.Column("bucket", sa.String(63), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("version", sa.String(256), primary_key=True),
        sa.Column("seen", sa.DateTime, nullable=False),
        sa.Column("handled", sa.DateTime),
        sa.Column("result", sa.Text),
    )
    op.create_index("event_open", "event", ["handled", "seen"])
    op.create_table("account", sa.Column("group_id", sa.String(63), primary_key=True))
    op.create_table(
        "job",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("group_id", sa.String(63), nullable=False),
        sa.Column("analysis", sa.String(63), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("ending", sa.String(16)),
        sa.Column("reason", sa.Text),
        sa.Column("submitted", sa.DateTime, nullable=False),
        sa.Column("changed", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sa.Column("deadline", sa.DateTime),
        sa.Column("bound", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.BigInteger),
        sa.Column("result_bucket", sa.String(63), nullable=False),
        sa.Column("result_root", sa.String(1024), nullable=False),
        sa.Column("spec", sa.Text),
        sa.Column("certified", sa.DateTime),
    )
    op.create_index("job_by_group", "job", ["group_id", "submitted"])
    op.create_index("job_by_status", "job", ["status"])
    op.create_index(
        "job_result",
        "job",
        ["result_bucket", "result_root"],
        unique=True,
        sqlite_where=sa.text("spec IS NOT NULL"),
        postgresql_where=sa.text("spec IS NOT NULL"),
    )
    op.create_table(
        "story",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("once", sa.String(64)),
        sa.UniqueConstraint("job", "once", name="story_once"),
    )
    op.create_table(
        "usage",
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("instance", sa.String(32), primary_key=True),
        sa.Column("task", sa.Integer, nullable=False),
        sa.Column("instance_type", sa.String(32), nullable=False),
        sa.Column("spot", sa.Boolean, nullable=False),
        sa.Column("hourly_price", sa.BigInteger, nullable=False),
        sa.Column("start", sa.DateTime, nullable=False),
        sa.Column("end", sa.DateTime),
    )
    op.create_table(
        "cancel",
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("holder", sa.String(128), primary_key=True),
        sa.Column("beat", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop every table, the newest first."""
    for table in ("lease", "cancel", "usage", "story", "job", "account", "event"):
        op.drop_table(table)

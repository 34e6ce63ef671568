"""Turns and limits of waiting jobs, stops with a grace period, letters nobody can read, and notices to send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what waiting, stopping and telling need. Jobs that are there were handed to the engine already."""
    for column in (
        sa.Column("instances", sa.Integer, nullable=False, server_default="0"),
        sa.Column("vcpus", sa.Integer, nullable=False, server_default="0"),
        sa.Column("region", sa.String(32), nullable=False, server_default=""),
        sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("enqueued", sa.DateTime),
        sa.Column("waits", sa.Text),
        sa.Column("extra_s", sa.Integer, nullable=False, server_default="0"),
    ):
        op.add_column("job", column)
    op.execute("UPDATE job SET enqueued = submitted WHERE spec IS NOT NULL")
    op.create_index("job_by_turn", "job", ["status", "enqueued", "group_id", "turn"])
    op.add_column("account", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("event", sa.Column("tries", sa.Integer, nullable=False, server_default="0"))
    op.add_column("event", sa.Column("due", sa.DateTime))
    op.add_column("cancel", sa.Column("status", sa.String(16), nullable=False, server_default="cancelled"))
    op.add_column("cancel", sa.Column("due", sa.DateTime))
    op.create_table(
        "letter",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("seen", sa.DateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "notice",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("group_id", sa.String(63), nullable=False),
        sa.Column("event", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("job", sa.String(63)),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("spread", sa.DateTime),
        sa.UniqueConstraint("group_id", "event", name="notice_once"),
    )
    op.create_index("notice_open", "notice", ["spread", "number"])
    op.create_table(
        "delivery",
        sa.Column("notice", sa.Integer, sa.ForeignKey("notice.number"), primary_key=True),
        sa.Column("channel", sa.String(512), primary_key=True),
        sa.Column("due", sa.DateTime),
        sa.Column("claimed", sa.DateTime),
        sa.Column("sent", sa.DateTime),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text),
    )
    op.create_index("delivery_due", "delivery", ["due"])


def downgrade() -> None:
    """Drop what was added."""
    for table in ("delivery", "notice", "letter"):
        op.drop_table(table)
    for table, columns in (
        ("cancel", ("due", "status")),
        ("event", ("due", "tries")),
        ("account", ("turn",)),
        ("job", ("extra_s", "waits", "enqueued", "turn", "region", "vcpus", "instances")),
    ):
        if table == "job":
            op.drop_index("job_by_turn", "job")
        for column in columns:
            op.drop_column(table, column)

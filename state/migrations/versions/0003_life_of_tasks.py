"""The life of tasks: each try to get a machine, how each task ended, facts for the certificate, a shared pace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "attempt",
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("task", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("offer", sa.Integer, nullable=False),
        sa.Column("instance_type", sa.String(32), nullable=False),
        sa.Column("zone", sa.String(32)),
        sa.Column("spot", sa.Boolean, nullable=False),
        sa.Column("hourly_price", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("instance", sa.String(32)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "outcome",
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("task", sa.Integer, primary_key=True),
        sa.Column("ending", sa.String(24), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "fact",
        sa.Column("job", sa.String(63), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "pace",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("tokens", sa.Float, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )

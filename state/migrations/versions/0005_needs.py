"""What the machines of a job take of each vCPU quota; jobs that have not ended get it from what was admitted."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from state.vcpus import Need, family_of, write_needs

revision = "0005"
down_revision = "0004"

JOB = sa.table("job", *(sa.column(name) for name in ("id", "ended", "spec", "instances", "vcpus", "needs")))


def upgrade() -> None:
    """Add the column, and fill it for whatever may still count against a quota."""
    op.add_column("job", sa.Column("needs", sa.Text))
    connection = op.get_bind()
    alive = sa.select(JOB).where(JOB.c.ended.is_(None), JOB.c.spec.is_not(None), JOB.c.instances > 0)
    for row in connection.execute(alive).all():
        job = json.loads(row.spec)
        # Which way has how many vCPUs was not kept: the most that a machine of the job may have counts for each.
        most = row.vcpus // row.instances
        ways = job.get("offers") or [job["hardware"]]
        needs = [Need(family=family_of(way["instance_type"]), spot=bool(way.get("spot")), vcpus=most) for way in ways]
        connection.execute(JOB.update().where(JOB.c.id == row.id).values(needs=write_needs(needs)))

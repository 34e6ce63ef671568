"""Alembic's entry: runs the migrations on the connection that state.database.migrate passes in."""

from __future__ import annotations

from alembic import context

from state.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
context.run_migrations()

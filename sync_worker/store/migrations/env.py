"""Alembic's entry: runs on the connection that ``store.migrate`` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from sync_worker.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

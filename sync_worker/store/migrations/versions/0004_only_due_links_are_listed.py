"""The lists of due links leave out those at rest: a touch of one among a million puts down what one of ten does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = {"ix_link_due": ["flow", "entity", "class", "due_at"], "ix_link_due_at": ["due_at"]}


def upgrade() -> None:
    due = sa.text("due_at IS NOT NULL")
    for name, columns in _COLUMNS.items():
        op.drop_index(name, table_name="link")
        op.create_index(name, "link", columns, sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    for name, columns in _COLUMNS.items():
        op.drop_index(name, table_name="link")
        op.create_index(name, "link", columns)

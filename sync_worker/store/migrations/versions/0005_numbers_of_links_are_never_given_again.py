"""On SQLite the number of a link that is gone (absorbed half rows) was given to the next one: never again.

Whoever still held the old one could store its pass under the new one's token.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rebuild(autoincrement=True)


def downgrade() -> None:
    _rebuild(autoincrement=False)


def _rebuild(*, autoincrement: bool) -> None:
    """PostgreSQL's numbers come from a sequence: nothing to do. SQLite knows this for new tables only."""
    if op.get_bind().dialect.name != "sqlite":
        return
    # Dropping the old table takes its open fields with it.
    op.execute(sa.text("CREATE TEMP TABLE kept_open_field AS SELECT * FROM open_field"))
    with op.batch_alter_table("link", recreate="always", table_kwargs={"sqlite_autoincrement": autoincrement}):
        pass
    op.execute(sa.text("INSERT INTO open_field SELECT * FROM kept_open_field"))
    op.execute(sa.text("DROP TABLE kept_open_field"))

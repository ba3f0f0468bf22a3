"""Which run a link is due for, and what a run did: journal entries by run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link", sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    of_runs = sa.text("run_id IS NOT NULL")  # most entries belong to none: live work pays nothing for it
    op.create_index(
        "ix_journal_run_id", "journal", ["run_id", "link_id"], sqlite_where=of_runs, postgresql_where=of_runs
    )
    op.create_index("ix_link_run_id", "link", ["run_id"], sqlite_where=of_runs, postgresql_where=of_runs)


def downgrade() -> None:
    op.drop_index("ix_link_run_id", table_name="link")
    op.drop_index("ix_journal_run_id", table_name="journal")
    op.drop_column("link", "run_id")

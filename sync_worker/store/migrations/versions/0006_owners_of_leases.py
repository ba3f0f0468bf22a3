"""Whose a lease is, and whether a write may have been sent under it: what a killed process held is let go at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link", sa.Column("lease_owner", sa.String(32)))
    op.add_column("link", sa.Column("unwritten_token", sa.Integer()))


def downgrade() -> None:
    op.drop_column("link", "unwritten_token")
    op.drop_column("link", "lease_owner")

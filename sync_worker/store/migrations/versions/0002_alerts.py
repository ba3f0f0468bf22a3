"""Since when a link is in its state, and what was told of what stands."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link", sa.Column("state_at", sa.Double()))
    # Nobody wrote down since when: they count from now. What is at rest is left alone, it may be every link there is.
    op.execute(
        sa.text(
            "UPDATE link SET state_at = :now WHERE state IN ('pending', 'waiting', 'conflict', 'failing')"
        ).bindparams(now=time.time())
    )
    op.create_table(
        "alert",
        sa.Column("target", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.Column("told_at", sa.Double()),
        sa.Column("told_count", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("target", "kind", "name", "state", "cause", name="pk_alert"),
    )


def downgrade() -> None:
    op.drop_table("alert")
    op.drop_column("link", "state_at")

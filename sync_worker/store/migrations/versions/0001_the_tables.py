"""The tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


TABLES = (
    "account",
    "counter_delta",
    "event",
    "flow_state",
    "journal",
    "link",
    "manager",
    "manager_map",
    "part",
    "pause",
    "run",
    "schedule",
    "secret",
    "watermark",
    "open_field",
    "run_row",
    "session",
)

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=255)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "counter_delta",
        sa.Column("id", Id, nullable=False),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("delta", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_counter_delta"),
    )
    op.create_table(
        "event",
        sa.Column("id", Id, nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("op", sa.String(length=16), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("notice_id", sa.String(length=255)),
        sa.Column("at", sa.Double()),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.UniqueConstraint("system", "notice_id", name="uq_event_system_notice_id"),
    )
    op.create_index("ix_event_received_at", "event", ["received_at"])
    op.create_index("ix_event_record", "event", ["system", "entity", "key"])

    op.create_table(
        "flow_state",
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("switched_on_at", sa.Double(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("flow", name="pk_flow_state"),
    )
    op.create_table(
        "journal",
        sa.Column("id", Id, nullable=False),
        sa.Column("link_id", Id),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=3)),
        sa.Column("key", sa.String(length=255)),
        sa.Column("before", Json),
        sa.Column("after", Json),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("actor", sa.String(length=64), server_default="worker", nullable=False),
        sa.Column("run_id", Id),
        sa.Column("noticed_at", sa.Double()),
        sa.Column("read_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
    )
    op.create_index("ix_journal_at", "journal", ["at"])
    op.create_index("ix_journal_link_id", "journal", ["link_id", "at"])

    op.create_table(
        "link",
        sa.Column("id", Id, nullable=False),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=32), nullable=False),
        sa.Column("erp_key", sa.String(length=255)),
        sa.Column("erp_ref", sa.String(length=255), server_default="", nullable=False),
        sa.Column("crm_key", sa.String(length=255)),
        sa.Column("crm_ref", sa.String(length=255), server_default="", nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("erp_was", Json),
        sa.Column("crm_was", Json),
        sa.Column("erp_children", Json),
        sa.Column("crm_children", Json),
        sa.Column("memory", Json),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("cause", sa.String(length=64), server_default="", nullable=False),
        sa.Column("cause_params", Json),
        sa.Column("erp_dirty", sa.Integer(), server_default="0", nullable=False),
        sa.Column("erp_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("erp_parts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crm_dirty", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crm_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crm_parts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("erp_look_at", sa.Double()),
        sa.Column("crm_look_at", sa.Double()),
        sa.Column("erp_gone_at", sa.Double()),
        sa.Column("crm_gone_at", sa.Double()),
        sa.Column("due_at", sa.Double()),
        sa.Column("class", sa.String(length=8), server_default="live", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("lease_token", sa.Integer(), server_default="0", nullable=False),
        sa.Column("may_create", sa.String(length=16)),
        sa.Column("intent", Json),
        sa.Column("intent_at", sa.Double()),
        sa.Column("intent_side", sa.String(length=3)),
        sa.Column("writes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("was_linked_to", Json),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("noticed_at", sa.Double()),
        sa.Column("first_synced_at", sa.Double()),
        sa.Column("last_synced_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_link"),
        sa.UniqueConstraint("flow", "entity", "crm_key", name="uq_link_flow_entity_crm_key"),
        sa.UniqueConstraint("flow", "entity", "erp_key", name="uq_link_flow_entity_erp_key"),
    )
    op.create_index("ix_link_crm", "link", ["entity", "crm_key"])
    op.create_index("ix_link_due", "link", ["flow", "entity", "class", "due_at"])
    op.create_index("ix_link_due_at", "link", ["due_at"])
    op.create_index("ix_link_erp", "link", ["entity", "erp_key"])
    op.create_index("ix_link_intent", "link", ["flow", "entity", "intent_side", "intent_at"])
    op.create_index("ix_link_state", "link", ["state"])

    op.create_table(
        "manager",
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("ref", sa.String(length=255), server_default="", nullable=False),
        sa.Column("name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("email", sa.String(length=255)),
        sa.Column("active", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("system", "key", name="pk_manager"),
    )
    op.create_table(
        "manager_map",
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("erp_key", sa.String(length=255), nullable=False),
        sa.Column("crm_key", sa.String(length=255), nullable=False),
        sa.Column("preferred", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("erp_system", sa.String(length=64), server_default="", nullable=False),
        sa.Column("crm_system", sa.String(length=64), server_default="", nullable=False),
        sa.Column("actor", sa.String(length=64), server_default="", nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "erp_key", name="pk_manager_map"),
    )
    op.create_index("ix_manager_map_crm", "manager_map", ["flow", "crm_key"])

    op.create_table(
        "part",
        sa.Column("id", Id, nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("owner_key", sa.String(length=255), server_default="", nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_part"),
        sa.UniqueConstraint("system", "entity", "key", "owner_key", name="uq_part_system_entity_key_owner_key"),
    )
    op.create_index("ix_part_due_at", "part", ["due_at"])
    op.create_index("ix_part_owner", "part", ["system", "owner_key"])

    op.create_table(
        "pause",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double()),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_pause"),
    )
    op.create_table(
        "run",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("params", Json),
        sa.Column("actor", sa.String(length=64), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("counts", Json),
        sa.Column("position", sa.Text()),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_table(
        "schedule",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("lease_token", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_at", sa.Double()),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_schedule"),
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secret"),
    )
    op.create_table(
        "watermark",
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=32), nullable=False),
        sa.Column("feed", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("system", "entity", "feed", name="pk_watermark"),
    )
    op.create_table(
        "open_field",
        sa.Column("link_id", Id, nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=64), server_default="", nullable=False),
        sa.Column("cause_params", Json),
        sa.Column("waiting_on", sa.String(length=255)),
        sa.Column("erp_seen", Json),
        sa.Column("crm_seen", Json),
        sa.Column("side", sa.String(length=3)),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double()),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name="fk_open_field_link_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("link_id", "field", name="pk_open_field"),
    )
    op.create_index("ix_open_field_waiting_on", "open_field", ["waiting_on"])

    op.create_table(
        "run_row",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("link_id", Id),
        sa.Column("detail", Json),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_row_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_run_row"),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_session_account_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)

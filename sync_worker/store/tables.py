"""The tables (SQLAlchemy Core). SQL is the truth; the queue only rings.

Times are seconds since 1970, UTC, as double precision: one representation that orders the same on SQLite and
PostgreSQL (docs/adr). JSON columns hold canonical values, never secrets.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Id = BigInteger().with_variant(Integer, "sqlite")
_OF_RUNS = text("run_id IS NOT NULL")
_DUE = text("due_at IS NOT NULL")  # links at rest, nearly all, stand in no list of what is due


def _time(name: str, **kw: bool) -> Column[float]:
    return Column(name, Double, **kw)  # type: ignore[arg-type]


# Inbox: append-only, one row per accepted notice.
event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("system", String(64), nullable=False),
    Column("entity", String(32), nullable=False),
    Column("key", String(255), nullable=False),
    Column("op", String(16), nullable=False),
    Column("via", String(16), nullable=False),
    Column("notice_id", String(255)),
    _time("at"),
    _time("received_at", nullable=False),
    UniqueConstraint("system", "notice_id"),
    Index("ix_event_record", "system", "entity", "key"),
    Index("ix_event_received_at", "received_at"),
)

# The work list, the mapping table and the status page: one row per record and flow.
link = Table(
    "link",
    metadata,
    Column("id", Id, primary_key=True),
    Column("flow", String(64), nullable=False),
    Column("entity", String(32), nullable=False),
    Column("erp_key", String(255)),
    Column("erp_ref", String(255), nullable=False, server_default=""),
    Column("crm_key", String(255)),
    Column("crm_ref", String(255), nullable=False, server_default=""),
    Column("is_default", Boolean, nullable=False, server_default="1"),  # E21: shared fields come from this link only
    # what each side held when they last agreed, canonical, in that side's own terms; null = never agreed
    Column("erp_was", Json),
    Column("crm_was", Json),
    # child rows shown by the record, as the connector reported them (part@type -> key)
    Column("erp_children", Json),
    Column("crm_children", Json),
    # per side and field: values replaced lately (E7), written and not yet confirmed (E11), bounces (E14)
    Column("memory", Json),
    Column("state", String(16), nullable=False, server_default="pending"),
    _time("state_at"),  # since when it is in this state; null: at rest since before this was written down
    Column("cause", String(64), nullable=False, server_default=""),
    Column("cause_params", Json),
    # counters raised by every reason to run, and how far a finished pass has seen them (E1)
    Column("erp_dirty", Integer, nullable=False, server_default="0"),
    Column("erp_done", Integer, nullable=False, server_default="0"),
    Column("erp_parts", Integer, nullable=False, server_default="0"),
    Column("crm_dirty", Integer, nullable=False, server_default="0"),
    Column("crm_done", Integer, nullable=False, server_default="0"),
    Column("crm_parts", Integer, nullable=False, server_default="0"),
    # trailing look per side: due once more after the vendor's stale window (E7)
    _time("erp_look_at"),
    _time("crm_look_at"),
    # first time a read said "no such record" (E8)
    _time("erp_gone_at"),
    _time("crm_gone_at"),
    _time("due_at"),
    Column("class", String(8), nullable=False, server_default="live", key="klass"),
    Column("attempts", Integer, nullable=False, server_default="0"),  # failed tries in a row: backoff
    Column("claims", Integer, nullable=False, server_default="0"),  # claimed without an end: poison (E4)
    _time("lease_until"),
    Column("lease_token", Integer, nullable=False, server_default="0"),
    Column("lease_owner", String(32)),  # the supervised process that claimed it last
    Column("unwritten_token", Integer),  # its token as long as no write was sent under it (ADR 15)
    Column(
        "may_create", String(16)
    ),  # permission to create (E19), cleared when linked: invoice, manual, insisted, import
    Column("intent", Json),  # open create (E18): side, key, write_number, payload, opened_at, find_after
    _time("intent_at"),
    Column("intent_side", String(3)),
    Column("writes", Integer, nullable=False, server_default="0"),  # decisions to create so far: idempotency keys
    Column("was_linked_to", Json),  # after unlink: the other half's id and key (E20)
    _time("created_at", nullable=False),
    _time("noticed_at"),  # oldest notice not yet answered: latency from notice to done
    Column("run_id", Id),  # the run it is due for: what its passes do until it rests is journalled under that run
    _time("first_synced_at"),
    _time("last_synced_at"),
    UniqueConstraint("flow", "entity", "erp_key"),
    UniqueConstraint("flow", "entity", "crm_key"),
    Index("ix_link_due", "flow", "entity", "klass", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    Index("ix_link_due_at", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    Index("ix_link_state", "state"),
    Index("ix_link_crm", "entity", "crm_key"),
    Index("ix_link_erp", "entity", "erp_key"),
    Index("ix_link_intent", "flow", "entity", "intent_side", "intent_at"),
    Index("ix_link_run_id", "run_id", sqlite_where=_OF_RUNS, postgresql_where=_OF_RUNS),
    sqlite_autoincrement=True,  # the number of a half row that was absorbed is nobody else's: passes still hold it
)

open_field = Table(
    "open_field",
    metadata,
    Column("link_id", ForeignKey("link.id", ondelete="CASCADE"), primary_key=True),
    Column("field", String(64), primary_key=True),  # "" = the whole record
    Column("why", String(16), nullable=False),  # waiting, conflict, refused, stale
    Column("cause", String(64), nullable=False, server_default=""),
    Column("cause_params", Json),
    Column("waiting_on", String(255)),
    Column("erp_seen", Json),
    Column("crm_seen", Json),
    Column("side", String(3)),  # refused / stale: on which side
    _time("at", nullable=False),
    _time("until"),  # stale: when to look again
    Index("ix_open_field_waiting_on", "waiting_on"),
)

# Child rows and the record that shows them. owner_key "" = not known yet: due, a worker resolves it.
part = Table(
    "part",
    metadata,
    Column("id", Id, primary_key=True),
    Column("system", String(64), nullable=False),
    Column("entity", String(32), nullable=False),
    Column("key", String(255), nullable=False),
    Column("owner_key", String(255), nullable=False, server_default=""),
    _time("due_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    UniqueConstraint("system", "entity", "key", "owner_key"),
    Index("ix_part_due_at", "due_at"),
    Index("ix_part_owner", "system", "owner_key"),
)

# Every remote write and every change of a link: before and after per field. Also the audit of what people did.
journal = Table(
    "journal",
    metadata,
    Column("id", Id, primary_key=True),
    Column("link_id", Id),
    Column("flow", String(64), nullable=False),
    _time("at", nullable=False),
    Column("what", String(32), nullable=False),  # create, update, linked, unlinked, conflict, resolved, blocked, …
    Column("side", String(3)),  # side that was written
    Column("key", String(255)),
    Column("before", Json),  # {field: value} that was overwritten
    Column("after", Json),
    Column("why", Text, nullable=False, server_default=""),
    Column("actor", String(64), nullable=False, server_default="worker"),
    Column("run_id", Id),
    _time("noticed_at"),  # the oldest notice this answers: how long it took
    _time("read_at"),  # when the overwritten value was read: the window of E22
    Index("ix_journal_link_id", "link_id", "at"),
    Index("ix_journal_at", "at"),
    Index("ix_journal_run_id", "run_id", "link_id", sqlite_where=_OF_RUNS, postgresql_where=_OF_RUNS),
)

manager = Table(
    "manager",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("ref", String(255), nullable=False, server_default=""),
    Column("name", String(255), nullable=False, server_default=""),
    Column("email", String(255)),
    Column("active", Boolean, nullable=False, server_default="1"),
    _time("seen_at", nullable=False),
)

manager_map = Table(
    "manager_map",
    metadata,
    Column("flow", String(64), primary_key=True),
    Column("erp_key", String(255), primary_key=True),
    Column("crm_key", String(255), nullable=False),
    Column("preferred", Boolean, nullable=False, server_default="0"),
    # whose keys these are: waits name the system, not the side
    Column("erp_system", String(64), nullable=False, server_default=""),
    Column("crm_system", String(64), nullable=False, server_default=""),
    Column("actor", String(64), nullable=False, server_default=""),
    _time("at", nullable=False),
    Index("ix_manager_map_crm", "flow", "crm_key"),
)

watermark = Table(
    "watermark",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("entity", String(32), primary_key=True),
    Column("feed", String(32), primary_key=True),
    Column("value", Text),
    _time("at", nullable=False),
)

# When each flow was switched on (vendor stamps before that are no notices) and what it looked like then.
flow_state = Table(
    "flow_state",
    metadata,
    Column("flow", String(64), primary_key=True),
    _time("switched_on_at", nullable=False),
    Column("fingerprint", String(64), nullable=False, server_default=""),
)

run = Table(
    "run",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("flow", String(64), nullable=False),
    Column("params", Json),
    Column("actor", String(64), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("counts", Json),
    Column("position", Text),
    _time("started_at", nullable=False),
    _time("ended_at"),
)

run_row = Table(
    "run_row",
    metadata,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("link_id", Id),
    Column("detail", Json),
)

schedule = Table(
    "schedule",
    metadata,
    Column("name", String(128), primary_key=True),
    _time("due_at", nullable=False),
    _time("lease_until"),
    Column("lease_token", Integer, nullable=False, server_default="0"),
    _time("last_at"),
    Column("last_error", Text),
)

account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(255)),
    _time("created_at", nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    _time("expires_at", nullable=False),
)

# Encrypted values: OAuth tokens and what people typed as secrets.
secret = Table(
    "secret",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    _time("expires_at"),
    Column("version", Integer, nullable=False, server_default="0"),
    _time("at", nullable=False),
)

# Links by state are counted by deltas and folded once a second, so that no counter row is contended.
counter_delta = Table(
    "counter_delta",
    metadata,
    Column("id", Id, primary_key=True),
    Column("flow", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("delta", Integer, nullable=False),
)

# A paused system or flow: one row, the claim skips it.
pause = Table(
    "pause",
    metadata,
    Column("kind", String(8), primary_key=True),  # system, flow
    Column("name", String(64), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("text", Text, nullable=False, server_default=""),
    _time("since", nullable=False),
    _time("until"),  # null = until somebody or something resumes it
)

# What stands that somebody should know, and what of it each target (mail, webhook) was told.
alert = Table(
    "alert",
    metadata,
    Column("target", String(16), primary_key=True),
    Column("kind", String(16), primary_key=True),  # links, paused, lag, task
    Column("name", String(128), primary_key=True),  # of the flow, system or task
    Column("state", String(16), primary_key=True),  # of the links; else ""
    Column("cause", String(64), primary_key=True),
    _time("since", nullable=False),  # when it was first seen
    _time("ended_at"),  # when it was first seen to be gone; it may come back within a quarter of an hour
    _time("told_at"),  # null: not told yet
    Column("told_count", Integer, nullable=False, server_default="0"),  # messages that named it
)

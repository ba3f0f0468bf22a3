"""A link as a worker holds it: the row, its open fields, and the token that makes its writes count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, true

from mappings.merge import Open
from sync_worker.events import LinkClass, Side
from sync_worker.store.tables import link, open_field


@dataclass(slots=True)
class LinkRow:
    """One ``link`` row, mutable: a pass changes it and ``links.save`` stores it, if its token still counts.

    ``claimed``: the dirty counters at the claim; a pass answers for those and no later ones (E1). ``run_id``: the run
    that its passes belong to.
    """

    id: int
    flow: str
    entity: str
    erp_key: str | None = None
    erp_ref: str = ""
    crm_key: str | None = None
    crm_ref: str = ""
    is_default: bool = True
    erp_was: dict[str, Any] | None = None
    crm_was: dict[str, Any] | None = None
    erp_children: dict[str, str] | None = None
    crm_children: dict[str, str] | None = None
    memory: dict[str, Any] | None = None
    state: str = "pending"
    state_at: float | None = None
    cause: str = ""
    cause_params: dict[str, Any] | None = None
    erp_dirty: int = 0
    erp_done: int = 0
    erp_parts: int = 0
    crm_dirty: int = 0
    crm_done: int = 0
    crm_parts: int = 0
    erp_look_at: float | None = None
    crm_look_at: float | None = None
    erp_gone_at: float | None = None
    crm_gone_at: float | None = None
    due_at: float | None = None
    klass: LinkClass = "live"
    attempts: int = 0
    claims: int = 0
    lease_until: float | None = None
    lease_token: int = 0
    lease_owner: str | None = None
    unwritten_token: int | None = None
    may_create: str | None = None
    intent: dict[str, Any] | None = None
    intent_at: float | None = None
    intent_side: Side | None = None
    writes: int = 0
    was_linked_to: dict[str, Any] | None = None
    created_at: float = 0.0
    noticed_at: float | None = None
    run_id: int | None = None
    first_synced_at: float | None = None
    last_synced_at: float | None = None
    opens: dict[str, Open] = field(default_factory=dict)
    state_before: str = "pending"

    @property
    def linked(self) -> bool:
        return self.erp_key is not None and self.crm_key is not None

    @property
    def known_side(self) -> Side:
        """The side a half row has (``erp`` for a full one)."""
        return "erp" if self.erp_key is not None else "crm"

    def key(self, side: Side) -> str | None:
        return self.erp_key if side == "erp" else self.crm_key

    def ref(self, side: Side) -> str:
        return self.erp_ref if side == "erp" else self.crm_ref

    def was(self, side: Side) -> dict[str, Any]:
        return (self.erp_was if side == "erp" else self.crm_was) or {}

    def children(self, side: Side) -> dict[str, str]:
        return (self.erp_children if side == "erp" else self.crm_children) or {}

    def dirty(self, side: Side) -> int:
        return self.erp_dirty if side == "erp" else self.crm_dirty

    def noticed(self, side: Side) -> bool:
        """Has this side given notice that no finished pass has answered?"""
        return self.erp_dirty > self.erp_done if side == "erp" else self.crm_dirty > self.crm_done

    def parts(self, side: Side) -> int:
        return self.erp_parts if side == "erp" else self.crm_parts

    def look_at(self, side: Side) -> float | None:
        return self.erp_look_at if side == "erp" else self.crm_look_at

    def gone_at(self, side: Side) -> float | None:
        return self.erp_gone_at if side == "erp" else self.crm_gone_at

    def put(self, side: Side, **values: Any) -> None:
        """Set ``{side}_{name}`` for every name given."""
        for name, value in values.items():
            setattr(self, f"{side}_{name}", value)


def shown_state(state: str, due_at: float | None, now: float) -> str:
    """A link's state as people see it: a notice makes a record that was at rest pending until the worker was there."""
    return "pending" if state == "in_sync" and due_at is not None and due_at <= now else state


def shown_as(now: float, *, state: str | None = None, cause: str | None = None) -> ColumnElement[bool]:
    """Links that people see in this state, and with this cause (see ``shown_state``; its cause is ``new``)."""
    noticed = and_(link.c.state == "in_sync", link.c.due_at.is_not(None), link.c.due_at <= now)
    asked: list[ColumnElement[bool]] = []
    for column, wanted, instead in ((link.c.state, state, "pending"), (link.c.cause, cause, "new")):
        if wanted == instead:
            asked.append(or_(column == wanted, noticed))
        elif wanted is not None:
            asked += [column == wanted, ~noticed]
    return and_(true(), *asked)


def from_row(row: Sequence[Any]) -> LinkRow:
    """A ``LinkRow`` from a row of ``select(link)``."""
    made = LinkRow(*row)  # its fields are the table's columns, in order: by name this takes longer than the query
    made.state_before = made.state
    return made


def rows_of(conn: Connection, query: Select[Any]) -> list[LinkRow]:
    """The links that a ``select(link)`` finds, with their open fields."""
    found = [from_row(row) for row in conn.execute(query)]
    _load_opens(conn, found)
    return found


def _load_opens(conn: Connection, rows: list[LinkRow]) -> None:
    """Fill ``opens`` of these rows, in one query."""
    by_id = {row.id: row for row in rows}
    if not by_id:
        return
    for found in conn.execute(select(open_field).where(open_field.c.link_id.in_(by_id))).mappings():
        by_id[found["link_id"]].opens[found["field"]] = Open(
            found["why"],
            found["cause"],
            found["cause_params"] or {},
            found["waiting_on"],
            found["erp_seen"],
            found["crm_seen"],
            found["side"],
            found["until"],
        )


def open_values(row: LinkRow, now: float) -> list[dict[str, Any]]:
    """``open_field`` rows for what of a link is not at rest."""
    return [
        {
            "link_id": row.id,
            "field": name,
            "why": o.why,
            "cause": o.cause,
            "cause_params": dict(o.params) or None,
            "waiting_on": o.waiting_on,
            "erp_seen": o.erp_seen,
            "crm_seen": o.crm_seen,
            "side": o.side,
            "until": o.until,
            "at": now,
        }
        for name, o in row.opens.items()
    ]

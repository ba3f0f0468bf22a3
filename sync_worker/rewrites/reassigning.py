"""Whose account manager would change: after a changed mapping row (AM-7), and when a manager leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from sqlalchemy import ColumnElement, or_, select, true

from mappings.fields import Value
from mappings.merge import Missing
from sync_worker.engine.flow import Flow
from sync_worker.events import SIDES, Side
from sync_worker.rewrites.wishes import Wish, Wishes
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field

MANAGER = "account_manager"
PORTION = 500
APART = "reassigned"  # why both sides differ afterwards, where the other one names somebody else


def reapplied(db: Database, flow: Flow, erp_keys: Set[str] | None, after: int) -> Wishes:
    """Linked customers whose two managers do not stand for one another by the mapping as it is now.

    ``erp_keys``: only those of these ERP managers. The ERP's manager decides, unless the flow never writes the CRM's.
    What is open is left: a mapping row releases it. So is a manager that one side has emptied.
    """
    translate, in_step = flow.translator()
    source: Side = "erp" if flow.policy.may_write("crm", MANAGER) else "crm"
    target: Side = "crm" if source == "erp" else "erp"

    def wish(row: LinkRow) -> Wish | None:
        now = held(row)
        if MANAGER in row.opens or None in now.values() or in_step(MANAGER, now["erp"], now["crm"]):
            return None
        value = translate(MANAGER, source, now[source])
        if isinstance(value, Missing) or not flow.policy.may_write(target, MANAGER):
            return None
        erp_key = now["erp"] if source == "erp" else value
        if erp_keys is not None and erp_key not in erp_keys:
            return None
        return _wish(row, {target: value}, now)

    return _portions(db, flow, true(), wish, after)


def reassigned(
    db: Database, flow: Flow, leaving: Mapping[Side, Set[str]], successor: Mapping[Side, str], after: int
) -> Wishes:
    """Linked customers that name one of ``leaving`` on a side: the successor on both.

    Where the other side names somebody who is not theirs by the mapping, or nobody, it keeps that.
    """
    _, in_step = flow.translator()
    columns = {"erp": link.c.erp_was, "crm": link.c.crm_was}
    is_open = select(open_field.c.link_id).where(open_field.c.field == MANAGER)
    named = [columns[side][MANAGER].as_string().in_(sorted(leaving[side])) for side in SIDES]

    def wish(row: LinkRow) -> Wish | None:
        now = held(row)
        theirs = [side for side in SIDES if now[side] in leaving[side]]
        if not theirs:
            return None
        together = MANAGER in row.opens or in_step(MANAGER, now["erp"], now["crm"])
        sides = SIDES if together else theirs
        return _wish(row, {side: successor[side] for side in sides}, now)

    return _portions(db, flow, or_(*named, link.c.id.in_(is_open)), wish, after)


def has_customers(db: Database, flow: Flow, side: Side, key: str) -> bool:
    """Does any link of the flow name this manager as its past on that side?"""
    was = link.c.erp_was if side == "erp" else link.c.crm_was
    query = select(link.c.id).where(link.c.flow == flow.name, was[MANAGER].as_string() == key).limit(1)
    with db.read() as conn:
        return conn.execute(query).first() is not None


def held(row: LinkRow) -> dict[Side, Value]:
    """The manager on each side, as last seen; None for nobody."""
    parked = row.opens.get(MANAGER)
    values = {side: parked.seen(side) if parked else row.was(side).get(MANAGER) for side in SIDES}
    return {side: value.strip() or None if isinstance(value, str) else value for side, value in values.items()}


def _wish(row: LinkRow, values: dict[Side, Value], now: Mapping[Side, Value]) -> Wish:
    """Void where somebody has changed either side meanwhile."""
    take: dict[str, Any] = {"values": values, "if": dict(now), "blocked": APART}
    return Wish(row.id, row.flow, {MANAGER: take})


def _portions(
    db: Database, flow: Flow, which: ColumnElement[bool], wish: Callable[[LinkRow], Wish | None], after: int
) -> Iterator[tuple[int, list[Wish]]]:
    c = link.c
    linked = (c.flow == flow.name, c.entity == flow.entity, c.erp_key.is_not(None), c.crm_key.is_not(None))
    while True:
        with db.read() as conn:
            query = select(link).where(*linked, which, c.id > after).order_by(c.id).limit(PORTION)
            rows = rows_of(conn, query)
        if not rows:
            return
        after = rows[-1].id
        yield after, [one for one in map(wish, rows) if one is not None]

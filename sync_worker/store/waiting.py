"""What waits to be done, asked without claiming it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Double, Integer, bindparam, func, or_, select

from sync_worker.events import LinkClass, Side
from sync_worker.store.session import Database
from sync_worker.store.tables import link


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose work: a flow and entity, the systems it joins, and the flows that share its CRM records (E21)."""

    flow: str
    entity: str
    systems: tuple[str, str]
    shared_crm: tuple[str, ...] = ()


def due_counts(db: Database, now: float | None = None) -> list[tuple[str, str, LinkClass, int, float]]:
    """What is due and not leased: (flow, entity, class, links, oldest due)."""
    with db.read() as conn:
        at = db.now(conn) if now is None else now
        c = link.c
        rows = conn.execute(
            select(c.flow, c.entity, c.klass, func.count(), func.min(c.due_at))
            .where(c.due_at <= at, or_(c.lease_until.is_(None), c.lease_until <= at))
            .group_by(c.flow, c.entity, c.klass)
        )
        return [tuple(row) for row in rows]


def due_up_to(db: Database, scope: Scope, klass: LinkClass, most: int) -> int:
    """How many links of a flow and class wait to be claimed; more than ``most`` are not counted."""
    with db.read() as conn:
        values = {"flow": scope.flow, "entity": scope.entity, "klass": klass, "now": db.now(conn), "most": most}
        return len(conn.execute(_WAITING, values).all())


def intents_before(conn: Connection, flow: str, entity: str, side: Side, at: float) -> int:
    """Open creates towards ``side`` that were opened before ``at`` (E17)."""
    c = link.c
    wanted = select(func.count()).where(c.flow == flow, c.entity == entity, c.intent_side == side, c.intent_at <= at)
    return int(conn.execute(wanted).scalar_one())


def linked_keys(db: Database, flow: str, entity: str, side: Side, keys: Sequence[str]) -> set[str]:
    """Which of these keys stand on a full link already."""
    if not keys:
        return set()
    c = link.c
    column = c.erp_key if side == "erp" else c.crm_key
    whole = (c.erp_key.is_not(None), c.crm_key.is_not(None))
    with db.read() as conn:
        wanted = select(column).where(c.flow == flow, c.entity == entity, column.in_(list(keys)), *whole)
        return {str(key) for key in conn.execute(wanted).scalars()}


_now = bindparam("now", type_=Double)
_WAITING = (
    select(link.c.id)
    .where(
        link.c.flow == bindparam("flow"),
        link.c.entity == bindparam("entity"),
        link.c.klass == bindparam("klass"),
        link.c.due_at <= _now,
        or_(link.c.lease_until.is_(None), link.c.lease_until <= _now),
    )
    .limit(bindparam("most", type_=Integer))
)

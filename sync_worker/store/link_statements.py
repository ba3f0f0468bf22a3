"""The statements that claim and save links, put together once: for a small batch that costs as much as running them.

``b_ids`` is a list of link ids; rows are locked in id order (PostgreSQL).
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from sync_worker.store.tables import journal, link, open_field, pause

Suspicion = Literal["sound", "suspect", "poison"]
"""How much speaks for a record that brings workers down: each runs with its like, in smaller batches (E4)."""
SUSPECT = 2  # claims without an end: runs with few others
POISON = 3  # and after so many alone


@cache
def due(by_class: bool, by_ids: bool, suspicion: Suspicion) -> Select[tuple[int]]:
    """Ids of due links, longest due first: ``b_flow b_entity b_now b_limit``, and what the flags ask for."""
    c, now = link.c, bindparam("b_now", type_=Double)
    wanted = select(c.id).where(
        c.flow == bindparam("b_flow"),
        c.entity == bindparam("b_entity"),
        c.due_at <= now,
        or_(c.lease_until.is_(None), c.lease_until <= now),
        _claimed(suspicion),
    )
    if by_ids:
        wanted = wanted.where(c.id.in_(bindparam("b_ids", expanding=True)))
    if by_class:
        wanted = wanted.where(c.klass == bindparam("b_klass"))
    limit = bindparam("b_limit", type_=Integer)
    return wanted.order_by(c.due_at).limit(limit).with_for_update(skip_locked=True)


def _claimed(suspicion: Suspicion) -> ColumnElement[bool]:
    c = link.c
    if suspicion == "sound":
        return c.claims < SUSPECT
    return c.claims >= POISON if suspicion == "poison" else and_(c.claims >= SUSPECT, c.claims < POISON)


@cache
def claim(by_class: bool, by_ids: bool, suspicion: Suspicion) -> Executable:
    """Takes the links that ``due`` finds, until ``b_until``."""
    picked = due(by_class, by_ids, suspicion).cte("picked")
    return take(select(picked.c.id))


def take(ids: Select[tuple[int]]) -> Executable:
    """Leases these links to ``b_owner`` until ``b_until``: a new token, one more claim counted. Ids and tokens."""
    c = link.c
    values = {
        "lease_until": bindparam("b_until"),
        "lease_token": c.lease_token + 1,
        "lease_owner": bindparam("b_owner"),
        "unwritten_token": c.lease_token + 1,
        "claims": c.claims + 1,
    }
    return update(link).where(c.id.in_(ids)).values(values).returning(c.id, c.lease_token)


@cache
def release() -> Executable:
    """Ends the leases of ``b_owner`` at ``b_now`` where nothing was written under them, but not of what ran alone."""
    c, now = link.c, bindparam("b_now", type_=Double)
    held = select(c.id).where(
        c.due_at <= now,  # whatever is leased is due: this is what the index lists
        c.lease_until > now,
        c.lease_owner == bindparam("b_owner"),
        c.unwritten_token == c.lease_token,
        c.claims <= POISON,
    )
    ids = held.order_by(c.id).with_for_update().cte("held")
    return update(link).where(c.id.in_(select(ids.c.id))).values(lease_until=now).returning(c.id)


_ids = link.c.id.in_(bindparam("b_ids", expanding=True))
UPDATE = update(link).where(link.c.id == bindparam("b_id"))
PROLONG = update(link).where(_ids).values(lease_until=bindparam("b_until"))
TOKENS = select(link.c.id, link.c.lease_token).where(_ids).order_by(link.c.id).with_for_update()
COUNTERS = (
    select(*(link.c[name] for name in (
        "id", "lease_token", "erp_dirty", "crm_dirty", "erp_parts", "crm_parts", "due_at", "state", "klass",
        "may_create", "run_id", "erp_key", "crm_key", "intent_side", "intent_at",
    )))
    .where(_ids).order_by(link.c.id).with_for_update()
)  # fmt: skip
REOPEN = delete(open_field).where(open_field.c.link_id.in_(bindparam("b_ids", expanding=True)))
OPEN, JOURNAL = insert(open_field), insert(journal)
PAUSED = select(pause.c.kind, pause.c.name).where(
    or_(pause.c.until.is_(None), pause.c.until > bindparam("b_now", type_=Double))
)

"""Which of several links on one CRM record is its default, and that no two of them run at once (E21).

The shared fields and the record's own key columns come from the default link; the others keep their ids and manager.
The first link of a record is its default; when that one ends, the oldest of the others takes over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, delete, exists, func, insert, select, update

from mappings.canonical import NOT_SHARED
from mappings.memory import Memory
from sync_worker.store.session import Database, lock_crm_records, try_lock_crm_records
from sync_worker.store.tables import journal, link, open_field
from sync_worker.store.touches import Touched, touch_ids_in

_INT = Integer()
_FULL = and_(link.c.erp_key.is_not(None), link.c.crm_key.is_not(None))


# --- runs exclude each other by record --------------------------------------------------------------------------------


def record_free(sharing: Sequence[str], now: float) -> ColumnElement[bool]:
    """True for a link whose CRM record nobody works on through another flow."""
    same, c = link.alias("same"), link.c
    return ~exists().where(
        same.c.flow.in_(sharing),
        same.c.entity == c.entity,
        same.c.crm_key == c.crm_key,
        same.c.id != c.id,
        same.c.lease_until > now,
    )


def reserve(
    conn: Connection, entity: str, sharing: Sequence[str], picked: Select[tuple[int]], now: float
) -> Select[tuple[int]]:
    """Of the links picked to be claimed, those whose record is ours alone until this transaction ends.

    On PostgreSQL two flows may pick links of one record at the same instant: whoever gets the record's lock claims it,
    and a claim that was committed meanwhile shows in the last look.
    """
    c = link.c
    rows = conn.execute(picked.add_columns(c.crm_key)).all()
    free = try_lock_crm_records(conn, entity, [row.crm_key for row in rows if row.crm_key is not None])
    ids = [row.id for row in rows if row.crm_key is None or row.crm_key in free]
    return select(c.id).where(c.id.in_(ids), record_free(sharing, now))


def still_ours(conn: Connection, entity: str, sharing: Sequence[str], expired: Collection[int], now: float) -> set[int]:
    """Links whose lease ran out and may be taken up again: nobody works on their record through another flow."""
    if not expired:
        return set()
    picked = select(link.c.id).where(link.c.id.in_(expired))
    return {row.id for row in conn.execute(reserve(conn, entity, sharing, picked, now))}


# --- the default ------------------------------------------------------------------------------------------------------


def default_of(
    conn: Connection, entity: str, crm_key: str | None, sharing: Sequence[str], *, but: int = 0
) -> int | None:
    """The link of these flows that the shared fields of a CRM record come from."""
    c = link.c
    wanted = select(c.id).where(c.flow.in_(sharing), c.entity == entity, c.crm_key == crm_key, c.id != but)
    return conn.execute(wanted.where(c.is_default, _FULL).limit(1)).scalar_one_or_none()


def flow_elsewhere(db: Database, entity: str, crm_key: str | None, sharing: Sequence[str], *, but: int) -> str | None:
    """The flow whose link is a CRM record's default, other than the link ``but``."""
    with db.read() as conn:
        found = default_of(conn, entity, crm_key, sharing, but=but)
        return None if found is None else conn.execute(select(link.c.flow).where(link.c.id == found)).scalar_one()


def pass_on(
    conn: Connection, entity: str, crm_key: str, sharing: Sequence[str], why: str, now: float, *, but: int = 0
) -> tuple[Touched, ...]:
    """The default link (``but``) has ended: the oldest of the record's other links takes over, and is due."""
    c = link.c
    wanted = select(c.id).where(c.flow.in_(sharing), c.entity == entity, c.crm_key == crm_key, c.id != but, _FULL)
    oldest = wanted.order_by(c.first_synced_at.is_(None), c.first_synced_at, c.id).limit(1)
    heir = conn.execute(oldest.with_for_update()).scalar_one_or_none()
    return () if heir is None else take_over(conn, heir, why, now)


def take_over(conn: Connection, link_id: int, why: str, now: float, actor: str = "worker") -> tuple[Touched, ...]:
    """Make a link its record's default: its shared fields begin anew, as at a first link-up, and its ids are named."""
    touched = _hand_over(conn, link_id, is_default=True, now=now)
    _note(conn, link_id, "default", why, now, actor)
    return touched


def step_back(conn: Connection, link_id: int, why: str, now: float, actor: str = "worker") -> tuple[Touched, ...]:
    """Another link is the default from now on: only ids and manager stay shared; what else was open is closed."""
    touched = _hand_over(conn, link_id, is_default=False, now=now)
    o = open_field.c
    conn.execute(delete(open_field).where(o.link_id == link_id, o.field.not_in(["", *NOT_SHARED])))
    _note(conn, link_id, "not_default", why, now, actor)
    return touched


def _hand_over(conn: Connection, link_id: int, *, is_default: bool, now: float) -> tuple[Touched, ...]:
    """A worker that still holds the link loses it: what it did is journalled and looked at again (E3)."""
    c = link.c
    row = conn.execute(select(c.erp_was, c.crm_was, c.memory).where(c.id == link_id).with_for_update()).one()
    memory = Memory.load(row.memory).only(NOT_SHARED)
    if is_default:
        memory.ids_due["crm"] = True
    values = {
        "is_default": is_default,
        "erp_was": _only(row.erp_was),
        "crm_was": _only(row.crm_was),
        "memory": memory.dump(),
        "lease_token": c.lease_token + 1,
        "lease_until": None,
    }
    conn.execute(update(link).where(c.id == link_id).values(values))
    return touch_ids_in(conn, [link_id], now)


def _only(was: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (was or {}).items() if name in NOT_SHARED}


def _note(conn: Connection, link_id: int, what: str, why: str, now: float, actor: str) -> None:
    c = link.c
    row = conn.execute(select(c.flow, c.crm_key).where(c.id == link_id)).one()
    about = {"link_id": link_id, "flow": row.flow, "side": "crm", "key": row.crm_key}
    conn.execute(insert(journal).values(**about, at=now, what=what, why=why, actor=actor))


def heal(db: Database, entity: str, sharing: Sequence[str]) -> tuple[Touched, ...]:
    """Records without a default, after a flow was taken out of the configuration: the oldest link takes over."""
    c = link.c
    of_these = and_(c.flow.in_(sharing), c.entity == entity, _FULL)
    bereft = select(c.crm_key).where(of_these).group_by(c.crm_key).having(func.sum(c.is_default.cast(_INT)) == 0)
    with db.read() as conn:
        if conn.execute(select(c.id).where(of_these, ~c.is_default).limit(1)).first() is None:
            return ()
        keys = list(conn.execute(bereft).scalars())

    def work(conn: Connection) -> tuple[Touched, ...]:
        lock_crm_records(conn, entity, keys)
        touched: list[Touched] = []
        for key in keys:
            if default_of(conn, entity, key, sharing) is None:
                touched += pass_on(conn, entity, key, sharing, "its default link's flow is gone", db.now(conn))
        return tuple(touched)

    return db.run(work) if keys else ()

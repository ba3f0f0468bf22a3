"""Joining two half rows and splitting a link again (E17, E20). Always inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from sync_worker.events import Side, other
from sync_worker.store import counters
from sync_worker.store.rows import LinkRow, from_row
from sync_worker.store.tables import journal, link, open_field


def absorb(conn: Connection, row: LinkRow, side: Side) -> Literal["nobody", "absorbed", "busy"] | int:
    """E17: ``row`` is about to bring ``side``'s key; take over the half row that stands on it, counters included.

    "busy": that half row has an open create of its own; wait until it has ended. An int is the id of a full link that
    already holds the key: nothing may be stored.
    """
    c = link.c
    key_column = c[f"{side}_key"]
    found = conn.execute(
        select(link)
        .where(c.flow == row.flow, c.entity == row.entity, key_column == row.key(side), c.id != row.id)
        .with_for_update()
    ).first()
    if found is None:
        return "nobody"
    standing = from_row(found)
    if standing.linked:
        return standing.id
    if standing.intent is not None:
        return "busy"
    take(row, standing, side)
    drop(conn, [(standing.id, row.id)])
    counters.add(conn, {(row.flow, standing.state): -1})
    # The live counters are compared with the claimed ones at the end of a save: take the absorbed ones as live too.
    conn.execute(
        update(link).where(c.id == row.id).values({f"{side}_dirty": standing.dirty(side), f"{side}_parts": -1})
    )
    return "absorbed"


def take(row: LinkRow, standing: LinkRow, side: Side) -> None:
    """What ``row`` takes over of a half row that knows only ``side``: its notices, so that they are answered."""
    dirty = standing.dirty(side)
    done = standing.erp_done if side == "erp" else standing.crm_done
    row.put(side, dirty=dirty, done=min(done, dirty - 1), parts=-1, gone_at=None)
    row.noticed_at = min((t for t in (row.noticed_at, standing.noticed_at) if t is not None), default=None)
    row.run_id = row.run_id if row.run_id is not None else standing.run_id


def drop(conn: Connection, absorbed: Sequence[tuple[int, int]]) -> None:
    """Delete half rows that were taken over; their journal goes on under the other row: (its id, the other's id)."""
    if not absorbed:
        return
    ids = [old for old, _ in absorbed]
    moved = update(journal).where(journal.c.link_id == bindparam("b_old")).values(link_id=bindparam("b_new"))
    conn.execute(moved, [{"b_old": old, "b_new": new} for old, new in absorbed])
    conn.execute(delete(open_field).where(open_field.c.link_id.in_(ids)))
    conn.execute(delete(link).where(link.c.id.in_(ids)))


def split(conn: Connection, row: LinkRow, gone: Side, cause: str, params: dict[str, Any], now: float) -> int:
    """E20: the row keeps the side that remains; a new half row takes the other; both remember each other.

    Returns the id of the new half row. ``row`` is changed in place and must be saved by its holder.
    """
    stays = other(gone)
    values = {
        "flow": row.flow,
        "entity": row.entity,
        f"{gone}_key": row.key(gone),
        f"{gone}_ref": row.ref(gone),
        f"{gone}_was": row.was(gone) or None,
        "state": "unlinked",
        "state_at": now,
        "cause": cause,
        "cause_params": params,
        "was_linked_to": {"id": row.id, "key": row.key(stays), "ref": row.ref(stays)},
        "created_at": now,
        "may_create": None,
    }
    key, ref = row.key(gone), row.ref(gone)
    row.put(gone, key=None, ref="", was=None, children=None, gone_at=None, look_at=None)
    conn.execute(update(link).where(link.c.id == row.id).values({f"{gone}_key": None}))
    new_id = int(conn.execute(insert(link).values(values).returning(link.c.id)).scalar_one())
    row.was_linked_to = {"id": new_id, "key": key, "ref": ref}
    row.state, row.cause, row.cause_params = "unlinked", cause, params
    row.may_create, row.opens, row.memory, row.is_default, row.run_id = None, {}, None, True, None
    row.due_at = now if cause == "removed" else None  # who its partner may have been merged into is looked up
    counters.add(conn, {(row.flow, "unlinked"): 1})
    return new_id

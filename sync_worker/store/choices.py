"""What a person wants for fields of links, stored where the next pass finds it: a choice (``Memory.take``), a retry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from mappings.memory import Memory
from sync_worker.store.bulk import CHUNK
from sync_worker.store.tables import link, open_field


def choose_in(conn: Connection, takes: Mapping[int, Mapping[str, Any]], run_id: int | None = None) -> set[int]:
    """Link id -> field -> choice; returns the ids that are still there. ``run_id``: the run they are chosen for.

    A worker that holds one of the links loses it: it would store its own memory over the choice (E3).
    """
    c = link.c
    wanted = sorted(takes)
    found = conn.execute(
        select(c.id, c.memory, c.lease_token, c.run_id).where(c.id.in_(wanted)).order_by(c.id).with_for_update()
    ).all()
    for one in found:
        memory = Memory.load(one.memory)
        memory.take.update(takes[one.id])
        for name in takes[one.id]:
            memory.bounce.pop(name, None)
        values = {"memory": memory.dump(), "lease_token": one.lease_token + 1, "lease_until": None, "claims": 0}
        conn.execute(
            update(link).where(c.id == one.id).values(**values, run_id=one.run_id if run_id is None else run_id)
        )
    return {one.id for one in found}


def retry_in(conn: Connection, ids: Sequence[int]) -> None:
    """Let values that a vendor refused be tried once more (E15), on links whose rows the caller has locked.

    A worker that holds one of the links loses it: it would store its own refusals again (E3).
    """
    c, refused = link.c, open_field.c.why == "refused"
    for start in range(0, len(ids), CHUNK):
        some = open_field.c.link_id.in_(ids[start : start + CHUNK])
        freed = conn.execute(delete(open_field).where(some, refused).returning(open_field.c.link_id)).scalars().all()
        taken = update(link).where(c.id.in_(set(freed)), c.lease_until.is_not(None))
        conn.execute(taken.values(lease_token=c.lease_token + 1, lease_until=None, claims=0))


def forget_in(conn: Connection, link_id: int, memory: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> None:
    """Drop choices that no pass has come to. ``memory``: the link's, whose row is locked and free."""
    known = Memory.load(memory)
    left = {name: take for name, take in known.take.items() if name not in fields}
    if left != known.take:
        known.take = left
        conn.execute(update(link).where(link.c.id == link_id).values(memory=known.dump()))

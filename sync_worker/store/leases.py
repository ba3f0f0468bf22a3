"""Claiming links: lease and fencing token (E2, E3).

A claim takes a lease of ``LEASE`` seconds and a new token; every later write of that pass names the token, so a worker
whose lease ran out can no longer change the link: what it did is journalled and both sides are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from sync_worker.events import LinkClass
from sync_worker.store import defaults
from sync_worker.store import link_statements as sql
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database, Dumped, dumps
from sync_worker.store.tables import link
from sync_worker.store.waiting import Scope

LEASE = 30.0

FEW = 8
"""Suspect links in a batch: a kill may leave a hundred, and of a series of kills all may be sound (ADR 17)."""
SOUND_FIRST: Sequence[sql.Suspicion] = ("sound", "suspect", "poison")


def claim(
    db: Database,
    scope: Scope,
    *,
    klass: LinkClass | None = None,
    ids: Sequence[int] | None = None,
    limit: int = 1,
    kinds: Sequence[sql.Suspicion] = SOUND_FIRST,
    owner: str | None = None,
) -> list[LinkRow]:
    """Take due links of one flow and entity: those named, else the longest due of a class.

    Only links of one of ``kinds``, the first of which any are due: suspect ones few at a time, poison ones singly (E4).
    ``owner``: the process that works on them, if somebody will tell of its end (``release``).
    """

    def take(conn: Connection) -> dict[int, int]:
        now = db.now(conn)
        if _paused(conn, scope, now):
            return {}
        picked: dict[int, int] = {}
        for kind in kinds:
            most = {"sound": limit, "suspect": min(limit, FEW), "poison": 1}[kind]
            picked = picked or _claim(conn, scope, now, most, klass=klass, ids=ids, kind=kind, owner=owner)
        return picked

    return held(db, db.run(take))


def held(db: Database, tokens: Mapping[int, int]) -> list[LinkRow]:
    """The links of these ids that are still held under these tokens, as they are now, in id order.

    Read beside the transaction that claims: with SQLite, what one process reads in it keeps all others from writing.
    """
    if not tokens:
        return []
    with db.read() as conn:
        found = rows_of(conn, select(link).where(link.c.id.in_(tokens)).order_by(link.c.id))
    return [row for row in found if row.lease_token == tokens[row.id]]


def _paused(conn: Connection, scope: Scope, now: float) -> bool:
    return any(
        (kind == "flow" and name == scope.flow) or (kind == "system" and name in scope.systems)
        for kind, name in conn.execute(sql.PAUSED, {"b_now": now})
    )


def _claim(
    conn: Connection,
    scope: Scope,
    now: float,
    limit: int,
    *,
    klass: LinkClass | None,
    ids: Sequence[int] | None,
    kind: sql.Suspicion,
    owner: str | None,
) -> dict[int, int]:
    values: dict[str, Any] = {"b_flow": scope.flow, "b_entity": scope.entity, "b_now": now, "b_limit": limit}
    given = {"b_klass": klass, "b_ids": None if ids is None else list(ids)}
    values |= {name: value for name, value in given.items() if value is not None}
    lease = {"b_until": now + LEASE, "b_owner": owner}
    asked = (klass is not None, ids is not None, kind)
    if scope.shared_crm:
        wanted = sql.due(*asked).where(defaults.record_free(scope.shared_crm, now)).params(values)
        free = defaults.reserve(conn, scope.entity, scope.shared_crm, wanted, now)
        taken = conn.execute(sql.take(free), lease)
    else:
        taken = conn.execute(sql.claim(*asked), {**values, **lease})
    return {row.id: row.lease_token for row in taken}


def release(db: Database, owner: str) -> int:
    """Let go of what a process that has ended held and had sent no write for; returns how many links (ADR 15).

    What may have been written, and what ran alone (E4), is left to its lease.
    """

    def let_go(conn: Connection) -> int:
        return len(conn.execute(sql.release(), {"b_owner": owner, "b_now": db.now(conn)}).all())

    return db.run(let_go)


def renew(
    db: Database, rows: Iterable[LinkRow], tries: dict[int, dict[str, Any]] | None = None, *, scope: Scope | None = None
) -> set[int]:
    """Prolong the leases that still count; returns their ids. ``tries``: memory to store with it (writes about to be
    sent), so that a crash between a vendor's answer and our save is recognised by the next pass. ``scope``: one whose
    lease ran out does not count while another flow works on its CRM record (E21)."""
    wanted = {row.id: row.lease_token for row in rows}
    memories = {i: Dumped(dumps(memory)) for i, memory in (tries or {}).items()}

    def prolong(conn: Connection) -> set[int]:
        now = db.now(conn)
        until = now + LEASE
        held = _held(conn, wanted)
        if scope is not None and scope.shared_crm:
            expired = _expired(conn, held, now)
            held -= expired - defaults.still_ours(conn, scope.entity, scope.shared_crm, expired, now)
        kept = [
            {"b_id": i, "lease_until": until, "unwritten_token": None, "memory": m}
            for i, m in memories.items()
            if i in held
        ]
        rest = held.difference(memories)
        if kept:
            conn.execute(sql.UPDATE, kept)
        if rest:
            conn.execute(sql.PROLONG, {"b_ids": sorted(rest), "b_until": until})
        return held

    return db.run(prolong)


def _held(conn: Connection, wanted: dict[int, int]) -> set[int]:
    found = conn.execute(sql.TOKENS, {"b_ids": sorted(wanted)})
    return {i for i, token in found if wanted[i] == token}


def _expired(conn: Connection, ids: set[int], now: float) -> set[int]:
    c = link.c
    return set(conn.execute(select(c.id).where(c.id.in_(ids), c.lease_until <= now)).scalars())

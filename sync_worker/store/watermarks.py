"""How far each feed has been read, and since when each flow counts changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from sync_worker.events import SIDES, Side
from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database
from sync_worker.store.tables import flow_state, watermark


def get(db: Database, system: str, entity: str, feed: str) -> str | None:
    """The stored watermark; None before the first page."""
    c = watermark.c
    with db.read() as conn:
        return conn.execute(
            select(c.value).where(c.system == system, c.entity == entity, c.feed == feed)
        ).scalar_one_or_none()


def put_in(conn: Connection, system: str, entity: str, feed: str, value: str | None, now: float) -> None:
    """Move a watermark in the transaction that stores its page's rows: never ahead of them."""
    stmt = inserter(watermark, sqlite=conn.dialect.name == "sqlite").values(
        system=system, entity=entity, feed=feed, value=value, at=now
    )
    key = [watermark.c.system, watermark.c.entity, watermark.c.feed]
    conn.execute(stmt.on_conflict_do_update(index_elements=key, set_={"value": value, "at": now}))


def put(db: Database, system: str, entity: str, feed: str, value: str | None) -> None:
    """``put_in`` in a transaction of its own."""
    db.run(lambda conn: put_in(conn, system, entity, feed, value, db.now(conn)))


@dataclass(frozen=True, slots=True)
class Since:
    """When a flow was switched on, and since when its direction leads to each side (seconds since 1970)."""

    flow: float
    ways: Mapping[Side, float]


def switch_on(db: Database, flow: str, direction: str, *, keep: bool = True) -> Since:
    """When the flow was switched on: now, the first time it is asked for; then always the same.

    A way that a changed ``direction`` opens counts from now on, so that nothing old is pushed unasked (GUMU-15).
    Whole seconds, rounded down: so do the vendors stamp, and a record made in this very second is a new one.
    ``keep`` False only looks (single commands).
    """
    open_to = [side for side in SIDES if direction in ("both", f"to_{side}")]

    def work(conn: Connection) -> Since:
        now = float(math.floor(db.now(conn)))
        c = flow_state.c
        if keep:
            first = _written(dict.fromkeys(open_to, now))
            stmt = inserter(flow_state, sqlite=db.is_sqlite).values(flow=flow, switched_on_at=now, fingerprint=first)
            conn.execute(stmt.on_conflict_do_nothing())
        found = conn.execute(select(c.switched_on_at, c.fingerprint).where(c.flow == flow)).first()
        if found is None:
            return Since(now, dict.fromkeys(open_to, now))
        before = _read(found.fingerprint) if found.fingerprint else dict.fromkeys(SIDES, found.switched_on_at)
        ways = {side: before.get(side, now) for side in open_to}
        if keep and _written(ways) != found.fingerprint:
            conn.execute(update(flow_state).where(c.flow == flow).values(fingerprint=_written(ways)))
        return Since(found.switched_on_at, ways)

    if keep:
        return db.run(work)
    with db.read() as conn:
        return work(conn)


def _written(ways: Mapping[Side, float]) -> str:
    """The open ways as ``flow_state.fingerprint`` holds them: ``erp=1763838000 crm=1763838000``."""
    return " ".join(f"{side}={at:.0f}" for side, at in sorted(ways.items())) or "none"


def _read(fingerprint: str) -> dict[Side, float]:
    pairs = dict(part.partition("=")[::2] for part in fingerprint.split())
    return {side: float(pairs[side]) for side in SIDES if side in pairs}


def switched_on(db: Database) -> dict[str, float]:
    """Flow -> seconds since 1970 for every flow ever switched on: what ``Inbox`` is given."""
    with db.read() as conn:
        rows = conn.execute(select(flow_state.c.flow, flow_state.c.switched_on_at))
        return {row.flow: row.switched_on_at for row in rows}

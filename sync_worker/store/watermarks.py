"""How far each feed has been read, and since when each flow counts changes."""

from __future__ import annotations

import math

from sqlalchemy import Connection, select

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


def switch_on(db: Database, flow: str) -> float:
    """When the flow was switched on (seconds): now, the first time it is asked for; then always the same.

    Whole seconds, rounded down: so do the vendors stamp, and a record made in this very second is a new one.
    """

    def work(conn: Connection) -> float:
        stmt = inserter(flow_state, sqlite=db.is_sqlite).values(flow=flow, switched_on_at=math.floor(db.now(conn)))
        conn.execute(stmt.on_conflict_do_nothing())
        query = select(flow_state.c.switched_on_at).where(flow_state.c.flow == flow)
        return float(conn.execute(query).scalar_one())

    return db.run(work)


def switched_on(db: Database) -> dict[str, float]:
    """Flow -> seconds since 1970 for every flow ever switched on: what ``Inbox`` is given."""
    with db.read() as conn:
        rows = conn.execute(select(flow_state.c.flow, flow_state.c.switched_on_at))
        return {row.flow: row.switched_on_at for row in rows}

"""Links by state, counted by deltas so that no counter row is contended; folded about once a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, insert, select

from sync_worker.store.session import Database
from sync_worker.store.tables import counter_delta, link

Key = tuple[str, str]


def add(conn: Connection, deltas: Mapping[Key, int]) -> None:
    """Count changes of (flow, state) in the transaction that makes them."""
    rows = [
        {"flow": flow, "state": state, "delta": delta} for (flow, state), delta in sorted(deltas.items()) if delta != 0
    ]
    if rows:
        conn.execute(insert(counter_delta), rows)


def fold(db: Database) -> None:
    """Replace the deltas by their sums. Deltas committed meanwhile stay for the next time."""

    def work(conn: Connection) -> None:
        taken = conn.execute(
            delete(counter_delta).returning(counter_delta.c.flow, counter_delta.c.state, counter_delta.c.delta)
        ).all()
        sums: Counter[Key] = Counter()
        for flow, state, delta in taken:
            sums[flow, state] += delta
        add(conn, sums)

    db.run(work)


def recount(db: Database) -> None:
    """Count the links themselves and start over from that; for after a repair."""

    def work(conn: Connection) -> None:
        conn.execute(delete(counter_delta))
        found = conn.execute(select(link.c.flow, link.c.state, func.count()).group_by(link.c.flow, link.c.state))
        add(conn, {(flow, state): count for flow, state, count in found})

    db.run(work)


def by_state(db: Database) -> dict[Key, int]:
    """(flow, state) -> number of links; states nobody is in are left out."""
    total = func.sum(counter_delta.c.delta)
    query = (
        select(counter_delta.c.flow, counter_delta.c.state, total)
        .group_by(counter_delta.c.flow, counter_delta.c.state)
        .having(total != 0)
    )
    with db.read() as conn:
        return {(flow, state): int(count) for flow, state, count in conn.execute(query)}

"""What each target of alerts has been told, and what was seen meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from sync_worker.store.session import Database
from sync_worker.store.tables import alert

COLUMNS = tuple(column.name for column in alert.columns if column.name != "target")


def load(db: Database, target: str) -> list[dict[str, Any]]:
    """The rows of a target, each as its columns but ``target``, in the order of their keys."""
    c = alert.c
    query = select(*(c[name] for name in COLUMNS)).where(c.target == target).order_by(*alert.primary_key.columns)
    with db.read() as conn:
        return [dict(row) for row in conn.execute(query).mappings()]


def replace(db: Database, target: str, rows: Sequence[dict[str, Any]]) -> None:
    """From now on these are the target's rows."""

    def work(conn: Connection) -> None:
        conn.execute(delete(alert).where(alert.c.target == target))
        if rows:
            conn.execute(insert(alert), [{**row, "target": target} for row in rows])

    db.run(work)

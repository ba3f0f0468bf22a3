"""A manager is mapped for whom 10,000 customers wait: from the call to all of them due, on a durable SQLite file.

Commits are counted: the row, its journal entry and every release are one transaction.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, event, func, insert, select

from bench.figures import Figure, Size, at_most
from mappings.account_managers import waiting_key
from sync_worker.store import managers, migrate
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field

WAITING = 10_000
FLOW = "customers"
SECONDS = 2.0


def measure(size: Size) -> list[Figure]:
    """Seconds to release them, the median of several fresh databases."""
    took = []
    for _ in range(size.repeats):
        with tempfile.TemporaryDirectory(dir="var/bench") as folder:
            took.append(_release(Path(folder), size.of(WAITING)))
    name = f"managers map: {size.of(WAITING):,} waiting links released, all due"
    return [at_most(name, statistics.median(took), SECONDS, " s", "one transaction")]


def _release(folder: Path, count: int) -> float:
    url = f"sqlite:///{folder / 'sync.db'}"
    migrate.upgrade(url)
    db = Database(url)
    commits: list[object] = []
    counted = commits.append  # one object: it is what is removed again
    try:
        _fill(db, count)
        event.listen(Engine, "commit", counted)
        begun = time.perf_counter()
        released = managers.map_manager(db, FLOW, "E-12", "5", systems=("erp", "crm"), actor="bench")
        took = time.perf_counter() - begun
        event.remove(Engine, "commit", counted)
        with db.read() as conn:
            due = conn.execute(select(func.count()).where(link.c.due_at.is_not(None))).scalar_one()
    finally:
        db.close()
    assert len(released) == due == count, f"{len(released)} released, {due} due"
    assert len(commits) == 1, f"{len(commits)} transactions"
    return took


def _fill(db: Database, count: int) -> None:
    """As many again wait for somebody else, and stay."""
    rows = [
        {
            "id": n,
            "flow": FLOW,
            "entity": "customer",
            "erp_key": str(n),
            "crm_key": str(n),
            "created_at": 0.0,
            "state": "waiting",
        }
        for n in range(1, 2 * count + 1)
    ]
    field = {"field": "account_manager", "why": "waiting", "at": 0.0}
    waits = [
        {**field, "link_id": row["id"], "waiting_on": waiting_key("erp", "E-12" if row["id"] <= count else "E-13")}
        for row in rows
    ]
    with db.write() as conn:
        conn.execute(insert(link), rows)
        conn.execute(insert(open_field), waits)

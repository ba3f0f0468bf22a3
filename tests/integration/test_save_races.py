"""A save that brings a key, while a notice about that very key is being stored: on PostgreSQL both run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import insert, select, text

from support.waiting import until
from sync_worker.store import links
from sync_worker.store.links import Save, Scope
from sync_worker.store.session import Database
from sync_worker.store.tables import link

SCOPE = Scope("customers", "customer", ("erp", "crm"), ())


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """With real time: the race is one between real transactions."""
    database = Database(database_url, durable=False)
    yield database
    database.close()


def half_row(**key: str | int) -> dict[str, object]:
    now = time.time() - 1
    return {"flow": "customers", "entity": "customer", "state": "pending", "due_at": now, "created_at": now, **key}


def blocked(db: Database) -> bool:
    """Whether some transaction waits for another one."""
    with db.read() as conn:
        return bool(conn.execute(text("select count(*) from pg_locks where not granted")).scalar_one())


def test_e17_a_half_row_that_appears_while_its_key_is_being_saved_is_absorbed(db: Database, database_url: str) -> None:
    db.run(lambda conn: conn.execute(insert(link).values(half_row(erp_key="7", erp_dirty=1))))
    [row] = links.claim(db, SCOPE, limit=1)
    row.crm_key, row.state, row.due_at = "43", "in_sync", None
    saved: list[links.Saved] = []
    saving = threading.Thread(target=lambda: saved.append(links.save(db, [Save(row, brings="crm")])))
    other = Database(database_url, durable=False)
    with other.write() as conn:
        conn.execute(insert(link).values(half_row(crm_key="43", crm_dirty=3)))
        saving.start()
        if not db.is_sqlite:
            until(lambda: blocked(db))
    saving.join(20)
    other.close()
    assert [one.lost | one.taken.keys() | one.busy for one in saved] == [set()]
    with db.read() as conn:
        rows = conn.execute(select(link.c.erp_key, link.c.crm_key, link.c.crm_dirty)).all()
    assert [tuple(one) for one in rows] == [("7", "43", 3)]

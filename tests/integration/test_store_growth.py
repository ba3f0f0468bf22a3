"""A pass is as cheap among a million links as among ten: what is due is listed apart, and nothing is listed anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Executable, event, insert

from mappings.merge import Missing
from sync_worker.events import Change
from sync_worker.store import leases, links, migrate, waiting
from sync_worker.store import link_statements as sql
from sync_worker.store.inbox import Inbox, Listener
from sync_worker.store.saves import Save
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.store.waiting import Scope
from sync_worker.wiring import manager_translator

SCOPE = Scope("customers", "customer", ("erp", "crm"))
LISTED = ("erp_key", "crm_key", "state", "intent_side", "intent_at")


@pytest.fixture
def db(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'sync.db'}")
    migrate.upgrade(str(made.url))
    with made.write() as conn:
        row = {"flow": "customers", "entity": "customer", "state": "in_sync", "created_at": 0.0}
        conn.execute(insert(link), [{**row, "erp_key": str(n), "crm_key": str(n)} for n in range(1, 51)])
    return made


def plan_of(db: Database, statement: Executable) -> str:
    compiled = statement.compile(dialect=db._reader.dialect)  # type: ignore[attr-defined]
    with db.read() as conn:
        rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", tuple(1 for _ in compiled.positiontup)).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("kind", leases.SOUND_FIRST)
def test_a_claim_goes_by_the_list_of_due_links(db: Database, kind: sql.Suspicion) -> None:
    plan = plan_of(db, sql.due(True, False, kind))
    assert "ix_link_due " in plan, plan
    assert "SCAN" not in plan


def test_the_ringers_look_goes_by_the_list_of_due_links(db: Database) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_conn: object, _cursor: object, statement: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((statement, values))

    event.listen(db._reader, "before_cursor_execute", note)
    assert waiting.due_counts(db) == []
    event.remove(db._reader, "before_cursor_execute", note)
    ((statement, values),) = [one for one in asked if one[0].startswith("SELECT")]
    with db.read() as conn:
        plan = " ".join(str(row[-1]) for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
    assert "ix_link_due" in plan, plan


def test_a_pass_that_changes_no_key_and_no_state_writes_no_list_anew(db: Database) -> None:
    ear = Listener("customers", "customer", "crm", "crm", {"customer": 1})
    Inbox(db, [ear]).accept([Change("crm", "customer", "7")])
    (row,) = leases.claim(db, SCOPE, klass="live")
    row.crm_was, row.due_at = {"name": "New"}, None
    updates: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        updates.append(statement)

    event.listen(db._writer, "before_cursor_execute", note)
    links.save(db, [Save(row)])
    (update,) = [one for one in updates if one.startswith("UPDATE link")]
    assert "crm_was" in update
    assert [name for name in LISTED if re.search(rf"\b{name}=", update)] == []
    with db.read() as conn:
        assert conn.execute(link.select().where(link.c.crm_key == "7")).one().crm_was == {"name": "New"}


def test_a_pass_that_changes_a_state_stores_it(db: Database) -> None:
    ear = Listener("customers", "customer", "crm", "crm", {"customer": 1})
    Inbox(db, [ear]).accept([Change("crm", "customer", "7")])
    (row,) = leases.claim(db, SCOPE, klass="live")
    row.state, row.cause, row.due_at = "failing", "refused", None
    links.save(db, [Save(row)])
    with db.read() as conn:
        assert conn.execute(link.select().where(link.c.crm_key == "7")).one().state == "failing"


def test_a_batch_reads_the_managers_mapping_once_and_only_if_it_compares_a_manager(db: Database) -> None:
    asked: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM manager_map" in statement:
            asked.append(statement)

    event.listen(db._reader, "before_cursor_execute", note)
    to_other, in_step = manager_translator(db, "customers", {"erp": "intacct", "crm": "sage_crm"})
    assert to_other("name", "erp", "Anything") == "Anything"
    assert not in_step("name", "Anything", "Anything")
    assert asked == []
    assert not in_step("account_manager", "E1", "7")
    assert to_other("account_manager", "erp", "E1") == Missing("account_manager:intacct:E1", "manager_unmapped")
    assert len(asked) == 1

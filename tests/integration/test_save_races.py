"""A save that brings a key, while a notice about that very key is being stored: on PostgreSQL both run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import insert, select, text, update

from support.waiting import until
from sync_worker.store import leases, links
from sync_worker.store.saves import Gone, Save, Saved
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.store.waiting import Scope

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
    [row] = leases.claim(db, SCOPE, limit=1)
    row.crm_key, row.state, row.due_at = "43", "in_sync", None
    saved: list[Saved] = []
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


def test_e3_the_number_of_an_absorbed_half_row_is_given_to_nobody_else_while_a_pass_over_it_goes_on(
    db: Database,
) -> None:
    keys = ({"erp_key": "7"}, {"crm_key": "43"})
    for key in keys:
        db.run(lambda conn, key=key: conn.execute(insert(link).values(half_row(**key))))
    creating, echo = leases.claim(db, SCOPE, limit=2)
    creating.crm_key, creating.state, creating.due_at = "43", "in_sync", None
    links.save(db, [Save(creating, brings="crm")])  # absorbs the row that our own create's notice has made
    db.run(lambda conn: conn.execute(insert(link).values(half_row(erp_key="8"))))
    [newcomer] = leases.claim(db, SCOPE, limit=1)
    assert newcomer.erp_key == "8" and newcomer.id != echo.id
    echo.state, echo.due_at = "conflict", None
    assert links.save(db, [Save(echo)]).lost == {echo.id}
    with db.read() as conn:
        rows = conn.execute(select(link.c.erp_key, link.c.crm_key, link.c.state).order_by(link.c.id)).all()
    assert [tuple(one) for one in rows] == [("7", "43", "in_sync"), ("8", None, "pending")]


def test_e2_leases_are_prolonged_again_after_a_deadlock_with_somebody_who_touches_the_same_links(
    db: Database, database_url: str
) -> None:
    for key in ("7", "8"):
        db.run(lambda conn, key=key: conn.execute(insert(link).values(half_row(erp_key=key))))
    rows = leases.claim(db, SCOPE, limit=2)
    held: list[set[int]] = []
    prolonging = threading.Thread(target=lambda: held.append(leases.renew(db, rows)))
    other = Database(database_url, durable=False)
    with other.write() as conn:
        if not db.is_sqlite:
            conn.execute(text("SET LOCAL deadlock_timeout = '20s'"))  # it is not this one that is ended
        conn.execute(update(link).where(link.c.id == rows[1].id).values(erp_dirty=1))
        prolonging.start()
        if not db.is_sqlite:
            until(lambda: blocked(db))
        conn.execute(update(link).where(link.c.id == rows[0].id).values(erp_dirty=1))
    prolonging.join(20)
    other.close()
    assert held == [{row.id for row in rows}]


def test_e2_what_a_dead_workers_last_commit_says_is_about_to_be_written_is_not_let_go(
    db: Database, database_url: str
) -> None:
    db.run(lambda conn: conn.execute(insert(link).values(half_row(erp_key="7"))))
    [row] = leases.claim(db, SCOPE, owner="dead")
    let_go: list[int] = []
    releasing = threading.Thread(target=lambda: let_go.append(leases.release(db, "dead")))
    other = Database(database_url, durable=False)
    with other.write() as conn:  # the database still carries out what the worker asked for before it died
        conn.execute(update(link).where(link.c.id == row.id).values(unwritten_token=None))
        releasing.start()
        if not db.is_sqlite:
            until(lambda: blocked(db))
    releasing.join(20)
    other.close()
    assert let_go == [0]


# --- E21: two flows, one CRM record -----------------------------------------------------------------------------------

TWO = ("customers", "second")


def scope_of(flow: str) -> Scope:
    return Scope(flow, "customer", (flow, "crm"), TWO)


def at_the_same_time(*works: Callable[[], object]) -> None:
    """Every work in a thread of its own, all released at once."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        gate.wait(20)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result(30)


def defaults_by_record(db: Database) -> dict[str, int]:
    with db.read() as conn:
        rows = conn.execute(select(link.c.crm_key, link.c.is_default).where(link.c.erp_key.is_not(None))).all()
    found: dict[str, int] = {}
    for key, is_default in rows:
        found[key] = found.get(key, 0) + bool(is_default)
    return found


def test_e21_two_flows_that_link_one_crm_record_at_the_same_instant_make_one_default(
    db: Database, database_url: str
) -> None:
    rounds = 20
    other = Database(database_url, durable=False)
    for n in range(rounds):
        rows = [{**half_row(erp_key=str(n)), "flow": flow} for flow in TWO]
        db.run(lambda conn, rows=rows: conn.execute(insert(link), rows))  # type: ignore[misc]  # mypy cannot type lambda defaults
        works = []
        for flow, database in zip(TWO, (db, other), strict=True):
            [row] = leases.claim(database, scope_of(flow), limit=1)
            row.crm_key, row.state, row.due_at = f"4{n}", "in_sync", None
            save = Save(row, brings="crm", sharing=TWO)
            works.append(partial(links.save, database, [save]))
        at_the_same_time(*works)
    other.close()
    assert defaults_by_record(db) == {f"4{n}": 1 for n in range(rounds)}


def test_e21_two_flows_that_claim_one_crm_record_at_the_same_instant_never_both_get_it(
    db: Database, database_url: str
) -> None:
    other = Database(database_url, durable=False)
    keys = [str(n) for n in range(8)]
    rows = [{**half_row(erp_key=key, crm_key=f"4{key}"), "flow": flow} for key in keys for flow in TWO]
    db.run(lambda conn: conn.execute(insert(link), rows))
    taken: dict[str, list[str]] = {}

    def claim(flow: str, database: Database) -> None:
        for row in leases.claim(database, scope_of(flow), limit=20):
            taken.setdefault(str(row.crm_key), []).append(flow)

    for _ in range(15):
        taken.clear()
        at_the_same_time(partial(claim, TWO[0], db), partial(claim, TWO[1], other))
        assert [key for key, flows in taken.items() if len(flows) > 1] == []
        db.run(lambda conn: conn.execute(update(link).values(lease_until=None, claims=0)))
    other.close()


def test_e21_the_last_default_that_ends_and_a_link_that_begins_leave_one_default(
    db: Database, database_url: str
) -> None:
    other = Database(database_url, durable=False)
    for n in range(10):
        rows = [
            {**half_row(erp_key=f"1{n}", crm_key=f"4{n}"), "flow": TWO[0], "first_synced_at": 1.0},
            {**half_row(erp_key=f"2{n}", crm_key=None), "flow": TWO[1], "first_synced_at": None},  # type: ignore[arg-type]
        ]
        db.run(lambda conn, rows=rows: conn.execute(insert(link), rows))  # type: ignore[misc]  # as above
        [full] = leases.claim(db, scope_of(TWO[0]), limit=1)
        [half] = leases.claim(other, scope_of(TWO[1]), limit=1)
        half.crm_key, half.state, half.due_at = f"4{n}", "in_sync", None
        ends = Save(full, gone=Gone("erp", "removed", {}), sharing=TWO)
        begins = Save(half, brings="crm", sharing=TWO)
        at_the_same_time(partial(links.save, db, [ends]), partial(links.save, other, [begins]))
        db.run(lambda conn: conn.execute(update(link).values(due_at=None)))
    other.close()
    with db.read() as conn:
        found = conn.execute(select(link.c.crm_key, link.c.is_default).where(link.c.flow == TWO[1])).all()
    assert sorted(tuple(row) for row in found) == [(f"4{n}", True) for n in range(10)]


def test_e21_a_lease_that_ran_out_is_not_taken_up_again_while_another_flow_has_the_record(db: Database) -> None:
    rows = [{**half_row(erp_key="7", crm_key="43"), "flow": flow} for flow in TWO]
    db.run(lambda conn: conn.execute(insert(link), rows))
    [mine] = leases.claim(db, scope_of(TWO[0]), limit=1)
    db.run(lambda conn: conn.execute(update(link).where(link.c.id == mine.id).values(lease_until=time.time() - 1)))
    assert leases.renew(db, [mine], scope=scope_of(TWO[0])) == {mine.id}
    db.run(lambda conn: conn.execute(update(link).where(link.c.id == mine.id).values(lease_until=time.time() - 1)))
    [theirs] = leases.claim(db, scope_of(TWO[1]), limit=1)
    assert leases.renew(db, [mine], scope=scope_of(TWO[0])) == set()
    assert leases.renew(db, [theirs], scope=scope_of(TWO[1])) == {theirs.id}

"""What invoices leave in the tables, on SQLite and PostgreSQL: permissions, rows to be read, remembered drafts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from support.clock import FakeClock
from sync_worker.events import Change
from sync_worker.store import invoices, parts
from sync_worker.store.inbox import Accepted, Inbox, Listener
from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal, link, part

ERP = Listener("customers", "customer", "erp", "erp", {"customer": 1, "contact": 2}, invoices=True)
DEAF = Listener("branch", "customer", "erp", "erp", {"customer": 1, "contact": 2})


def final(customer: str, key: str = "9", *, notice: str | None = None, at: float | None = None) -> Change:
    return Change("erp", "invoice", key, "finalised", "webhook", notice, at, customer)


def unread(key: str, notice: str | None = None) -> Change:
    return Change("erp", "invoice", key, "updated", "webhook", notice)


def rows(db: Database, table: object = link) -> list[dict[str, object]]:
    with db.read() as conn:
        return [dict(row) for row in conn.execute(select(table)).mappings()]  # type: ignore[call-overload]


def test_lay_2_many_final_invoices_of_one_customer_at_one_moment_are_one_permission(db: Database) -> None:
    inbox = Inbox(db, [ERP])
    start = threading.Barrier(8)

    def tell(number: int) -> Accepted:
        start.wait(10)
        return inbox.accept([final("43", str(number))])

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(tell, range(8)))
    assert [accepted.events for accepted in told] == [1] * 8
    (row,) = rows(db)
    assert (row["erp_key"], row["may_create"], row["state"]) == ("43", "invoice", "pending")


def test_lay_2_a_repeated_notice_is_dropped(db: Database) -> None:
    inbox = Inbox(db, [ERP])
    assert inbox.accept([final("43", notice="n-1")]).events == 1
    assert inbox.accept([final("43", notice="n-1")]) == Accepted(0, (), 0)
    assert [row["erp_dirty"] for row in rows(db)] == [1]


def test_lay_2_only_the_flow_that_waits_for_invoices_hears_them(db: Database) -> None:
    Inbox(db, [DEAF, ERP]).accept([final("43")])
    assert [row["flow"] for row in rows(db)] == ["customers"]
    assert Inbox(db, [DEAF]).accept([final("44"), unread("9")]) == Accepted(0, (), 0)


def test_lay_2_an_invoice_dated_before_the_flow_is_no_notice_to_it(db: Database) -> None:
    inbox = Inbox(db, [ERP], switched_on={"customers": 1000.0})
    assert inbox.accept([final("43", at=999.0)]) == Accepted(0, (), 0)
    assert inbox.accept([final("43", at=1000.0)]).events == 1


def test_lay_2_a_permission_that_stands_is_not_given_again(db: Database) -> None:
    inbox = Inbox(db, [ERP])
    inbox.accept([final("43", "9")])
    assert inbox.accept([final("43", "10")]).touched == ()
    (said,) = rows(db, journal)
    assert (said["what"], said["key"], said["side"]) == ("final invoice", "9", "erp")


def test_an_invoice_and_its_customer_in_one_commit_are_one_link(db: Database) -> None:
    told = [final("43"), Change("erp", "customer", "43", "created", "webhook")]
    Inbox(db, [ERP]).accept(told)
    (row,) = rows(db)
    assert (row["may_create"], len(rows(db, event))) == ("invoice", 2)


def test_an_unread_invoice_is_due_until_it_is_answered(db: Database) -> None:
    inbox = Inbox(db, [ERP])
    assert inbox.accept([unread("9"), unread("10")]).unresolved == 2
    assert rows(db) == []
    claimed = parts.claim_parts(db, "erp")
    assert {(one.entity, one.key) for one in claimed} == {("invoice", "9"), ("invoice", "10")}
    db.run(lambda conn: invoices.answered_in(conn, claimed, {"9"}))
    assert [row["key"] for row in rows(db, part)] == ["10"]


def test_a_notice_that_comes_while_its_invoice_is_read_is_answered_anew(db: Database) -> None:
    inbox = Inbox(db, [ERP])
    inbox.accept([unread("9")])
    claimed = parts.claim_parts(db, "erp")
    inbox.accept([unread("9")])
    db.run(lambda conn: invoices.answered_in(conn, claimed, {"9"}))
    assert [one.key for one in parts.claim_parts(db, "erp")] == ["9"]


def test_an_invoice_that_stays_away_is_given_up_after_the_last_attempt(db: Database, clock: FakeClock) -> None:
    Inbox(db, [ERP]).accept([unread("9")])
    for _ in parts.BACKOFF:
        claimed = parts.claim_parts(db, "erp")
        assert [one.key for one in claimed] == ["9"]
        db.run(lambda conn, claimed=claimed: invoices.answered_in(conn, claimed, set()))  # type: ignore[misc]
        clock.advance(400)
    assert rows(db, part) == []


def test_drafts_are_remembered_once_never_due_and_forgotten(db: Database) -> None:
    for _ in range(2):
        db.run(lambda conn: invoices.remember_drafts_in(conn, "erp", {"9", "10"}))
    assert parts.due_systems(db) == []
    db.run(lambda conn: invoices.forget_drafts_in(conn, "erp", {"9"}))
    assert db.run(lambda conn: invoices.drafts_in(conn, "erp", {"9", "10"})) == {"10"}
    assert db.run(lambda conn: invoices.drafts_in(conn, "other", {"10"})) == set()

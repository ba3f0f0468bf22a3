"""Children nobody knows are resolved by a worker, with patience and an end."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from support.clock import FakeClock
from sync_worker.events import Change
from sync_worker.store import parts
from sync_worker.store.inbox import Inbox, Listener, Touched
from sync_worker.store.parts import BACKOFF, Child, claim_parts, due_systems, remember_parts
from sync_worker.store.session import Database
from sync_worker.store.tables import link, part

CRM = Listener("customers", "customer", "crm", "crm", {"customer": 1, "phone": 4})


@pytest.fixture
def inbox(db: Database) -> Inbox:
    return Inbox(db, [CRM])


def phone(key: str) -> Change:
    return Change("crm", "phone", key)


def resolve(db: Database, inbox: Inbox, found: dict[Child, list[str]]) -> tuple[Touched, ...]:
    return db.run(lambda conn: inbox.resolve_parts_in(conn, "crm", found))


def known(db: Database) -> set[tuple[Any, ...]]:
    with db.read() as conn:
        return {tuple(row) for row in conn.execute(select(part.c.entity, part.c.key, part.c.owner_key))}


def test_a_resolved_child_touches_all_parts_of_its_owners_and_is_known_from_then_on(db: Database, inbox: Inbox) -> None:
    inbox.accept([phone("77")])
    claim_parts(db, "crm", 10)
    touched = resolve(db, inbox, {("phone", "77"): ["43", "44"]})
    assert len(touched) == 2
    with db.read() as conn:
        rows = conn.execute(select(link.c.crm_key, link.c.crm_parts, link.c.due_at).order_by(link.c.id)).all()
        now = db.now(conn)
    assert [tuple(row) for row in rows] == [("43", -1, now), ("44", -1, now)]
    assert known(db) == {("phone", "77", "43"), ("phone", "77", "44")}
    assert len(inbox.accept([phone("77")]).touched) == 2


def test_a_claimed_child_is_not_claimed_again_until_its_backoff_is_over(
    db: Database, inbox: Inbox, clock: FakeClock
) -> None:
    inbox.accept([phone("77")])
    assert len(claim_parts(db, "crm", 10)) == 1
    clock.advance(BACKOFF[0] - 1)
    assert claim_parts(db, "crm", 10) == []
    assert due_systems(db) == []
    clock.advance(1)
    assert due_systems(db) == ["crm"]
    assert [row.attempts for row in claim_parts(db, "crm", 10)] == [2]


def test_a_child_that_is_nobodys_is_asked_for_five_times_and_then_dropped(
    db: Database, inbox: Inbox, clock: FakeClock
) -> None:
    inbox.accept([phone("77")])
    waits = []
    for wait in BACKOFF:
        assert [row.key for row in claim_parts(db, "crm", 10)] == ["77"]
        assert resolve(db, inbox, {("phone", "77"): []}) == ()
        waits.append(wait)
        clock.advance(wait)
    assert len(waits) == 5
    assert known(db) == set()


def test_a_worker_that_dies_with_a_claim_loses_nothing(db: Database, inbox: Inbox, clock: FakeClock) -> None:
    inbox.accept([phone("77")])
    for _ in range(len(BACKOFF) + 2):
        assert len(claim_parts(db, "crm", 10)) == 1
        clock.advance(BACKOFF[-1])


def test_a_new_notice_starts_the_attempts_over(db: Database, inbox: Inbox, clock: FakeClock) -> None:
    inbox.accept([phone("77")])
    for wait in BACKOFF[:-1]:
        claim_parts(db, "crm", 10)
        clock.advance(wait)
    inbox.accept([phone("77")])
    assert [row.attempts for row in claim_parts(db, "crm", 10)] == [1]
    resolve(db, inbox, {("phone", "77"): []})
    assert known(db) == {("phone", "77", "")}


def test_a_notice_between_claim_and_answer_is_looked_at_again(db: Database, inbox: Inbox) -> None:
    inbox.accept([phone("77")])
    claim_parts(db, "crm", 10)
    inbox.accept([phone("77")])
    resolve(db, inbox, {("phone", "77"): []})
    assert [row.key for row in claim_parts(db, "crm", 10)] == ["77"]


def test_claims_are_per_system_limited_and_oldest_first(db: Database, clock: FakeClock) -> None:
    erp = Listener("customers", "customer", "erp", "erp", {"customer": 1, "contact": 2})
    inbox = Inbox(db, [CRM, erp])
    for key in ("3", "1", "2"):
        inbox.accept([phone(key)])
        clock.advance(1)
    inbox.accept([Change("erp", "contact", "9")])
    assert due_systems(db) == ["crm", "erp"]
    assert [row.key for row in claim_parts(db, "crm", 2)] == ["3", "1"]
    assert [row.key for row in claim_parts(db, "crm", 2)] == ["2"]


def test_what_a_read_showed_replaces_what_was_known_of_that_owner_only(db: Database) -> None:
    with db.write() as conn:
        remember_parts(conn, "crm", {"43": {("phone", "1"), ("phone", "2")}})
        remember_parts(conn, "crm", {"44": {("phone", "1")}})
        remember_parts(conn, "crm", {"43": {("phone", "2"), ("person", "2")}})
    assert known(db) == {("phone", "2", "43"), ("person", "2", "43"), ("phone", "1", "44")}
    with db.write() as conn:
        remember_parts(conn, "crm", {"43": set()})
    assert known(db) == {("phone", "1", "44")}


def test_remembering_a_child_leaves_its_due_row_because_that_notice_may_be_younger(db: Database, inbox: Inbox) -> None:
    inbox.accept([phone("77")])
    with db.write() as conn:
        remember_parts(conn, "crm", {"43": {("phone", "77")}})
    assert known(db) == {("phone", "77", "43"), ("phone", "77", "")}
    assert len(claim_parts(db, "crm", 10)) == 1


def test_owners_of_many_children_are_looked_up_at_once(db: Database) -> None:
    with db.write() as conn:
        remember_parts(conn, "crm", {"43": {("phone", str(i)) for i in range(1500)}})
        found = parts.owners_in(conn, "crm", {("phone", str(i)) for i in range(2000)})
    assert len(found) == 1500
    assert set(map(tuple, found.values())) == {("43",)}

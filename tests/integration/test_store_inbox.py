"""The inbox: notices become durable events and due links, in one transaction (E1)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import func, select, update

from support.clock import FakeClock
from sync_worker.events import Change
from sync_worker.store import counters
from sync_worker.store.inbox import Accepted, Inbox, Listener
from sync_worker.store.parts import claim_parts, remember_parts
from sync_worker.store.session import Database
from sync_worker.store.tables import event, link

CRM = Listener("customers", "customer", "crm", "crm", {"customer": 1, "person": 2, "phone": 4})
ERP = Listener("customers", "customer", "erp", "erp", {"customer": 1, "contact": 2})


@pytest.fixture
def inbox(db: Database) -> Inbox:
    return Inbox(db, [CRM, ERP])


def notice(key: str, notice_id: str | None = None, **more: Any) -> Change:
    return Change(**{"system": "crm", "entity": "customer", "key": key, "notice_id": notice_id, **more})


def links(db: Database) -> list[dict[str, Any]]:
    with db.read() as conn:
        rows = conn.execute(select(link).order_by(link.c.id)).all()
        return [dict(zip(link.c.keys(), row, strict=True)) for row in rows]


def only(db: Database) -> dict[str, Any]:
    (row,) = links(db)
    return row


def count(db: Database, table: Any) -> int:
    with db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def rest(db: Database, **values: Any) -> None:
    with db.write() as conn:
        conn.execute(update(link).values(**values))


def test_e1_a_first_notice_makes_a_half_row_that_is_due_now(db: Database, inbox: Inbox, clock: FakeClock) -> None:
    accepted = inbox.accept([notice("43", "n1")], may_create="manual")
    row = only(db)
    assert (row["flow"], row["entity"], row["crm_key"], row["erp_key"]) == ("customers", "customer", "43", None)
    assert (row["state"], row["crm_dirty"], row["crm_parts"], row["erp_dirty"]) == ("pending", 1, 1, 0)
    assert row["due_at"] == row["created_at"] == row["noticed_at"] == clock.time
    assert (row["klass"], row["may_create"]) == ("live", "manual")
    assert [(t.link_id, t.flow, t.entity, t.klass) for t in accepted.touched] == [
        (row["id"], "customers", "customer", "live")
    ]
    assert (accepted.events, accepted.unresolved) == (1, 0)


def test_e1_each_later_notice_raises_the_counter_and_keeps_the_oldest_times(
    db: Database, inbox: Inbox, clock: FakeClock
) -> None:
    inbox.accept([notice("43")])
    started = clock.time
    clock.advance(5)
    inbox.accept([notice("43")])
    row = only(db)
    assert (row["crm_dirty"], row["due_at"], row["noticed_at"]) == (2, started, started)


def test_e1_a_notice_brings_a_later_due_time_forward(db: Database, inbox: Inbox, clock: FakeClock) -> None:
    inbox.accept([notice("43")])
    rest(db, due_at=clock.time + 600, noticed_at=None)
    clock.advance(5)
    inbox.accept([notice("43")])
    assert (only(db)["due_at"], only(db)["noticed_at"]) == (clock.time, clock.time)


def test_several_notices_of_one_record_in_a_call_are_one_touch(db: Database, inbox: Inbox) -> None:
    accepted = inbox.accept([notice("43", f"n{i}") for i in range(10)])
    assert accepted.events == 10
    assert len(accepted.touched) == 1
    assert only(db)["crm_dirty"] == 1


def test_a_repeated_notice_id_is_dropped_and_touches_nothing(db: Database, inbox: Inbox) -> None:
    first = inbox.accept([notice("43", "n1"), notice("43", "n1")])
    again = inbox.accept([notice("43", "n1"), notice("44", "n2")])
    assert (first.events, again.events, count(db, event)) == (1, 1, 2)
    assert [(row["crm_key"], row["crm_dirty"]) for row in links(db)] == [("43", 1), ("44", 1)]


def test_the_same_notice_id_of_another_system_is_another_notice(db: Database, inbox: Inbox) -> None:
    accepted = inbox.accept([notice("43", "n1"), notice("9", "n1", system="erp")])
    assert (accepted.events, len(accepted.touched)) == (2, 2)


def test_notices_without_an_id_are_never_dropped(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43"), notice("43")])
    inbox.accept([notice("43")])
    assert (count(db, event), only(db)["crm_dirty"]) == (3, 2)


def test_each_side_has_its_own_counter_on_a_linked_row(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43")])
    rest(db, erp_key="9")
    inbox.accept([notice("9", system="erp"), notice("43")])
    assert (only(db)["erp_dirty"], only(db)["crm_dirty"]) == (1, 2)


def test_every_listening_flow_gets_its_own_link(db: Database) -> None:
    other_flow = Listener("branch", "customer", "crm", "crm", {"customer": 1})
    accepted = Inbox(db, [CRM, other_flow]).accept([notice("43", "n1")])
    assert {t.flow for t in accepted.touched} == {"customers", "branch"}
    assert accepted.events == 1


def test_live_work_raises_the_class_and_bulk_work_never_lowers_that_of_due_work(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43")], klass="bulk")
    assert only(db)["klass"] == "bulk"
    inbox.accept([notice("43")], klass="live")
    inbox.accept([notice("43")], klass="bulk")
    assert only(db)["klass"] == "live"


def test_bulk_work_on_a_link_at_rest_is_bulk(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43")])
    rest(db, due_at=None)
    assert [t.klass for t in inbox.accept([notice("43")], klass="bulk").touched] == ["bulk"]


def test_e19_permission_to_create_is_kept_once_given_and_never_put_on_a_linked_row(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43")])
    inbox.accept([notice("43")], may_create="invoice")
    inbox.accept([notice("43")], may_create="manual")
    assert only(db)["may_create"] == "manual"  # a person's outweighs an invoice's
    inbox.accept([notice("43")], may_create="invoice")
    assert only(db)["may_create"] == "manual"
    rest(db, erp_key="9", may_create=None)
    inbox.accept([notice("43")], may_create="manual")
    assert only(db)["may_create"] is None


@pytest.mark.parametrize(
    "change",
    [
        notice("43", system="unheard"),
        notice("43", entity="opportunity"),
        notice("43", op="exploded"),
        notice(""),
        notice("x" * 256),
        notice("4\x003"),
        notice("\ud800"),
    ],
    ids=["system", "entity", "op", "no key", "long key", "NUL", "lone surrogate"],
)
def test_what_nobody_can_use_is_ignored_and_does_not_spoil_its_neighbours(
    db: Database, inbox: Inbox, change: Change
) -> None:
    accepted = inbox.accept([change, notice("44", "n1")])
    assert (accepted.events, count(db, event), only(db)["crm_key"]) == (1, 1, "44")
    assert inbox.accept([change]) == Accepted(0, (), 0)


@pytest.mark.parametrize("key", ["007", "O'Brien", '"; DROP TABLE link; --', "🙂", "شركة", "<script>", "x" * 255])
def test_keys_are_kept_to_the_letter(db: Database, inbox: Inbox, key: str) -> None:
    inbox.accept([notice(key, key)])
    inbox.accept([notice(key)])
    assert (only(db)["crm_key"], only(db)["crm_dirty"]) == (key, 2)


def test_an_unusable_notice_id_or_time_stamp_costs_no_notice(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice("43", "n" * 300, at=float("nan")), notice("43", "\x00", at=float("inf"))])
    with db.read() as conn:
        assert [tuple(row) for row in conn.execute(select(event.c.notice_id, event.c.at))] == [(None, None)] * 2


def test_e7_feed_rows_stamped_before_the_flow_was_switched_on_are_no_notices(db: Database) -> None:
    switched_on: dict[str, float] = {"customers": 1000.0}
    inbox = Inbox(db, [CRM], switched_on=switched_on)
    old = notice("43", via="poll", at=999.0)
    assert inbox.accept([old]) == Accepted(0, (), 0)
    assert count(db, event) == 0
    accepted = inbox.accept(
        [notice("44", via="poll", at=1000.0), notice("45", via="poll"), notice("46", via="manual", at=1.0)]
    )
    assert [row["crm_key"] for row in links(db)] == ["44", "45", "46"]
    assert accepted.events == 3
    switched_on["customers"] = 0.0
    assert inbox.accept([old]).events == 1


def test_new_links_are_counted_as_pending_and_touched_ones_are_not(db: Database, inbox: Inbox) -> None:
    inbox.accept([notice(str(i)) for i in range(5)])
    inbox.accept([notice(str(i)) for i in range(3, 8)] + [notice("9", system="erp")])
    assert counters.by_state(db) == {("customers", "pending"): 9}


def test_a_thousand_records_and_more_are_stored_in_one_call(db: Database, inbox: Inbox) -> None:
    accepted = inbox.accept([notice(str(i), f"n{i}") for i in range(2500)])
    assert (accepted.events, len({t.link_id for t in accepted.touched})) == (2500, 2500)


def test_a_failing_caller_leaves_neither_event_nor_link(db: Database, inbox: Inbox) -> None:
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        inbox.accept_in(conn, [notice("43", "n1")])
        _ = 1 / 0
    assert (count(db, event), links(db)) == (0, [])


def test_concurrent_callers_lose_no_notice_and_double_no_link(db: Database, inbox: Inbox) -> None:
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for turn in range(5):
                keys = [str((worker + turn + i) % 20) for i in range(20)]
                inbox.accept([notice(key, f"{worker}-{turn}-{key}") for key in keys])
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [row["crm_dirty"] for row in links(db)] == [30] * 20
    assert count(db, event) == 600
    assert counters.by_state(db) == {("customers", "pending"): 20}


def know(db: Database, owner: str, *children: tuple[str, str]) -> None:
    with db.write() as conn:
        remember_parts(conn, "crm", {owner: set(children)})


def test_a_known_child_touches_its_owner_with_the_childs_part(db: Database, inbox: Inbox) -> None:
    know(db, "43", ("phone", "77"), ("person", "5"))
    accepted = inbox.accept([notice("77", entity="phone"), notice("5", entity="person")])
    assert (only(db)["crm_key"], only(db)["crm_parts"], accepted.unresolved) == ("43", 6, 0)


def test_a_child_shown_by_several_records_touches_them_all(db: Database, inbox: Inbox) -> None:
    know(db, "43", ("person", "5"))
    know(db, "44", ("person", "5"))
    inbox.accept([notice("5", entity="person")])
    assert [row["crm_key"] for row in links(db)] == ["43", "44"]


@pytest.mark.parametrize("op", ["created", "deleted"])
def test_a_child_that_came_or_went_has_every_part_of_its_owner_read(db: Database, inbox: Inbox, op: str) -> None:
    know(db, "43", ("phone", "77"))
    inbox.accept([notice("77", entity="phone", op=op)])
    assert only(db)["crm_parts"] == -1


def test_an_unknown_child_touches_nothing_and_becomes_due_for_resolving(db: Database, inbox: Inbox) -> None:
    accepted = inbox.accept([notice("77", entity="phone"), notice("77", entity="phone", op="created")])
    assert (accepted.events, accepted.touched, accepted.unresolved) == (2, (), 1)
    assert links(db) == []
    (claimed,) = claim_parts(db, "crm", 10)
    assert (claimed.entity, claimed.key, claimed.attempts) == ("phone", "77", 1)


def test_the_same_child_key_of_another_entity_or_system_is_another_child(db: Database, inbox: Inbox) -> None:
    know(db, "43", ("phone", "77"))
    accepted = inbox.accept([notice("77", entity="person"), notice("77", entity="contact", system="erp")])
    assert (accepted.touched, accepted.unresolved) == ((), 2)


def test_an_entity_may_be_a_record_of_one_flow_and_a_child_in_another(db: Database) -> None:
    people = Listener("people", "person", "crm", "crm", {"person": 1})
    inbox = Inbox(db, [CRM, people])
    know(db, "43", ("person", "5"))
    accepted = inbox.accept([notice("5", entity="person", op="created")])
    assert {(row["flow"], row["crm_key"], row["crm_parts"]) for row in links(db)} == {
        ("customers", "43", -1),
        ("people", "5", 1),
    }
    assert accepted.unresolved == 0

"""LAY-2: the first final invoice pushes the customer. Drafts, repeats, races, failures and lost notices included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from support.rules import FLOW, Make, api_writes, calls, entries, in_the_past, rest, row_of, run_all, when, worlds
from support.world import World
from sync_worker import desk
from sync_worker.errors import SyncError
from sync_worker.store import leases, links
from sync_worker.store.saves import Gone, Save
from sync_worker.store.tables import event, part

TO_CRM = 'create_in_crm = "on_first_invoice"'
TO_ERP = 'create_in_erp = "on_first_invoice"'


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


def waiting_customer(world: World, name: str = "Fresh Ltd") -> str:
    """A customer of the ERP that waits for its first invoice."""
    key = world.new_erp(name, id=f"C-{name}")
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.cause) == ("not_synced", "needs_invoice")
    rest(world)
    return key


def invoice(world: World, customer: str, state: str = "posted") -> str:
    """A person in the ERP makes an invoice."""
    columns = {"customer.key": customer, "invoiceDate": "2026-11-22", "state": state}
    return world.erp.person("invoice", None, columns, "create")


def becomes(world: World, key: str, state: str) -> None:
    world.erp.person("invoice", key, {"state": state})


def announce(world: World, customer: str, key: str = "INV-9", **more: str) -> None:
    """The CRM's own invoicing says that an invoice is final."""
    world.crm.announce({"entity": "invoice", "key": key, "op": "finalised", "customer": customer, **more})


def partners(world: World, name: str = "Fresh Ltd") -> int:
    """How many companies of that name the CRM has."""
    return sum(r["Comp_Name"] == name and not r["Comp_Deleted"] for r in world.crm.list_records("Company"))


def customers(world: World, name: str = "Fresh Ltd") -> int:
    return sum(r["name"] == name for r in world.erp.list_records("customer"))


def told(world: World) -> list[tuple[str, str]]:
    """What was heard of invoices: (key, op)."""
    wanted = select(event.c.key, event.c.op).where(event.c.entity == "invoice").order_by(event.c.id)
    with world.db.read() as conn:
        return [(key, op) for key, op in conn.execute(wanted)]


def unread(world: World) -> list[str]:
    """Invoices that still have to be read."""
    with world.db.read() as conn:
        return list(conn.execute(select(part.c.key).where(part.c.entity == "invoice")).scalars())


# --- the plain cases -------------------------------------------------------------------------------------------------


def test_lay_2_the_first_posted_invoice_pushes_its_customer(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    invoice(world, key)
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.may_create, partners(world)) == ("in_sync", None, 1)
    (said,) = entries(world, "final invoice")
    assert (said["link_id"], said["side"]) == (row.id, "erp")
    assert [step["what"] for step in world.explain("erp", key)["timeline"]].count("final invoice on erp") == 1


def test_lay_2_a_draft_pushes_nobody_until_it_is_posted(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    drafted = invoice(world, key, "draft")
    world.settle()
    rest(world)
    assert (row_of(world, erp=key).state, partners(world), unread(world)) == ("not_synced", 0, [])
    becomes(world, drafted, "posted")
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


@pytest.mark.parametrize("state", ["reversed", "reversal", "noValue", "selected"])
def test_lay_2_an_invoice_that_is_not_final_pushes_nobody(make_light: Make, state: str) -> None:
    world = make_light(TO_CRM)
    key = waiting_customer(world)
    invoice(world, key, state)
    world.settle()
    assert row_of(world, erp=key).state == "not_synced"


@pytest.mark.parametrize("together", [True, False])
def test_lay_2_a_second_invoice_makes_no_second_customer(make: Make, together: bool) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    for _ in range(2):
        invoice(world, key)
        if not together:
            world.settle()
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)
    assert len(entries(world, "final invoice")) == 1


def test_lay_2_a_notice_that_is_repeated_and_polled_is_one_invoice(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    world.erp.faults.merge({"p_notice_doubled": 1.0})
    number = invoice(world, key)
    world.settle()
    world.poll()
    world.app.feeds.drain("erp")
    world.settle()
    assert partners(world) == 1
    assert told(world).count((number, "finalised")) == 1


def test_lay_2_two_invoices_at_one_moment_and_two_workers_make_one_customer(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    second = world.build()
    invoice(world, key)
    world.deliver()

    def meanwhile() -> None:
        invoice(world, key)
        world.deliver()
        second.engine.resolve_parts("erp")
        run_all(second)

    when(world.erp, "query invoice", meanwhile)
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)
    second.close()


def test_lay_2_a_second_invoice_while_the_create_is_under_way_makes_no_second_customer(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    second = world.build()
    invoice(world, key)

    def meanwhile() -> None:
        invoice(world, key)
        world.deliver()
        second.engine.resolve_parts("erp")
        run_all(second)

    when(world.crm, "write", meanwhile)
    world.settle()
    assert told(world).count(("2", "created")) == 1  # it did happen meanwhile
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)
    second.close()


# --- nothing is lost -------------------------------------------------------------------------------------------------


def test_lay_2_a_503_while_the_invoice_is_read_does_not_lose_the_permission(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    number = invoice(world, key)
    world.deliver()
    world.erp.faults.merge({"p_503": 1.0})
    with suppress(SyncError):
        world.app.engine.resolve_parts("erp")
    assert (unread(world), row_of(world, erp=key).may_create) == ([number], None)
    world.erp.faults.merge({"p_503": 0.0})
    world.settle()
    assert (row_of(world, erp=key).state, partners(world), unread(world)) == ("in_sync", 1, [])


def test_lay_2_a_503_while_the_customer_is_created_does_not_lose_the_permission(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    world.crm.faults.merge({"p_503": 1.0})
    invoice(world, key)
    world.deliver()
    world.work()
    assert (row_of(world, erp=key).may_create, partners(world)) == ("invoice", 0)
    world.crm.faults.merge({"p_503": 0.0})
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_a_permission_that_comes_in_the_middle_of_a_pass_is_kept(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    invoice(world, key)
    hooks = world.erp.take_notices()
    world.notice("erp", key)

    def meanwhile() -> None:  # the pass has claimed the link, and will find that it may not create
        world.erp.post_notice(hooks)
        world.deliver()
        world.app.engine.resolve_parts("erp")

    when(world.erp, "query customer", meanwhile)
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_a_draft_that_is_posted_while_it_is_read_is_read_again(make: Make) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    number = invoice(world, key, "draft")
    world.deliver()

    def meanwhile() -> None:  # the answer that is on its way still says draft
        becomes(world, number, "posted")
        world.deliver()

    when(world.erp, "query invoice", meanwhile, after=True)
    world.app.engine.resolve_parts("erp")
    assert unread(world) == [number]
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_a_lost_notice_heals_by_the_feed(make: Make) -> None:
    world = make(TO_CRM)
    world.poll()
    key = waiting_customer(world)
    invoice(world, key)
    world.erp.take_notices()
    world.settle()
    assert row_of(world, erp=key).state == "not_synced"
    world.poll()
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_the_event_queue_tells_of_invoices_too(make_light: Make) -> None:
    world = make_light(TO_CRM)
    key = waiting_customer(world)
    world.app.feeds.drain("erp")
    world.settle()
    invoice(world, key)
    world.erp.take_notices()
    world.app.feeds.drain("erp")
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_an_invoice_that_cannot_be_seen_yet_is_asked_for_again(make_light: Make) -> None:
    world = make_light(TO_CRM)
    key = waiting_customer(world)
    world.erp.faults.merge({"p_stale_read": 1.0, "stale_seconds": 15})
    number = invoice(world, key)
    world.deliver()
    world.work()
    assert unread(world) == [number]
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_an_invoice_that_never_existed_is_dropped_in_the_end(make_light: Make) -> None:
    world = make_light(TO_CRM)
    world.notice("erp", "4711", "created", "invoice")
    world.settle()
    assert unread(world) == []


@pytest.mark.parametrize("steps", range(0, 14))
def test_lay_2_a_worker_that_dies_at_any_step_makes_one_customer(make_light: Make, steps: int) -> None:
    world = make_light(TO_CRM)
    key = waiting_customer(world)
    invoice(world, key)
    with world.crashing_after(steps):
        world.deliver()
        world.work()
    invoice(world, key)
    world.settle()
    world.poll()
    world.settle()
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


# --- which ones count ------------------------------------------------------------------------------------------------


def test_lay_2_an_invoice_of_before_the_flow_counts_for_nothing_even_when_it_is_paid_now(make: Make) -> None:
    world = make(TO_CRM)
    with in_the_past(world):
        key = world.new_erp("Old Ltd", id="C-1")
        number = invoice(world, key)
    world.poll()
    world.settle()
    becomes(world, number, "paid")
    world.settle()
    world.poll()
    world.settle()
    assert (partners(world, "Old Ltd"), told(world)) == (0, [(number, "updated")])


def test_lay_2_a_draft_of_before_the_flow_counts_once_it_is_posted(make: Make) -> None:
    world = make(TO_CRM)
    with in_the_past(world):
        key = world.new_erp("Old Ltd", id="C-1")
        number = invoice(world, key, "draft")
    world.poll()  # the feed begins, and sees which drafts stand
    world.clock.advance(60)
    becomes(world, number, "posted")
    world.erp.take_notices()
    world.poll()
    world.settle()
    assert (row_of(world, erp=key).state, partners(world, "Old Ltd")) == ("in_sync", 1)


def test_lay_2_the_customer_may_be_older_than_the_flow_and_unknown_to_it(make: Make) -> None:
    world = make(TO_CRM)
    with in_the_past(world):
        key = world.new_erp("Old Ltd", id="C-1")
    assert world.links() == []
    invoice(world, key)
    world.settle()
    assert (row_of(world, erp=key).state, partners(world, "Old Ltd")) == ("in_sync", 1)


def test_lay_2_an_invoice_of_a_linked_customer_is_a_recorded_event_and_nothing_else(make: Make) -> None:
    world = make(f"{TO_CRM}\n{TO_ERP}")
    key = waiting_customer(world)
    invoice(world, key)
    world.settle()
    rest(world)
    row, before = row_of(world, erp=key), api_writes(world)
    for emulator in world.vendors.values():
        emulator.reset_stats()
    number = invoice(world, key)
    announce(world, str(row.crm_key))
    world.settle()
    assert told(world)[-3:] == [(number, "created"), ("INV-9", "finalised"), (number, "finalised")]
    assert row_of(world, erp=key) == row
    assert calls(world.crm) == {}
    assert calls(world.erp) == {"query invoice": 1}
    assert api_writes(world) == before


@pytest.mark.parametrize("who", ["unlinked", "removed"])
def test_lay_2_e19_an_invoice_does_not_revive_what_was_unlinked(make: Make, who: str) -> None:
    world = make(TO_CRM)
    key = waiting_customer(world)
    invoice(world, key)
    world.settle()
    rest(world)
    world.notice("erp", key)
    (row,) = leases.claim(world.db, world.app.flows[FLOW].scope, ids=[row_of(world, erp=key).id])
    company = str(row.crm_key)
    if who == "removed":
        world.crm.person("Company", company, {}, "delete")
    links.save(world.db, [Save(row, gone=Gone("crm", who, {"side": "crm"}))])
    world.settle()
    rest(world)
    number = invoice(world, key)
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.linked, row.may_create) == ("unlinked", False, None)
    assert partners(world) == (1 if who == "unlinked" else 0)
    said = world.explain("erp", key)
    assert said["next_step"]["what"].endswith(f"sync-worker sync erp {key}")
    assert said["timeline"][-1]["why"] == f"invoice {number}: unlinked: waits for a person"
    desk.sync_record(world.app, "erp", key)
    assert (row_of(world, erp=key).state, partners(world)) == ("in_sync", 1)


def test_lay_2_manual_sync_needs_no_invoice(make_light: Make) -> None:
    world = make_light(TO_CRM)
    key = waiting_customer(world)
    (shown,) = desk.sync_record(world.app, "erp", key)
    assert (shown["state"], partners(world)) == ("in_sync", 1)


def test_lay_2_a_namesake_waits_for_a_person_and_the_permission_stays(make_light: Make) -> None:
    world = make_light(TO_CRM, key_columns=False)
    with in_the_past(world):
        world.new_crm("Fresh Ltd")
    key = world.new_erp("Fresh Ltd", id="C-1")
    invoice(world, key)
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.may_create, partners(world)) == ("waiting", "invoice", 1)


@pytest.mark.parametrize("flow", ["", 'create_in_crm = "manual"', f'{TO_CRM}\ndirection = "to_erp"'])
def test_lay_2_flows_that_do_not_wait_for_invoices_ask_for_none(make_light: Make, flow: str) -> None:
    world = make_light(flow)
    key = world.new_erp("Fresh Ltd", id="C-1")
    world.settle()
    world.erp.reset_stats()
    invoice(world, key)
    world.settle()
    world.poll()
    world.app.feeds.drain("erp")
    assert calls(world.erp)["query invoice"] == 0
    assert told(world) == []
    assert not world.app.feeds.reads_invoices("erp")


def test_lay_2_the_feed_of_invoices_is_for_systems_that_can_show_them(make_light: Make) -> None:
    world = make_light(f"{TO_CRM}\n{TO_ERP}")
    assert world.app.feeds.reads_invoices("erp")
    assert not world.app.feeds.reads_invoices("crm")
    assert world.app.feeds.poll_invoices("crm") == ()


# --- the CRM's invoices: the notice says it all ----------------------------------------------------------------------


def waiting_company(world: World) -> str:
    key = world.new_crm("Fresh Ltd")
    world.settle()
    row = row_of(world, crm=key)
    assert (row.state, row.cause) == ("not_synced", "needs_invoice")
    return key


def test_lay_2_an_announced_invoice_of_the_crm_pushes_its_company(make: Make) -> None:
    world = make(TO_ERP)
    key = waiting_company(world)
    announce(world, key)
    world.settle()
    assert (row_of(world, crm=key).state, customers(world)) == ("in_sync", 1)
    assert calls(world.erp)["query invoice"] == 0


def test_lay_2_final_no_more_and_final_again_makes_no_second_customer(make: Make) -> None:
    world = make(TO_ERP)
    key = waiting_company(world)
    for _ in range(2):
        announce(world, key)
        world.settle()
    announce(world, key, "INV-10")
    announce(world, key, "INV-11")
    world.settle()
    assert (row_of(world, crm=key).state, customers(world)) == ("in_sync", 1)
    assert len(told(world)) == 4


def test_lay_2_an_announcement_dated_before_the_flow_counts_for_nothing(make_light: Make) -> None:
    world = make_light(TO_ERP)
    key = waiting_company(world)
    announce(world, key, at="2001-01-01T10:00:00Z")
    world.settle()
    assert (row_of(world, crm=key).state, told(world)) == ("not_synced", [])


def test_lay_2_a_company_nobody_has_heard_of_is_pushed_by_its_invoice(make: Make) -> None:
    world = make(TO_ERP)
    with in_the_past(world):
        key = world.new_crm("Fresh Ltd")
    announce(world, key)
    world.settle()
    assert (row_of(world, crm=key).state, customers(world)) == ("in_sync", 1)


def test_lay_2_an_announced_customer_that_does_not_exist_creates_nobody(make_light: Make) -> None:
    world = make_light(TO_ERP)
    announce(world, "999")
    world.settle()
    row: Any = row_of(world, crm="999")
    assert (row.state, row.cause) == ("unlinked", "removed")
    assert world.erp.list_records("customer") == []

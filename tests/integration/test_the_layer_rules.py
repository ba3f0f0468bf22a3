"""LAY-1, LAY-3, LAY-4, LAY-5 and LAY-7: The Layer through the connector ``rest``, its emulator and the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import entries, rest, row_of, run_all, when
from support.the_layer import LayerWorld, Make, layer_worlds, linked
from sync_worker.events import Change

BY_HAND = 'create_in_erp = "manual"\ncreate_in_crm = "never"\nnew_customer_id = "CRM-{crm_key}"'
MAIL = "contacts.default.email1"
MOBILE = "contacts.default.mobile"
FULL = {
    "email": "desk@northwind.example",
    "website": "http://northwind.example",
    "telephone": "+44 20 7946 0000",
    "vatNumber": "GB123456789",
    "mobile": "+44 7700 900001",
}


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from layer_worlds(tmp_path, database_url)


@pytest.fixture
def world(make: Make) -> LayerWorld:
    return make(BY_HAND)


# --- LAY-1: the customer goes first -----------------------------------------------------------------------------------


def test_lay_1_a_customer_that_was_refused_waits_with_its_cause_and_goes_once_it_is_corrected(
    world: LayerWorld,
) -> None:
    world.erp.faults.merge({"refuse": {"name": ["Northwind Tools"]}})
    key = world.new_layer("Northwind Tools")
    world.settle()
    world.sync_now(key)
    row = row_of(world, crm=key)
    assert (row.state, row.cause, row.erp_key) == ("failing", "refused", None)
    assert world.explain("crm", key)["next_step"]["what"]
    world.edit_layer(key, companyName="Northwind Tools Ltd")
    world.settle()
    rest(world)
    assert row_of(world, crm=key).state == "in_sync"
    assert world.erp_names() == ["Northwind Tools Ltd"]


def test_lay_1_a_push_that_fails_on_the_way_is_repeated_and_makes_one_customer(world: LayerWorld) -> None:
    key = world.new_layer("Northwind Tools")
    world.settle()
    world.erp.faults.fail_next.extend([{"operation": "create customer", "fault": "lost_after_apply"}] * 3)
    world.sync_now(key)
    rest(world)
    assert row_of(world, crm=key).state == "in_sync"
    assert world.erp_names() == ["Northwind Tools"]


# --- LAY-3: by hand, now ----------------------------------------------------------------------------------------------


def test_lay_3_a_manual_sync_creates_at_once_what_nothing_else_would(world: LayerWorld) -> None:
    key = world.new_layer("Northwind Tools", **FULL)
    world.settle()
    assert (row_of(world, crm=key).state, row_of(world, crm=key).cause) == ("not_synced", "needs_manual")
    world.sync_now(key)
    assert world.erp_of(key)["name"] == "Northwind Tools"


def test_lay_3_a_manual_sync_of_a_synced_customer_updates_it(world: LayerWorld) -> None:
    key = linked(world)
    world.crm.faults.merge({"notices_off": True})
    world.edit_layer(key, email="new@northwind.example")
    world.settle()
    assert not world.erp_of(key)[MAIL]
    world.sync_now(key)
    assert world.erp_of(key)[MAIL] == "new@northwind.example"
    assert len(world.erp_names()) == 1


def test_lay_3_a_failed_manual_sync_shows_why(world: LayerWorld) -> None:
    key = linked(world)
    world.erp.faults.merge({"refuse": {"taxId": ["GB1"]}})
    world.edit_layer(key, vatNumber="GB1")
    world.settle()
    told = world.explain("crm", key)
    assert told["state"] == "failing"
    assert [f["status"] for f in told["fields"] if f["name"] == "tax_number"] == ["refused"]


def test_lay_3_a_manual_sync_during_an_automatic_one_makes_no_second_customer(make: Make) -> None:
    world = make('create_in_crm = "never"')
    rival = world.build()
    key = world.new_layer("Northwind Tools")
    world.deliver()

    def by_hand() -> None:
        world.app.inbox.accept([Change("crm", "customer", key, "updated", "manual")], may_create="manual")
        run_all(rival)

    when(world.erp, "create customer", by_hand)
    world.settle()
    rest(world)
    assert world.erp_names() == ["Northwind Tools"]
    assert row_of(world, crm=key).state == "in_sync"


# --- LAY-4: a new one, unless it is there already ---------------------------------------------------------------------


def test_lay_4_an_unlinked_customer_that_resembles_nobody_becomes_a_new_sage_customer(world: LayerWorld) -> None:
    other = world.new_erp("Somebody Else", taxId="GB999999973")
    world.settle()
    key = linked(world, **FULL)
    assert row_of(world, crm=key).erp_key != other
    assert sorted(world.erp_names()) == ["Northwind Tools", "Somebody Else"]
    assert [entry["side"] for entry in entries(world, "create")] == ["erp"]


@pytest.mark.parametrize("alike", ["name", "VAT number"])
def test_lay_4_a_likely_match_is_held_for_a_person_with_its_candidates(make: Make, alike: str) -> None:
    world = make('create_in_crm = "never"')
    name, vat = ("Northwind Tools", "GB999999973") if alike == "name" else ("Another Name", "123456789")
    there = world.new_erp(name, taxId=vat)
    world.settle()
    key = world.new_layer("Northwind Tools", vatNumber="GB123456789")
    world.settle()
    row = row_of(world, crm=key)
    told = world.explain("crm", key)
    assert (row.state, row.cause, row.erp_key) == ("waiting", "match", None)
    assert [c["key"] for c in told["candidates"]] == [there]
    assert told["waiting_on"] == f"match:crm:{key}"
    assert world.erp_names() == [name]


def test_lay_4_who_insists_gets_a_new_customer_beside_the_likely_match(make: Make) -> None:
    world = make('create_in_crm = "never"')
    world.new_erp("Northwind Tools")
    world.settle()
    key = world.new_layer("Northwind Tools")
    world.settle()
    world.sync_now(key)
    rest(world)
    assert row_of(world, crm=key).state == "in_sync"
    assert world.erp_names() == ["Northwind Tools"] * 2


# --- LAY-5: which fields go -------------------------------------------------------------------------------------------


def test_lay_5_six_fields_go_and_the_address_does_not(world: LayerWorld) -> None:
    key = linked(world, **FULL, city="Leeds", line1="1 Mill Row")
    sent = world.erp_of(key)
    assert sent["name"] == "Northwind Tools"
    assert sent[MAIL] == "desk@northwind.example"
    assert sent["contacts.default.URL1"] == "http://northwind.example"
    assert sent["contacts.default.phone1"] == "+44 20 7946 0000"
    assert sent["taxId"] == "GB123456789"
    assert sent[MOBILE] == "+44 7700 900001"
    assert not sent.get("contacts.default.mailingAddress.city")
    assert not sent.get("contacts.default.mailingAddress.addressLine1")
    assert (world.layer_record(key)["/address/city"], world.layer_record(key)["/address/line1"]) == (
        "Leeds",
        "1 Mill Row",
    )


def test_lay_5_an_address_entered_in_intacct_stays_there(world: LayerWorld) -> None:
    key = linked(world, **FULL)
    world.edit_erp(str(row_of(world, crm=key).erp_key), **{"contacts.default.mailingAddress.city": "York"})
    world.settle()
    rest(world)
    assert world.layer_record(key)["/address/city"] is None
    assert row_of(world, crm=key).state == "in_sync"


def test_lay_5_a_mobile_entered_in_intacct_shows_on_the_main_contact(world: LayerWorld) -> None:
    key = linked(world)
    world.edit_erp(str(row_of(world, crm=key).erp_key), **{MOBILE: "+44 7700 900002"})
    world.settle()
    rest(world)
    assert world.layer_record(key)["/mainContact/mobile"] == "+44 7700 900002"


def test_lay_5_blank_optional_fields_make_a_customer_with_a_name_only(world: LayerWorld) -> None:
    key = linked(world)
    sent = world.erp_of(key)
    assert sent["name"] == "Northwind Tools"
    assert not any(sent.get(c) for c in (MAIL, MOBILE, "contacts.default.phone1", "contacts.default.URL1", "taxId"))


def test_lay_5_an_email_that_intacct_refuses_stops_that_field_only(world: LayerWorld) -> None:
    key = linked(world)
    world.erp.faults.merge({"refuse": {MAIL: ["desk@northwind"]}})
    world.edit_layer(key, email="desk@northwind", website="http://northwind.example")
    world.settle()
    rest(world)
    told = {f["name"]: f["status"] for f in world.explain("crm", key)["fields"]}
    assert (told["email"], told["website"]) == ("refused", "in_step")
    assert world.erp_of(key)["contacts.default.URL1"] == "http://northwind.example"


def test_lay_5_a_name_longer_than_intacct_takes_is_cut_and_comes_to_rest(make: Make) -> None:
    world = make(f"{BY_HAND}\n[flows.customers.fields]\nname = {{ max_erp = 20 }}")
    key = linked(world, "Northwind Tools and Machinery")
    assert world.erp_of(key)["name"] == "Northwind Tools and "[:20].strip()
    assert world.layer_record(key)["/companyName"] == "Northwind Tools and Machinery"
    assert row_of(world, crm=key).state == "in_sync"


# --- LAY-7: which Sage company ----------------------------------------------------------------------------------------


def test_lay_7_a_synced_customer_names_its_sage_company_and_ids(world: LayerWorld) -> None:
    key = linked(world)
    row, shown = row_of(world, crm=key), world.layer_record(key)
    assert (shown["/sage/companyName"], shown["/sage/customerId"]) == ("Acme UK", row.erp_key)
    assert shown["/sage/accountNumber"] == row.erp_ref


def test_lay_7_an_unsynced_customer_names_neither(world: LayerWorld) -> None:
    key = world.new_layer("Northwind Tools")
    world.settle()
    shown = world.layer_record(key)
    assert [shown[f"/sage/{name}"] for name in ("companyName", "customerId", "accountNumber")] == [None] * 3


def test_lay_7_ids_of_another_sage_company_link_nobody_here(make: Make) -> None:
    world = make('create_in_crm = "never"')
    there = world.new_erp("Quite Another")
    world.settle()
    key = world.new_layer("Northwind Tools", **{"sage/customerId": there, "sage/companyName": "Acme DE"})
    world.settle()
    rest(world)
    assert row_of(world, crm=key).erp_key != there


# --- LAY-2 (and LAY-1): the first finalised invoice -------------------------------------------------------------------

ON_INVOICE = 'create_in_erp = "on_first_invoice"\ncreate_in_crm = "never"'


def uninvoiced(make: Make) -> tuple[LayerWorld, str]:
    world = make(ON_INVOICE)
    key = world.new_layer("Northwind Tools", **FULL)
    world.settle()
    assert (row_of(world, crm=key).state, row_of(world, crm=key).cause) == ("not_synced", "needs_invoice")
    return world, key


def test_lay_2_the_first_finalised_invoice_pushes_its_customer_and_the_second_makes_none(make: Make) -> None:
    world, key = uninvoiced(make)
    world.invoice(key)
    world.settle()
    assert world.erp_of(key)["name"] == "Northwind Tools"
    world.invoice(key)
    world.settle()
    rest(world)
    assert world.erp_names() == ["Northwind Tools"]


def test_lay_2_a_draft_pushes_nobody_until_it_is_finalised_and_again_makes_no_second(make: Make) -> None:
    world, key = uninvoiced(make)
    number = world.invoice(key, "draft")
    world.settle()
    assert world.erp_names() == []
    for state in ("finalised", "draft", "finalised"):
        world.invoice(key, state, number)
        world.settle()
    rest(world)
    assert world.erp_names() == ["Northwind Tools"]


def test_lay_2_two_invoices_at_one_moment_and_every_notice_twice_make_one_customer(make: Make) -> None:
    world, key = uninvoiced(make)
    world.crm.faults.merge({"p_notice_doubled": 1.0})
    world.invoice(key)
    world.invoice(key)
    world.settle()
    rest(world)
    assert world.erp_names() == ["Northwind Tools"]
    assert row_of(world, crm=key).state == "in_sync"


def test_lay_1_an_invoice_whose_customer_is_refused_shows_the_cause_and_nothing_is_sent(make: Make) -> None:
    world, key = uninvoiced(make)
    world.erp.faults.merge({"refuse": {"name": ["Northwind Tools"]}})
    world.invoice(key)
    world.settle()
    assert (row_of(world, crm=key).state, row_of(world, crm=key).cause) == ("failing", "refused")
    assert world.erp_names() == []


def test_lay_4_a_likely_match_is_held_by_the_first_invoice_too(make: Make) -> None:
    world, key = uninvoiced(make)
    there = world.new_erp("Northwind Tools")
    world.settle()
    world.invoice(key)
    world.settle()
    assert row_of(world, crm=key).cause == "match"
    assert [c["key"] for c in world.explain("crm", key)["candidates"]] == [there]
    assert world.erp_names() == ["Northwind Tools"]


def test_lay_5_what_only_intacct_has_a_place_for_is_no_news_at_every_look(world: LayerWorld) -> None:
    key = linked(world, **FULL)
    world.edit_erp(str(row_of(world, crm=key).erp_key), **{"contacts.default.mailingAddress.city": "York"})
    world.settle()
    rest(world)
    for look in (world.poll, world.sweep):
        look()
        assert world.work() == 0

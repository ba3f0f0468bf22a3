"""GUMU-12: where the installation names an address type, only an address whose box of that type is ticked is sent."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from support.rules import FLOW, Make, Pair, field, rest, row_of, there
from support.world import World
from sync_worker import desk
from sync_worker.desk import importing, rewriting, verifying
from sync_worker.imports import Selection

TICK = "Sage Intacct"
CITY = "contacts.default.mailingAddress.city"
MANUAL = 'create_in_erp = "manual"'


@pytest.fixture
def make_ticking(make_light: Make) -> Make:
    return partial(make_light, crm=f'address_type = "{TICK}"')


def address(city: str, *, ticked: bool, primary: bool = False) -> dict[str, Any]:
    kind = TICK.upper() if ticked else "Business"
    return {"$isDefault": primary, "$type": kind, "Addr_Address1": "1 Mill Row", "Addr_City": city}


def promoted(world: World, *addresses: dict[str, Any]) -> Pair:
    crm = world.new_crm("Northwind Tools", Address=list(addresses))
    desk.sync_record(world.app, "crm", crm)
    rest(world)
    row = row_of(world, crm=crm)
    assert row.state == "in_sync" and row.erp_key is not None, world.explain("crm", crm)
    return Pair(row.erp_key, crm, row.id)


def sent(world: World, one: Pair) -> Any:
    return world.erp_record(one.erp)[CITY]


def address_key(world: World, city: str) -> str:
    (key,) = [str(r["Addr_AddressId"]) for r in world.crm.list_records("Address") if r["Addr_City"] == city]
    return key


def tick(world: World, one: Pair, city: str) -> None:
    columns = {"AdLi_AddressId": int(address_key(world, city)), "AdLi_CompanyID": int(one.crm), "AdLi_Type": TICK}
    world.crm.person("Address_Link", None, columns, "create")


def untick(world: World, city: str) -> None:
    for row in world.crm.list_records("Address_Link"):
        if str(row["AdLi_AddressId"]) == address_key(world, city) and row["AdLi_Type"].casefold() == TICK.casefold():
            world.crm.person("Address_Link", str(row["AdLi_AddressLinkId"]), {}, "delete")


def polled(world: World) -> None:
    world.clock.advance(1)
    world.poll()
    rest(world)


def withheld(world: World, one: Pair) -> tuple[str, str]:
    shown = field(world, one.crm, "address")
    return shown["status"], shown.get("why", "")


def test_gumu_12_the_ticked_address_is_sent_though_another_one_is_primary(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=False, primary=True), address("York", ticked=True))
    assert sent(world, one) == "York"
    assert withheld(world, one) == ("in_step", "")
    world.crm.person("Address", address_key(world, "York"), {"Addr_City": "Truro"})
    world.crm.person("Address", address_key(world, "Leeds"), {"Addr_City": "Bath"})
    world.settle()
    rest(world)
    assert sent(world, one) == "Truro"


def test_gumu_12_of_a_company_without_a_ticked_address_none_is_sent_and_why_is_said(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=False, primary=True))
    assert sent(world, one) in (None, "")
    assert withheld(world, one) == ("differs", "no_address_ticked")
    assert world.explain("crm", one.crm)["cause"]["code"] == "differs"
    world.crm.person("Address", address_key(world, "Leeds"), {"Addr_City": "Bath"})
    world.edit_crm(one.crm, Comp_Name="Northwind Works")
    world.settle()
    rest(world)
    assert sent(world, one) in (None, "") and world.erp_record(one.erp)["name"] == "Northwind Works"


def test_gumu_12_of_two_ticked_addresses_the_primary_one_is_sent(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=True), address("York", ticked=True, primary=True))
    assert sent(world, one) == "York"
    world.edit_crm(one.crm, Comp_PrimaryAddressId=int(address_key(world, "Leeds")))
    world.settle()
    rest(world)
    assert sent(world, one) == "Leeds"


def test_gumu_12_of_two_ticked_addresses_of_which_none_is_primary_none_is_sent_and_why_is_said(
    make_ticking: Make,
) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=True), address("York", ticked=True))
    assert sent(world, one) in (None, "")
    assert withheld(world, one) == ("differs", "several_addresses_ticked")
    untick(world, "Leeds")
    world.sweep()
    rest(world)
    assert sent(world, one) == "York"
    assert withheld(world, one) == ("in_step", "")


def test_gumu_12_ticking_an_address_sends_it_and_taking_the_tick_away_clears_nothing(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=False, primary=True))
    polled(world)
    tick(world, one, "Leeds")
    polled(world)
    assert sent(world, one) == "Leeds"
    untick(world, "Leeds")  # a server that shows no deleted rows tells this to the sweep only
    world.sweep()
    rest(world)
    assert withheld(world, one) == ("differs", "no_address_ticked")
    world.crm.person("Address", address_key(world, "Leeds"), {"Addr_City": "Bath"})
    world.settle()
    rest(world)
    assert sent(world, one) == "Leeds"
    tick(world, one, "Bath")
    polled(world)
    assert sent(world, one) == "Bath"


def test_gumu_12_an_imported_address_is_ticked_and_comes_back_as_it_was(make_ticking: Make) -> None:
    world = make_ticking()
    erp = world.new_erp(
        "Archer Foods", id="C-1", **{CITY: "Leeds", "contacts.default.mailingAddress.addressLine1": "1"}
    )
    importing.run_import(world.app, "customers", Selection())
    rest(world)
    (crm,) = there(world, "crm", "Archer Foods")
    one = Pair(erp, crm, row_of(world, crm=crm).id)
    links = [row["AdLi_Type"] for row in world.crm.list_records("Address_Link") if str(row["AdLi_CompanyID"]) == crm]
    assert links == [TICK] and withheld(world, one) == ("in_step", "")
    world.crm.person("Address", address_key(world, "Leeds"), {"Addr_City": "York"})
    world.settle()
    rest(world)
    assert sent(world, one) == "York"


def test_gumu_12_an_edit_in_the_erp_changes_the_ticked_address_and_no_other(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=False, primary=True), address("York", ticked=True))
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.settle()
    rest(world)
    assert sorted(row["Addr_City"] for row in world.crm.list_records("Address")) == ["Leeds", "Truro"]


def test_gumu_12_an_edit_in_the_erp_leaves_an_unticked_address_alone(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=False, primary=True))
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.settle()
    rest(world)
    assert [row["Addr_City"] for row in world.crm.list_records("Address")] == ["Leeds"]
    assert withheld(world, one) == ("differs", "no_address_ticked")


def test_gumu_12_an_edit_in_the_erp_of_an_unticked_address_rests_and_travels_once_it_is_ticked_again(
    make_ticking: Make,
) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=True, primary=True))
    polled(world)
    untick(world, "Leeds")
    world.sweep()
    rest(world)
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.settle()
    polled(world)
    world.poll()
    world.sweep()
    assert world.next_due() is None, "what has nowhere to go is no work"
    report = verifying.verify(world.app, FLOW)
    assert report.ok and report.document()["differing"] == 0
    tick(world, one, "Leeds")
    polled(world)
    assert [row["Addr_City"] for row in world.crm.list_records("Address")] == ["Truro"]
    assert withheld(world, one) == ("in_step", "")


def test_gumu_12_edits_on_both_sides_while_the_address_was_not_ticked_are_a_conflict(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=True, primary=True))
    polled(world)
    untick(world, "Leeds")
    world.sweep()
    rest(world)
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.crm.person("Address", address_key(world, "Leeds"), {"Addr_City": "Bath"})
    world.settle()
    rest(world)
    tick(world, one, "Bath")
    polled(world)
    assert field(world, one.crm, "address")["status"] == "conflict"


def test_gumu_12_a_company_without_any_address_gets_the_one_of_the_erp_with_the_box_ticked(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world)
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.settle()
    rest(world)
    assert [row["Addr_City"] for row in world.crm.list_records("Address")] == ["Truro"]
    assert {row["AdLi_Type"] for row in world.crm.list_records("Address_Link")} == {TICK}
    assert withheld(world, one) == ("in_step", "")


def test_gumu_12_an_undo_leaves_an_address_that_is_not_ticked_any_more(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    one = promoted(world, address("Leeds", ticked=True, primary=True))
    world.edit_erp(one.erp, **{CITY: "Truro"})
    world.settle()
    rest(world)
    assert address_key(world, "Truro")
    untick(world, "Truro")
    world.sweep()
    rest(world)
    ended = rewriting.carry_out(world.app, rewriting.plan_undo(world.app, link=one.id), threads=1)
    rest(world)
    assert ended.counts == {"left_out": 1}
    assert "take" not in (row_of(world, crm=one.crm).memory or {}), "and it is not undone later, unasked"
    assert address_key(world, "Truro") and withheld(world, one) == ("differs", "no_address_ticked")


def test_gumu_12_doctor_says_when_no_address_is_ticked_with_the_type_that_is_named(make_ticking: Make) -> None:
    world = make_ticking(MANUAL)
    name = f"address type {TICK}"
    (line,) = [check for check in world.app.systems["crm"].check() if check.name == name]
    assert not line.ok and "no address is ticked" in line.detail and "systems.crm.address_type" in line.fix
    promoted(world, address("Leeds", ticked=True))
    (line,) = [check for check in world.app.systems["crm"].check() if check.name == name]
    assert line.ok

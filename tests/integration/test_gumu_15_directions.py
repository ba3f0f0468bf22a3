"""GUMU-15: nothing is written against a direction; what it blocks is reported; a switch pushes nothing old."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import FLOW, Make, api_writes, entries, field, pair, rest, row_of, worlds
from support.world import World
from sync_worker import desk, reports
from sync_worker.errors import PermanentError
from sync_worker.store import directory, managers
from sync_worker.store.tables import link

ALL = ["both", "to_crm", "to_erp", "none"]
REP = "salesRepresentative.id"
URL = "contacts.default.URL1"


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


def lines(direction: str, more: str = "") -> str:
    return f'direction = "{direction}"\n{more}'


def names(world: World, side: str) -> list[str]:
    if side == "erp":
        return [row["name"] for row in world.erp.list_records("customer")]
    return [row["Comp_Name"] for row in world.crm.list_records("Company") if not row["Comp_Deleted"]]


def leads(direction: str, side: str) -> bool:
    return direction in ("both", f"to_{side}")


@pytest.mark.parametrize("direction", ALL)
def test_gumu_15_edits_travel_only_where_the_direction_leads_and_the_others_are_reported(
    make: Make, direction: str
) -> None:
    world = make()
    one = pair(world)
    world.reconfigure(lines(direction))
    before = api_writes(world)
    world.edit_erp(one.erp, name="From the ERP")
    world.edit_crm(one.crm, Comp_WebSite="http://crm.example")
    world.settle()
    rest(world)
    written = {side: api_writes(world)[side] > before[side] for side in ("erp", "crm")}
    assert written == {side: leads(direction, side) for side in ("erp", "crm")}
    assert world.crm_record(one.crm)["Comp_Name"] == ("From the ERP" if leads(direction, "crm") else "Northwind Tools")
    assert world.erp_record(one.erp)[URL] == (
        "http://crm.example" if leads(direction, "erp") else "http://northwind.example"
    )
    shown = world.explain("crm", one.crm)
    blocked = {f["name"]: f["why"] for f in shown["fields"] if f["status"] == "differs"}
    expected = {} if leads(direction, "crm") else {"name": "not_to_crm"}
    expected |= {} if leads(direction, "erp") else {"website": "not_to_erp"}
    assert blocked == expected
    assert (shown["state"], shown["cause"]["code"]) == ("in_sync", "differs" if expected else "")
    told = {name for entry in entries(world, "blocked") for name in entry["after"]}
    assert told == set(expected)


@pytest.mark.parametrize("direction", ALL)
@pytest.mark.parametrize("create", ["on_create", "on_change"])
def test_gumu_15_new_records_are_made_only_where_the_direction_leads(
    make_light: Make, direction: str, create: str
) -> None:
    world = make_light(lines(direction, f'create_in_erp = "{create}"\ncreate_in_crm = "{create}"'))
    erp, crm = world.new_erp("Made in the ERP", id="C-9"), world.new_crm("Made in the CRM")
    world.settle()
    rest(world)
    assert ("Made in the ERP" in names(world, "crm")) == leads(direction, "crm")
    assert ("Made in the CRM" in names(world, "erp")) == leads(direction, "erp")
    for side, row in (("crm", row_of(world, erp=erp)), ("erp", row_of(world, crm=crm))):
        if not leads(direction, side):
            assert (row.state, row.cause) == ("not_synced", "direction")
    if direction == "none":
        assert api_writes(world) == {"erp": 0, "crm": 0}


@pytest.mark.parametrize("direction", ["to_crm", "to_erp", "none"])
def test_gumu_15_first_link_up_and_key_columns_write_nothing_against_the_direction(
    make_light: Make, direction: str
) -> None:
    world = make_light(lines(direction, 'initial = "erp"'))
    erp = world.new_erp("Northwind Tools", id="C-9", **{URL: "http://erp.example"})
    world.erp.take_notices()
    crm = world.new_crm(
        "Northwind Tools", comp_intacct_recordno=erp, comp_intacct_company="Acme UK", Comp_WebSite="http://crm.example"
    )
    world.settle()
    rest(world)
    assert row_of(world, crm=crm).erp_key == erp
    if not leads(direction, "crm"):
        assert api_writes(world)["crm"] == 0
        assert world.crm_record(crm)["Comp_WebSite"] == "http://crm.example"
    if not leads(direction, "erp"):
        assert api_writes(world)["erp"] == 0
        assert world.erp_record(erp)[URL] == "http://erp.example"


@pytest.mark.parametrize(
    ("before", "after"), [("both", "to_crm"), ("both", "none"), ("to_erp", "to_crm"), ("to_crm", "both")]
)
def test_gumu_15_the_new_setting_holds_for_what_was_queued_under_the_old_one(
    make: Make, before: str, after: str
) -> None:
    world = make()
    one = pair(world)
    world.reconfigure(lines(before))
    written = api_writes(world)
    world.edit_crm(one.crm, Comp_Name="Queued")
    world.deliver()
    assert world.links()[0]["due_at"] is not None
    world.reconfigure(lines(after))  # the worker is restarted before it came to that
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)["name"] == ("Queued" if leads(after, "erp") else "Northwind Tools")
    assert (api_writes(world)["erp"] > written["erp"]) == leads(after, "erp")
    if not leads(after, "erp"):
        assert field(world, one.crm, "name")["status"] == "differs"


def test_gumu_15_a_queued_create_is_not_made_once_the_direction_is_closed(make: Make) -> None:
    world = make()
    crm = world.new_crm("Queued Ltd")
    world.deliver()
    world.reconfigure(lines("to_crm"))
    world.settle()
    assert names(world, "erp") == []
    assert row_of(world, crm=crm).cause == "direction"


def test_gumu_15_a_create_of_unknown_outcome_is_linked_but_never_repeated_once_the_direction_is_closed(
    make_light: Make,
) -> None:
    world = make_light()
    world.erp.faults.merge({"fail_next": [{"operation": "create customer", "fault": "before_apply"}] * 9})
    crm = world.new_crm("Queued Ltd")
    world.deliver()
    world.work()
    world.reconfigure(lines("to_crm"))
    world.erp.faults.merge({"fail_next": []})
    world.settle()
    rest(world)
    assert names(world, "erp") == []
    assert row_of(world, crm=crm).state == "not_synced"


@pytest.mark.parametrize("direction", ["to_crm", "none"])
def test_gumu_15_a_choice_made_before_the_switch_writes_nothing_against_the_new_direction(
    make_light: Make, direction: str
) -> None:
    world = make_light()
    one = pair(world)
    world.edit_erp(one.erp, name="Theirs")
    world.edit_crm(one.crm, Comp_Name="Ours")
    world.settle()
    desk.resolve(world.app, "crm", one.crm, "name", "crm")
    world.reconfigure(lines(direction))
    before = api_writes(world)["erp"]
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)["name"] == "Theirs"
    assert api_writes(world)["erp"] == before
    assert field(world, one.crm, "name")["status"] == "differs"


def test_gumu_15_a_choice_against_the_direction_is_refused_in_one_line(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.edit_erp(one.erp, name="Theirs")
    world.edit_crm(one.crm, Comp_Name="Ours")
    world.settle()
    world.reconfigure(lines("to_crm"))
    with pytest.raises(PermanentError, match="flow customers never writes it to erp"):
        desk.resolve(world.app, "crm", one.crm, "name", "crm")
    desk.resolve(world.app, "crm", one.crm, "name", "erp")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "Theirs"


@pytest.mark.parametrize("how", ["notice", "poll", "sweep"])
def test_gumu_15_am_13_a_switch_from_one_way_to_both_pushes_nothing_old_unasked(make: Make, how: str) -> None:
    world = make()
    one = pair(world)
    world.reconfigure(lines("to_crm"))
    world.poll()
    world.edit_crm(one.crm, Comp_Name="Old edit", Comp_WebSite="http://old.example")
    made = world.new_crm("Made meanwhile")
    world.settle()
    rest(world)
    world.reconfigure(lines("both"))
    before = api_writes(world)
    world.clock.advance(600)
    if how == "notice":
        world.notice("crm", one.crm)
        world.notice("erp", one.erp)
        world.notice("crm", made)
    else:
        world.poll()
        world.clock.advance(600)
        getattr(world, how)()
    world.settle()
    rest(world)
    assert api_writes(world) == before
    assert names(world, "erp") == ["Northwind Tools"]
    assert field(world, one.crm, "name")["status"] == "differs"
    world.edit_crm(one.crm, Comp_Name="New edit")
    fresh = world.new_crm("Made since")
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)["name"] == "New edit"
    assert world.erp_record(one.erp)[URL] == "http://northwind.example"
    assert row_of(world, crm=fresh).linked
    (shown,) = desk.sync_record(world.app, "crm", made)  # asked for
    assert shown["erp"]["key"] is not None


def test_gumu_15_am_13_a_manager_edited_against_the_direction_is_reported_and_not_pushed_after_a_switch(
    make: Make,
) -> None:
    world = make()
    for system, connector in world.app.systems.items():
        directory.refresh(world.db, system, connector.list_managers())
    for erp, crm in (("E-10", "2"), ("E-11", "3")):
        managers.map_manager(world.db, FLOW, erp, crm, systems=("erp", "crm"))
    one = pair(world, Comp_PrimaryUserId=2)
    assert world.erp_record(one.erp)[REP] == "E-10"
    world.reconfigure(lines("to_crm"))
    world.edit_crm(one.crm, Comp_PrimaryUserId=3)
    world.settle()
    rest(world)
    assert field(world, one.crm, "account_manager")["status"] == "differs"
    world.reconfigure(lines("both"))
    world.notice("crm", one.crm)
    world.notice("erp", one.erp)
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)[REP] == "E-10"
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.settle()
    world.edit_crm(one.crm, Comp_PrimaryUserId=3)
    world.settle()
    assert world.erp_record(one.erp)[REP] == "E-11"


def test_gumu_15_with_overwrite_the_blocked_change_is_put_back_and_both_values_are_journalled(
    make_light: Make,
) -> None:
    world = make_light(lines("to_crm", "overwrite = true"))
    key = world.new_erp("Northwind Tools", id="C-9")
    world.settle()
    rest(world)
    crm = str(row_of(world, erp=key).crm_key)
    world.edit_crm(crm, Comp_Name="Changed here")
    world.settle()
    assert world.crm_record(crm)["Comp_Name"] == "Northwind Tools"
    last = entries(world, "update")[-1]
    assert (last["before"]["name"], last["after"]["name"]) == ("Changed here", "Northwind Tools")
    assert world.erp_record(key)["name"] == "Northwind Tools"


@pytest.mark.parametrize(
    ("direction", "system"), [("to_crm", "crm"), ("to_erp", "erp"), ("none", "erp"), ("none", "crm")]
)
def test_gumu_15_a_manual_sync_against_the_direction_is_refused_and_leaves_nothing_behind(
    make: Make, direction: str, system: str
) -> None:
    world = make(lines(direction))
    key = world.new_crm("Fresh Ltd") if system == "crm" else world.new_erp("Fresh Ltd", id="C-9")
    world.settle()
    before = world.links()
    other = "erp" if system == "crm" else "crm"
    wanted = f'flow customers has direction "{direction}", so nothing is written to {other}'
    with pytest.raises(PermanentError, match=wanted):
        desk.sync_record(world.app, system, f"key:{key}")
    assert world.links() == before
    assert api_writes(world) == {"erp": 0, "crm": 0}


def test_gumu_15_a_manual_sync_of_a_linked_record_goes_as_far_as_the_direction_leads(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.reconfigure(lines("to_crm"))
    for vendor in world.vendors.values():
        vendor.faults.merge({"notices_off": True})
    world.edit_erp(one.erp, name="From the ERP")
    world.edit_crm(one.crm, Comp_WebSite="http://crm.example")
    (shown,) = desk.sync_record(world.app, "crm", one.crm)
    assert world.crm_record(one.crm)["Comp_Name"] == "From the ERP"
    assert world.erp_record(one.erp)[URL] == "http://northwind.example"
    assert [f["name"] for f in shown["fields"] if f["status"] == "differs"] == ["website"]
    with world.db.read() as conn:
        assert conn.execute(link.select()).mappings().one()["may_create"] is None
    assert reports.status(world.db, world.app.flows)["links"]["in_sync"] == 1

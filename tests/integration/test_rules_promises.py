"""What people rely on: filled systems, matching, deletion, filters, directions, defaults, wrong credentials."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import Make, api_writes, calls, field, in_the_past, pair, rest, row_of, run_once
from support.world import World
from sync_worker.housekeeping import lets_us_in
from sync_worker.store import pauses

CITY = "contacts.default.mailingAddress.city"
COUNTRY = "contacts.default.mailingAddress.isoCountryCode"


def nothing_written(world: World) -> bool:
    return api_writes(world) == {"erp": 0, "crm": 0}


# --- filled systems and the matching ladder ---------------------------------------------------------------------------


def test_starting_on_filled_systems_writes_nothing(world: World) -> None:
    with in_the_past(world):
        world.erp.seed({"customers": 20})
        world.crm.seed({"customers": 20, "linked": True})
        world.crm.seed({"customers": 5, "first": 100})
    for _ in range(3):
        world.poll()
        world.sweep()
        world.settle()
        world.clock.advance(200)
    assert nothing_written(world) and world.links() == []


def test_a_notice_about_an_older_record_without_partner_is_not_synced_until_a_person_syncs_it(world: World) -> None:
    with in_the_past(world):
        key = world.new_crm("Older Ltd")
    world.edit_crm(key, Comp_WebSite="http://older.example")
    world.settle()
    shown = world.explain("crm", key)
    assert (shown["state"], shown["cause"]["code"], shown["candidates"]) == ("not_synced", "older_than_flow", [])
    assert "sync" in shown["next_step"]["what"]
    assert nothing_written(world)


def test_on_change_creates_for_an_older_record_on_any_notice(make_light: Make) -> None:
    world = make_light('create_in_erp = "on_change"')
    with in_the_past(world):
        key = world.new_crm("Older Ltd")
    world.edit_crm(key, Comp_WebSite="http://older.example")
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"


@pytest.mark.parametrize("seen_from", ["erp", "crm"])
@pytest.mark.parametrize("evidence", ["key", "id_and_name", "own_id"])
def test_an_older_record_is_linked_when_the_ladder_finds_exactly_one_partner(
    world: World, seen_from: str, evidence: str
) -> None:
    with in_the_past(world):
        crm = world.new_crm("Older Ltd")
        erp = world.new_erp("Older Limited", id=f"CRM-{crm}" if evidence == "own_id" else "C-1")
        keys = {"key": {"comp_intacct_recordno": erp}, "id_and_name": {"comp_intacct_customerid": "C-1"}, "own_id": {}}
        world.edit_crm(crm, **keys[evidence])
    world.notice(seen_from, erp if seen_from == "erp" else crm)
    world.settle()
    assert row_of(world, crm=crm).erp_key == erp
    assert world.crm_record(crm)["comp_intacct_recordno"] == erp
    assert len(world.erp.list_records("customer")) == len(world.crm.list_records("Company")) == 1


@pytest.mark.parametrize("seen_from", ["erp", "crm"])
@pytest.mark.parametrize("named", [True, False])
def test_a_record_that_we_made_and_somebody_renamed_is_found_again_by_the_key_columns_alone(
    world: World, seen_from: str, named: bool
) -> None:
    with in_the_past(world):
        crm = world.new_crm("Older Ltd")
        erp = world.new_erp("Quite Another Ltd", id=f"CRM-{crm}")
        world.edit_crm(crm, comp_intacct_recordno=erp if named else None)
    world.notice(seen_from, erp if seen_from == "erp" else crm)
    world.settle()
    if named:
        assert row_of(world, crm=crm).erp_key == erp
    else:
        shown = world.explain(seen_from, erp if seen_from == "erp" else crm)
        assert (shown["state"], [one["why"] for one in shown["candidates"]]) == ("waiting", ["customer id"])
    assert len(world.erp.list_records("customer")) == len(world.crm.list_records("Company")) == 1


@pytest.mark.parametrize("age", ["older", "new"])
@pytest.mark.parametrize("seen_from", ["erp", "crm"])
@pytest.mark.parametrize("evidence", ["name", "email", "tax_number", "id"])
def test_weak_evidence_never_links_or_creates_but_waits_with_candidates(
    world: World, seen_from: str, evidence: str, age: str
) -> None:
    names = {"name": ("Acme Ltd", "ACME  Limited")}.get(evidence, ("Acme Ltd", "Quite Another Ltd"))
    erp_columns: dict[str, Any] = {"id": "C-1"}
    crm_columns: dict[str, Any] = {}
    if evidence == "email":
        erp_columns["contacts.default.email1"] = "Desk@acme.example"
        crm_columns["email"] = [{"$type": "Business", "Emai_EmailAddress": "desk@ACME.example"}]
    elif evidence == "tax_number":
        numbers = {seen_from: "GB 123 4567 89", "crm" if seen_from == "erp" else "erp": "GB123456789"}
        erp_columns["taxId"], crm_columns["comp_vatnumber"] = numbers["erp"], numbers["crm"]
    elif evidence == "id":
        crm_columns["comp_intacct_customerid"] = "C-1"
    with in_the_past(world):
        keys = {"erp": "", "crm": ""}
        for side in ("crm", "erp") if seen_from == "erp" else ("erp", "crm"):
            if side == seen_from and age == "new":
                continue
            keys[side] = (
                world.new_erp(names[0], **erp_columns) if side == "erp" else world.new_crm(names[1], **crm_columns)
            )
    if age == "new":
        keys[seen_from] = (
            world.new_erp(names[0], **erp_columns) if seen_from == "erp" else world.new_crm(names[1], **crm_columns)
        )
    other = "crm" if seen_from == "erp" else "erp"
    world.notice(seen_from, keys[seen_from])
    world.settle()
    shown = world.explain(seen_from, keys[seen_from])
    assert (shown["state"], shown["waiting_on"]) == ("waiting", f"match:{seen_from}:{keys[seen_from]}")
    assert [(c["system"], c["key"]) for c in shown["candidates"]] == [(other, keys[other])]
    assert nothing_written(world)


def test_of_two_records_with_the_same_id_and_name_none_is_linked(world: World) -> None:
    with in_the_past(world):
        erp = world.new_erp("Acme Ltd", id="C-1")
        for _ in range(2):
            world.new_crm("Acme Ltd", comp_intacct_customerid="C-1")
    world.notice("erp", erp)
    world.settle()
    assert row_of(world, erp=erp).state == "waiting"
    assert len(world.explain("erp", erp)["candidates"]) == 2
    assert nothing_written(world)


@pytest.mark.parametrize("seen_from", ["erp", "crm"])
def test_ids_that_contradict_each_other_are_a_conflict_and_write_nothing(world: World, seen_from: str) -> None:
    with in_the_past(world):
        erp = world.new_erp("Acme Ltd", id="C-1")
        crm = world.new_crm("Acme Ltd", comp_intacct_customerid="C-1", comp_intacct_recordno="999")
    world.notice(seen_from, erp if seen_from == "erp" else crm)
    world.settle()
    shown = world.explain(seen_from, erp if seen_from == "erp" else crm)
    assert (shown["state"], shown["cause"]["code"]) == ("conflict", "ids_disagree")
    assert nothing_written(world)


def test_strict_matching_links_only_where_record_number_id_and_name_agree(make_light: Make) -> None:
    world = make_light('match_policy = "strict_gumu"')
    with in_the_past(world):
        erp = world.new_erp("Acme Ltd", id="C-1")
        crm = world.new_crm("Acme Ltd", comp_intacct_customerid="C-1")
    world.notice("crm", crm)
    world.settle()
    assert row_of(world, crm=crm).state == "waiting"
    world.edit_crm(crm, comp_intacct_recordno=erp)
    world.settle()
    assert row_of(world, crm=crm).erp_key == erp


def test_a_namesake_of_a_linked_record_is_a_customer_of_its_own(world: World) -> None:
    one = pair(world)
    key = world.new_crm("Northwind Tools")
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "in_sync" and row.erp_key not in (None, one.erp)


def test_an_older_record_whose_key_names_an_already_linked_partner_is_a_conflict(world: World) -> None:
    one = pair(world)
    key = world.new_crm("Copy of Northwind", comp_intacct_recordno=one.erp)
    before = api_writes(world)
    world.settle()
    assert row_of(world, crm=key).state == "conflict"
    assert row_of(world, crm=one.crm).erp_key == one.erp
    assert api_writes(world) == before


# --- filter, direction, defaults, custom fields -----------------------------------------------------------------------

FILTER = '[flows.customers.filter]\ncrm = { Comp_Type = ["Customer"] }'


def test_a_record_the_filter_leaves_out_is_excluded_by_its_name_and_never_created(make_light: Make) -> None:
    world = make_light(FILTER)
    key = world.new_crm("Prospect Ltd", Comp_Type="Prospect")
    world.settle()
    shown = world.explain("crm", key)
    assert shown["state"] == "excluded" and "Comp_Type" in shown["cause"]["text"]
    assert nothing_written(world)
    world.edit_crm(key, Comp_Type="Customer")
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"


def test_a_linked_record_that_leaves_the_filter_rests_and_catches_up_when_it_returns(make_light: Make) -> None:
    world = make_light(FILTER)
    one = pair(world, Comp_Type="Customer")
    before = api_writes(world)
    world.edit_crm(one.crm, Comp_Type="Former", Comp_Name="Renamed meanwhile")
    world.settle()
    world.edit_erp(one.erp, **{CITY: "York"})
    world.settle()
    assert row_of(world, crm=one.crm).state == "excluded" and row_of(world, crm=one.crm).linked
    assert api_writes(world) == before
    world.edit_crm(one.crm, Comp_Type="Customer")
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.erp_record(one.erp)["name"] == "Renamed meanwhile"
    child = world.crm_child(one.crm, "Address")
    assert child is not None and child["Addr_City"] == "York"


@pytest.mark.parametrize(("direction", "from_side"), [("to_crm", "crm"), ("to_erp", "erp")])
def test_a_one_way_flow_creates_nothing_against_its_direction(make_light: Make, direction: str, from_side: str) -> None:
    world = make_light(f'direction = "{direction}"\ncreate_in_crm = "on_change"\ncreate_in_erp = "on_change"')
    key = world.new_crm("Fresh Ltd") if from_side == "crm" else world.new_erp("Fresh Ltd", id="C-1")
    world.settle()
    shown = world.explain(from_side, key)
    assert (shown["state"], shown["cause"]["code"]) == ("not_synced", "direction")
    assert nothing_written(world)


DEFAULTS = """
[flows.customers.defaults]
erp = { "term.id" = "Net 30", "customerType.id" = "Trade" }
crm = { Comp_Type = "Customer" }
"""


def test_defaults_are_for_new_records_only_and_in_the_vendors_own_names(make_light: Make) -> None:
    world = make_light(DEFAULTS)
    crm = world.new_crm("Made in the CRM", Comp_Type="Partner")
    erp = world.new_erp("Made in the ERP", id="C-1")
    world.settle()
    made = world.erp_record(str(row_of(world, crm=crm).erp_key))
    assert (made["term.id"], made["customerType.id"]) == ("Net 30", "Trade")
    assert world.crm_record(str(row_of(world, erp=erp).crm_key))["Comp_Type"] == "Customer"
    assert world.crm_record(crm)["Comp_Type"] == "Partner"
    assert world.erp_record(erp)["term.id"] is None


def test_a_new_customer_without_a_country_gets_the_default_one_and_not_the_vendors(world: World) -> None:
    address = [{"$isDefault": True, "$type": "Business", "Addr_City": "Leeds"}]
    for name, more in (("With an address", {"Address": address}), ("Without one", {})):
        key = world.new_crm(name, **more)
        world.settle()
        assert world.erp_record(str(row_of(world, crm=key).erp_key))[COUNTRY] == "GB"
        assert row_of(world, crm=key).state == "in_sync"
    assert not world.written("crm") or all("Addr_Country" not in w.after for w in world.written("crm"))


def test_new_customers_get_the_configured_id_or_the_erps_own_number(make_light: Make) -> None:
    world = make_light('new_customer_id = "K-{crm_key}"')
    key = world.new_crm("Fresh Ltd")
    world.settle()
    assert world.erp_record(str(row_of(world, crm=key).erp_key))["id"] == f"K-{key}"
    assert world.crm_record(key)["comp_intacct_customerid"] == f"K-{key}"


CUSTOM = '[flows.customers.custom.region]\nerp = "nsp::REGION"\ncrm = "comp_region"'


def test_a_custom_field_travels_both_ways_without_code(make_light: Make) -> None:
    world = make_light(CUSTOM)
    one = pair(world, comp_region="North")
    assert world.erp_record(one.erp)["nsp::REGION"] == "North"
    world.edit_erp(one.erp, **{"nsp::REGION": "South"})
    world.settle()
    assert world.crm_record(one.crm)["comp_region"] == "South"
    world.edit_crm(one.crm, comp_region="")
    world.settle()
    assert world.erp_record(one.erp)["nsp::REGION"] is None


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_a_configured_column_that_the_vendor_does_not_have_stops_that_field_only(make_light: Make, side: str) -> None:
    columns = {"erp": "nsp::REGION", "crm": "comp_region", side: {"erp": "nsp::NOTHING", "crm": "comp_nothing"}[side]}
    world = make_light(f'[flows.customers.custom.region]\nerp = "{columns["erp"]}"\ncrm = "{columns["crm"]}"')
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.edit_erp(one.erp, **{CITY: "York"})
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Changed"
    child = world.crm_child(one.crm, "Address")
    assert child is not None and child["Addr_City"] == "York"
    assert field(world, one.crm, "name")["status"] == "in_step"


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_wrong_credentials_pause_the_system_burn_no_attempts_and_work_resumes(world: World, side: str) -> None:
    one = pair(world)
    if side == "crm":
        world.crm.faults.merge({"logon_disabled": True})
        world.edit_erp(one.erp, name="Changed")
    else:
        world.erp.faults.fail_next.extend([{"operation": "*", "fault": "401"}] * 40)
        world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    run_once(world.app)
    held = pauses.current(world.db)
    assert held["system", side].reason == "auth_failed"
    row = row_of(world, crm=one.crm)
    assert (row.attempts, row.claims, row.state) == (0, 0, "in_sync")
    assert row.noticed("erp") or row.noticed("crm")
    world.vendors[side].reset_stats()
    assert not run_once(world.app).claimed
    assert calls(world.vendors[side]) == {}
    assert "paused" in world.explain("crm", one.crm)["next_step"]["what"]
    world.clock.advance(60)  # a refused login is not repeated in haste
    assert not lets_us_in(world.app.systems[side])
    assert sum(calls(world.vendors[side]).values()) > 0
    world.crm.faults.merge({"logon_disabled": False})
    world.erp.faults.fail_next.clear()
    world.clock.advance(120)
    assert lets_us_in(world.app.systems[side])
    pauses.resume(world.db, "system", side, reason="auth_failed")
    world.settle()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "Changed"


def test_a_create_that_meets_wrong_credentials_is_made_once_after_they_are_mended(world: World) -> None:
    key = world.new_erp("Fresh Ltd", id="C-1")
    world.deliver()
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "401"})
    run_once(world.app)
    assert ("system", "crm") in pauses.current(world.db)
    pauses.resume(world.db, "system", "crm")
    world.clock.advance(60)
    world.settle()
    rest(world)
    assert row_of(world, erp=key).state == "in_sync"
    assert len(world.crm.list_records("Company")) == 1


# --- one next step ----------------------------------------------------------------------------------------------------


def test_the_next_step_is_a_command_about_this_very_record(world: World) -> None:
    one, two = pair(world, "Northwind Tools"), pair(world, "Southwind Tools")
    world.edit_erp(one.erp, name="Nordwind")
    world.edit_crm(one.crm, Comp_Name="Westwind")
    world.edit_erp(two.erp, **{"salesRepresentative.id": "E-10"})
    world.settle()
    steps = {crm: world.explain("crm", crm)["next_step"]["what"] for crm in (one.crm, two.crm)}
    assert steps[one.crm] == f"choose: sync-worker resolve erp {one.erp} --field name --take erp|crm|=VALUE"
    assert steps[two.crm] == "sync-worker managers map --flow customers --erp E-10 --crm KEY"


def test_the_next_step_of_a_refusal_retries_this_very_link(world: World) -> None:
    one = pair(world)
    world.erp.faults.merge({"refuse": {"name": ["Nordwind"]}})
    world.edit_crm(one.crm, Comp_Name="Nordwind")
    world.settle()
    step = world.explain("crm", one.crm)["next_step"]["what"]
    assert step == f"correct the value on either side, or retry: sync-worker replay --link {one.id}"


def test_the_next_step_of_a_record_that_may_be_another_ones_partner_names_the_side_that_is_known(world: World) -> None:
    with in_the_past(world):
        world.new_crm("Acme Ltd")
    erp = world.new_erp("Acme Ltd", id="C-1")
    world.settle()
    step = world.explain("erp", erp)["next_step"]["what"]
    assert f"--flow customers --erp {erp} --crm KEY" in step and f"sync-worker sync erp {erp}" in step

"""E6 to E8: when to stop reading, what of a read to believe, and what absence means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rules import (
    FLOW,
    Make,
    Pair,
    api_writes,
    calls,
    entries,
    field,
    in_the_past,
    pair,
    rest,
    row_of,
    run_once,
    when,
    worlds,
)
from support.world import World

from sync_worker.store import pauses

STALE = 30.0


@pytest.fixture
def make(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


@pytest.fixture
def world(make: Make) -> World:
    return make(stale=STALE)


def stale_reads(world: World, side: str) -> None:
    world.vendors[side].faults.merge({"p_stale_read": 1.0, "stale_seconds": STALE - 1})


def fresh_reads(world: World) -> None:
    for emulator in world.vendors.values():
        emulator.faults.merge({"p_stale_read": 0.0})


def reset(world: World) -> None:
    for emulator in world.vendors.values():
        emulator.reset_stats()


# --- E6 ---------------------------------------------------------------------------------------------------------------


def test_e6_an_echo_is_one_read_on_its_own_side_and_nothing_else(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    run_once(world.app)
    reset(world)
    assert world.deliver() == 1
    run_once(world.app)
    assert (calls(world.erp), calls(world.crm)) == ({}, {"query company": 1})


def test_e6_a_notice_about_one_table_reads_that_table_only(world: World) -> None:
    one = pair(world)
    reset(world)
    world.notice("crm", world.crm_child_key(one.crm, "Email"), entity="email")
    run_once(world.app)
    assert (calls(world.erp), calls(world.crm)) == ({}, {"query email": 1})


def test_e6_both_sides_are_read_when_both_gave_notice(world: World) -> None:
    one = pair(world)
    world.notice("crm", one.crm)
    world.notice("erp", one.erp)
    reset(world)
    run_once(world.app)
    assert (calls(world.erp), calls(world.crm)) == ({"query customer": 1}, {"query company": 1})


def test_e6_a_difference_on_one_side_makes_the_other_be_read_before_anything_is_written(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    reset(world)
    run_once(world.app)
    assert calls(world.erp) == {"query customer": 1, "patch customer": 1}


def test_e6_an_equal_read_does_not_stop_a_link_that_has_an_open_field(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="One")
    world.edit_erp(one.erp, name="Other")
    world.settle()
    rest(world)
    reset(world)
    world.notice("crm", one.crm)
    run_once(world.app)
    assert calls(world.erp) == {"query customer": 1}
    assert field(world, one.crm, "name")["status"] == "conflict"


# --- E7 ---------------------------------------------------------------------------------------------------------------


def test_e7_a_value_from_before_our_write_is_not_believed_within_the_window(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    run_once(world.app)
    stale_reads(world, "crm")
    world.deliver()
    run_once(world.app)
    assert row_of(world, crm=one.crm).cause == "stale_read"
    assert world.erp_record(one.erp)["name"] == "Changed"
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"] == "Changed"


def test_e7_the_same_value_seen_after_the_window_is_an_edit(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    run_once(world.app)
    world.clock.advance(2)
    world.edit_crm(one.crm, Comp_Name="Northwind Tools")  # a person puts the old name back
    world.deliver()
    run_once(world.app)
    assert world.erp_record(one.erp)["name"] == "Changed"
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Northwind Tools"
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e7_a_value_from_before_the_last_accepted_read_is_not_believed_either(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    run_once(world.app)
    stale_reads(world, "crm")
    world.notice("crm", one.crm)
    run_once(world.app)
    assert world.erp_record(one.erp)["name"] == "Changed"
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Changed"
    assert len([w for w in world.written("erp") if "name" in w.after and w.op == "update"]) == 1


def test_e7_an_edit_hidden_by_a_stale_read_is_found_by_the_look_after_the_window(world: World) -> None:
    one = pair(world)
    stale_reads(world, "crm")
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    run_once(world.app)
    assert world.erp_record(one.erp)["name"] == "Northwind Tools"
    due = row_of(world, crm=one.crm).due_at
    assert due is not None and world.clock() + STALE <= due <= world.clock() + STALE * 1.25
    fresh_reads(world)
    world.settle(deliver=False)
    assert world.erp_record(one.erp)["name"] == "Changed"


def test_e7_an_edit_on_the_other_side_waits_for_the_window_and_then_arrives(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="First")
    world.deliver()
    run_once(world.app)
    stale_reads(world, "crm")
    world.edit_erp(one.erp, name="Second")
    world.settle()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "Second"
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e7_stale_reads_never_bring_back_what_both_sides_had(world: World) -> None:
    one = pair(world)
    for turn in range(4):
        stale_reads(world, "crm")
        stale_reads(world, "erp")
        side = ("erp", "crm")[turn % 2]
        if side == "erp":
            world.edit_erp(one.erp, name=f"Name {turn}")
        else:
            world.edit_crm(one.crm, Comp_Name=f"Name {turn}")
        world.settle()
        fresh_reads(world)
        assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == f"Name {turn}"
        world.clock.advance(1)


def test_e7_the_look_after_the_window_happens_once_and_together_with_others(world: World) -> None:
    ones = [pair(world), pair(world, "Second Customer", comp_vatnumber="GB999999973")]
    world.clock.advance(0.5)
    for one in ones:
        world.notice("crm", one.crm)
        run_once(world.app)
        world.clock.advance(1)
    reset(world)
    rest(world)
    assert set(calls(world.crm).values()) == {1}  # each table was asked once, for both
    assert [row_of(world, crm=one.crm).due_at for one in ones] == [None, None]


def test_e7_a_feed_row_that_says_what_we_know_is_no_notice(world: World) -> None:
    one = pair(world)
    world.poll()
    world.edit_erp(one.erp, name="Changed")
    world.settle(deliver=False)  # nobody was told
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Tools"
    world.poll()
    world.settle(deliver=False)
    assert world.crm_record(one.crm)["Comp_Name"] == "Changed"
    before = row_of(world, crm=one.crm)
    world.poll()
    world.sweep()
    after = row_of(world, crm=one.crm)
    assert (after.erp_dirty, after.crm_dirty, after.due_at) == (before.erp_dirty, before.crm_dirty, before.due_at)


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e7_two_edits_in_the_same_second_both_arrive_by_the_feed(world: World, side: str) -> None:
    one = pair(world)
    world.poll()
    for name in ("First", "Second"):
        if side == "erp":
            world.edit_erp(one.erp, name=name)
        else:
            world.edit_crm(one.crm, Comp_Name=name)
        world.poll()
        world.work()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "Second"


def test_e7_what_was_stamped_before_the_flow_was_switched_on_is_no_notice(make: Make) -> None:
    world = make(stale=STALE)
    with in_the_past(world, days=0.0004):  # within every overlap
        world.new_erp("Older Customer", id="C-1", **{"contacts.default.email1": "old@older.example"})
        world.new_crm("Older Company", email=[{"$type": "Business", "Emai_EmailAddress": "old@company.example"}])
    for _ in range(3):
        world.poll()
        world.sweep()
        world.settle(deliver=False)
        world.clock.advance(20)
    assert world.links() == []
    assert api_writes(world) == {"erp": 0, "crm": 0}


def test_e7_an_older_record_that_is_edited_now_is_noticed_by_the_feed(make: Make) -> None:
    world = make(stale=STALE)
    with in_the_past(world):
        key = world.new_crm("Older Company")
    world.poll()
    world.edit_crm(key, Comp_Name="Older Company Ltd")
    world.poll()
    world.settle(deliver=False)
    assert row_of(world, crm=key).state == "not_synced"


# --- E8 ---------------------------------------------------------------------------------------------------------------


def test_e8_a_column_the_vendor_leaves_out_is_unknown_and_clears_nothing(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"hidden_columns": ["Comp_WebSite", "Emai_EmailAddress"]})
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.notice("crm", world.crm_child_key(one.crm, "Email"), entity="email")
    world.settle()
    customer = world.erp_record(one.erp)
    assert customer["name"] == "Changed"
    assert customer["contacts.default.URL1"] == "http://northwind.example"
    assert customer["contacts.default.email1"] == "desk@northwind.example"


def test_e8_an_edit_of_a_field_the_other_side_leaves_out_arrives_once_it_is_shown_again(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"hidden_columns": ["Comp_WebSite"]})
    world.edit_erp(one.erp, **{"contacts.default.URL1": "http://new.example"})
    world.settle()
    world.crm.faults.merge({"hidden_columns": []})
    world.notice("erp", one.erp)
    world.settle()
    assert world.crm_record(one.crm)["Comp_WebSite"] == "http://new.example"


def test_e8_one_absence_is_no_deletion_and_the_second_unlinks(world: World) -> None:
    one = pair(world)
    world.crm.person("Company", one.crm, {}, "delete")
    world.deliver()
    run_once(world.app)
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("pending", "not_found")
    assert row.due_at == world.clock() + STALE
    world.notice("crm", one.crm)
    run_once(world.app)  # a second notice within the window is no second look
    assert row_of(world, crm=one.crm).linked
    world.settle()
    assert row_of(world, erp=one.erp).state == row_of(world, crm=one.crm).state == "unlinked"
    assert not row_of(world, erp=one.erp).linked
    assert world.erp_record(one.erp)["name"] == "Northwind Tools"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e8_a_record_we_have_just_made_and_cannot_see_yet_is_not_deleted(world: World, side: str) -> None:
    other = "crm" if side == "erp" else "erp"
    stale_reads(world, side)
    if other == "crm":
        key = world.new_crm("Fresh Ltd")
        world.settle()
        row = row_of(world, crm=key)
    else:
        key = world.new_erp("Fresh Ltd", id="C-9")
        world.settle()
        row = row_of(world, erp=key)
    assert row.linked and row.state == "in_sync", world.links()
    assert len(world.links()) == 1
    assert not entries(world, "unlinked")


def test_e8_a_new_record_that_cannot_be_seen_yet_is_synced_when_it_can(world: World) -> None:
    stale_reads(world, "crm")
    key = world.new_crm("Fresh Ltd")
    world.deliver()
    run_once(world.app)
    assert row_of(world, crm=key).cause == "not_found"
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"


def test_e8_a_record_that_vanishes_between_our_read_and_our_write_is_looked_at_twice_too(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    when(world.crm, "update company", lambda: world.crm.person("Company", one.crm, {}, "delete"))
    run_once(world.app)
    assert row_of(world, crm=one.crm).linked
    world.settle()
    assert row_of(world, erp=one.erp).state == "unlinked"


def many(world: World, count: int) -> list[Pair]:
    return [pair(world, f"Customer {n}", comp_vatnumber=f"GB00000000{n}") for n in range(count)]


@pytest.mark.parametrize("together", [True, False])
def test_e8_more_deletions_an_hour_than_allowed_pause_the_flow(make: Make, together: bool) -> None:
    world = make("limits = { unlinked = 2 }", stale=STALE)
    ones = many(world, 5)
    for one in ones:
        world.crm.person("Company", one.crm, {}, "delete")
        if not together:
            world.deliver()
            world.work()
            world.clock.advance(STALE / 2)
    for _ in range(8):
        world.deliver()
        world.work()
        world.clock.advance(STALE)
    assert ("flow", FLOW) in pauses.current(world.db)
    assert len(entries(world, "unlinked")) == 2
    assert sum(row["erp_key"] is not None and row["crm_key"] is not None for row in world.links()) == 3


def test_e8_a_person_who_resumes_the_flow_lets_as_many_again_go(make: Make) -> None:
    world = make("limits = { unlinked = 2 }", stale=STALE)
    ones = many(world, 5)
    for one in ones:
        world.crm.person("Company", one.crm, {}, "delete")
    gone = []
    for _ in range(3):
        for _ in range(4):
            world.deliver()
            world.work()
            world.clock.advance(STALE)
        gone.append(len(entries(world, "unlinked")))
        pauses.resume(world.db, "flow", FLOW)
    assert gone == [2, 4, 5]


def test_e8_a_listing_that_suddenly_shrinks_unlinks_nobody(world: World) -> None:
    ones = many(world, 3)
    world.poll()
    world.clock.advance(300)
    world.poll()
    rest(world)
    world.crm.faults.merge({"notices_off": True})
    for one in ones:
        world.crm.person("Company", one.crm, {}, "delete")
    for _ in range(3):
        world.poll()
        world.sweep()
        world.settle()
        world.clock.advance(STALE)
    assert all(row_of(world, crm=one.crm).linked for one in ones)
    assert not entries(world, "unlinked")


# --- what has no notice of its own: contacts, phones, e-mails, addresses, persons ---------------------------------------


def contact_of(world: World, erp_key: str) -> str:
    return str(world.erp_record(erp_key)["contacts.default.key"])


@pytest.mark.parametrize("found_by", ["notice", "sweep"])
def test_e7_an_intacct_contact_edited_alone_arrives_by_notice_and_by_sweep(world: World, found_by: str) -> None:
    one = pair(world)
    world.poll()
    if found_by == "sweep":
        world.erp.faults.merge({"notices_off": True})
    world.erp.person("contact", contact_of(world, one.erp), {"email1": "new@northwind.example"})
    world.poll()
    if found_by == "sweep":
        world.sweep()
    world.settle()
    child = world.crm_child(one.crm, "Email")
    assert child is not None and child["Emai_EmailAddress"] == "new@northwind.example"


@pytest.mark.parametrize("found_by", ["notice", "poll", "sweep"])
@pytest.mark.parametrize(
    ("table", "columns", "erp_column", "expected"),
    [
        ("Email", {"Emai_EmailAddress": "new@nw.example"}, "contacts.default.email1", "new@nw.example"),
        ("Phone", {"Phon_Number": "79461111"}, "contacts.default.phone1", "79461111"),
        ("Address", {"Addr_City": "York"}, "contacts.default.mailingAddress.city", "York"),
        ("Person", {"Pers_FirstName": "Adela"}, "contacts.default.firstName", "Adela"),
    ],
)
def test_e7_a_child_row_of_sage_crm_edited_alone_arrives(
    world: World, found_by: str, table: str, columns: dict[str, str], erp_column: str, expected: str
) -> None:
    one = pair(world)
    world.poll()
    world.clock.advance(300)
    if found_by != "notice":
        world.crm.faults.merge({"notices_off": True})
    world.crm.person(table, world.crm_child_key(one.crm, table), columns)
    if found_by == "poll":
        world.poll()
    elif found_by == "sweep":
        world.sweep()
    world.settle()
    assert str(world.erp_record(one.erp)[erp_column]).endswith(expected)


def test_e7_a_child_row_nobody_has_seen_before_finds_its_company(world: World) -> None:
    one = pair(world, phone=[], email=[])
    phone = world.crm.person("Phone", None, {"Phon_Number": "0113 4960000"}, "create")
    email = world.crm.person("Email", None, {"Emai_EmailAddress": "first@nw.example"}, "create")
    link = {"PLink_EntityID": 5, "PLink_RecordID": int(one.crm), "PLink_PhoneId": int(phone), "PLink_Type": "Business"}
    world.crm.person("PhoneLink", None, link, "create")
    link = {"ELink_EntityID": 5, "ELink_RecordID": int(one.crm), "ELink_EmailId": int(email), "ELink_Type": "Business"}
    world.crm.person("EmailLink", None, link, "create")
    world.settle()
    customer = world.erp_record(one.erp)
    assert customer["contacts.default.phone1"] == "0113 4960000"
    assert customer["contacts.default.email1"] == "first@nw.example"


def test_e7_another_primary_person_and_address_are_an_edit_of_the_company(world: World) -> None:
    one = pair(world)
    person = world.crm.person(
        "Person", None, {"Pers_FirstName": "Ben", "Pers_LastName": "Baker", "Pers_CompanyId": int(one.crm)}, "create"
    )
    address = world.crm.person("Address", None, {"Addr_Address1": "9 High Row", "Addr_City": "York"}, "create")
    world.edit_crm(one.crm, Comp_PrimaryPersonId=int(person), Comp_PrimaryAddressId=int(address))
    world.settle()
    customer = world.erp_record(one.erp)
    assert (customer["contacts.default.firstName"], customer["contacts.default.lastName"]) == ("Ben", "Baker")
    assert customer["contacts.default.mailingAddress.city"] == "York"
    world.crm.person("Address", address, {"Addr_City": "Selby"})
    world.settle()
    assert world.erp_record(one.erp)["contacts.default.mailingAddress.city"] == "Selby"

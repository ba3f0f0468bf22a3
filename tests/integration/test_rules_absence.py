"""E8: what a vendor leaves out, does not find, or no longer lists."""

from __future__ import annotations

import pytest

from support.rules import (
    FLOW,
    STALE,
    Make,
    Pair,
    entries,
    pair,
    rest,
    row_of,
    run_once,
    stale_reads,
    when,
)
from support.world import World
from sync_worker.store import pauses


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
def test_e8_more_deletions_an_hour_than_allowed_pause_the_flow(make_light: Make, together: bool) -> None:
    world = make_light("limits = { unlinked = 2 }")
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


def test_e8_a_person_who_resumes_the_flow_lets_as_many_again_go(make_light: Make) -> None:
    world = make_light("limits = { unlinked = 2 }")
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


def test_e8_gumu_14_a_deletion_that_the_feed_shows_is_noticed_and_looked_at_twice(world: World) -> None:
    one = pair(world)
    world.poll()
    world.clock.advance(300)
    world.crm.faults.merge({"notices_off": True, "deleted_in_feeds": True})
    world.crm.person("Company", one.crm, {}, "delete")
    stranger = world.new_crm("Never Seen Ltd")
    world.crm.person("Company", stranger, {}, "delete")
    world.poll()
    assert row_of(world, crm=one.crm).due_at == world.clock()
    world.settle()
    assert row_of(world, erp=one.erp).state == "unlinked"
    assert world.erp_record(one.erp)["name"] == "Northwind Tools"
    assert stranger not in [row["crm_key"] for row in world.links()], "what we never knew is no news"


def test_e8_a_phone_whose_deletion_the_feed_shows_is_emptied_on_the_other_side(world: World) -> None:
    one = pair(world)
    world.poll()
    world.clock.advance(300)
    world.crm.faults.merge({"notices_off": True, "deleted_in_feeds": True})
    world.crm.person("Phone", world.crm_child_key(one.crm, "Phone"), {}, "delete")
    world.poll()
    world.settle()
    assert not world.erp_record(one.erp)["contacts.default.phone1"]


def test_e8_a_deletion_in_intacct_is_told_by_its_event_queue(world: World) -> None:
    one = pair(world)
    world.app.feeds.drain("erp")
    world.settle()
    world.erp.faults.merge({"webhooks": False})
    world.erp.person("customer", one.erp, {}, "delete")
    world.app.feeds.drain("erp")
    world.settle()
    assert row_of(world, crm=one.crm).state == "unlinked"
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Tools"

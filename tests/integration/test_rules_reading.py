"""E6 and E7: when to stop reading, and what of a read to believe."""

from __future__ import annotations

import pytest

from support.rules import (
    STALE,
    Make,
    api_writes,
    calls,
    field,
    in_the_past,
    pair,
    rest,
    row_of,
    run_once,
    stale_reads,
)
from support.world import World


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


def test_e7_what_was_stamped_before_the_flow_was_switched_on_is_no_notice(make_light: Make) -> None:
    world = make_light()
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


def test_e7_an_older_record_that_is_edited_now_is_noticed_by_the_feed(make_light: Make) -> None:
    world = make_light()
    with in_the_past(world):
        key = world.new_crm("Older Company")
    world.poll()
    world.edit_crm(key, Comp_Name="Older Company Ltd")
    world.poll()
    world.settle(deliver=False)
    assert row_of(world, crm=key).state == "not_synced"

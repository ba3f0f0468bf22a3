"""What a vendor may hold in a record and we cannot keep: it is that record's trouble only, and nothing else waits."""

from __future__ import annotations

import pytest

from support.rules import FLOW, Make, entries, in_the_past, pair, rest, row_of, run_once, when
from support.world import World
from sync_worker.desk import verifying
from sync_worker.engine.lengths import LONGEST_RECORD, LONGEST_VALUE


def settled(world: World) -> None:
    world.poll()
    world.settle()
    rest(world)


def names(world: World) -> set[str]:
    return {record["name"] for record in world.erp.list_records("customer")}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("Orchard\x00 Foods", "Orchard Foods"), ("Orchard \ud800 Ltd", "Orchard \ufffd Ltd"), ("Ä \udfff", "Ä \ufffd")],
)
def test_e4_text_that_no_database_holds_travels_as_far_as_it_can_and_delays_nobody(
    make: Make, typed: str, kept: str
) -> None:
    world = make()
    one, other = pair(world, "Orchard"), pair(world, "Mill Row")
    world.edit_crm(one.crm, Comp_Name=typed)
    world.edit_crm(other.crm, Comp_Name="Mill Lane")
    settled(world)
    assert names(world) == {kept, "Mill Lane"}
    assert {row["state"] for row in world.links()} == {"in_sync"}


def test_e4_a_value_of_absurd_length_fails_that_record_in_words_until_it_is_shortened(make: Make) -> None:
    world = make()
    one, other = pair(world, "Orchard"), pair(world, "Mill Row")
    world.edit_erp(one.erp, taxId="9" * (LONGEST_VALUE + 1))
    world.edit_erp(other.erp, name="Mill Lane")
    settled(world)
    told = world.explain("crm", one.crm)
    assert (told["state"], told["cause"]["code"]) == ("failing", "too_long")
    assert told["cause"]["text"] == "tax_number in erp is longer than 65,536 characters"
    assert row_of(world, crm=other.crm).state == "in_sync"
    assert "Mill Lane" in {row["Comp_Name"] for row in world.crm.list_records("Company")}
    world.edit_erp(one.erp, taxId="GB1")
    settled(world)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e4_a_record_of_absurd_length_in_all_fails_in_words_until_it_is_shortened(make: Make) -> None:
    world = make()
    one, other = pair(world, "Orchard"), pair(world, "Mill Row")
    contact = (f"contacts.default.{name}" for name in ("lastName", "email1", "URL1", "mailingAddress.city"))
    before = dict.fromkeys(("taxId", *contact), "")
    before |= {
        name: value for name, value in (world.erp.get_record("customer", one.erp) or {}).items() if name in before
    }
    world.edit_erp(one.erp, **dict.fromkeys(before, "x" * (LONGEST_RECORD // len(before) + 1)))
    world.edit_erp(other.erp, name="Mill Lane")
    settled(world)
    told = world.explain("crm", one.crm)
    assert (told["state"], told["cause"]["code"]) == ("failing", "too_long")
    assert told["cause"]["text"].startswith(f"the record in erp is longer than {LONGEST_RECORD:,} characters in all, ")
    assert row_of(world, crm=other.crm).state == "in_sync"
    world.edit_erp(one.erp, **before)
    settled(world)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e4_a_value_of_absurd_length_costs_those_beside_it_no_call_and_is_told_once(make: Make) -> None:
    world = make()
    ones = [pair(world, f"Customer {n}", comp_vatnumber=f"GB{n}") for n in range(4)]
    reads = []
    for tax in ("GB10", "9" * (LONGEST_VALUE + 1), "8" * (LONGEST_VALUE + 1)):
        for number, one in enumerate(ones):
            world.edit_erp(one.erp, **({"taxId": tax} if number == 0 else {"name": f"Named {tax[:3]} {number}"}))
        for vendor in (world.erp, world.crm):
            vendor.reset_stats()
        world.deliver()
        run_once(world.app)
        reads.append([vendor.stats()["reads"] for vendor in (world.erp, world.crm)])
        settled(world)
    assert reads[1] == reads[2] == reads[0], reads
    assert row_of(world, crm=ones[0].crm).state == "failing"
    assert {row["Comp_Name"] for row in world.crm.list_records("Company")} >= {f"Named 888 {n}" for n in (1, 2, 3)}
    assert [entry["link_id"] for entry in entries(world, "dead_end")] == [ones[0].id]


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e4_a_new_record_with_a_value_of_absurd_length_is_made_nowhere_and_kept_nowhere(make: Make, side: str) -> None:
    world = make()
    long = "9" * (2 * LONGEST_VALUE)
    if side == "erp":
        key = world.new_erp("Orchard", id="C-1", taxId=long)
    else:
        key = world.new_crm("Orchard", comp_vatnumber=long)
    settled(world)
    told = world.explain(side, key)
    assert (told["state"], told["cause"]["code"]) == ("failing", "too_long")
    assert told["cause"]["text"] == f"tax_number in {side} is longer than 65,536 characters"
    assert long not in str(world.links()) + str(entries(world))
    target, edit = (world.crm, world.edit_erp) if side == "erp" else (world.erp, world.edit_crm)
    assert not target.list_records("Company" if side == "erp" else "customer")
    edit(key, **({"taxId": "GB1"} if side == "erp" else {"comp_vatnumber": "GB1"}))
    settled(world)
    assert world.explain(side, key)["state"] == "in_sync"
    assert len(target.list_records("Company" if side == "erp" else "customer")) == 1


def test_e18_what_an_unknown_create_made_is_found_though_its_source_has_become_absurdly_long(make: Make) -> None:
    world = make()
    key = world.new_crm("Orchard")
    world.erp.faults.fail_next.append({"operation": "create customer", "fault": "lost_after_apply"})
    long = "9" * (LONGEST_VALUE + 1)
    when(world.erp, "create customer", lambda: world.edit_crm(key, comp_vatnumber=long), after=True)
    settled(world)
    assert len(world.erp.list_records("customer")) == 1
    row = row_of(world, crm=key)
    assert (row.state, row.cause, row.erp_key is not None) == ("failing", "too_long", True)


@pytest.mark.parametrize("gone", [False, True])
def test_e4_what_the_other_side_did_meanwhile_is_seen_once_the_value_is_shortened(make: Make, gone: bool) -> None:
    world = make()
    one = pair(world, "Orchard")
    before = world.erp_record(one.erp)["taxId"]
    world.edit_erp(one.erp, taxId="9" * (LONGEST_VALUE + 1))
    settled(world)
    if gone:
        world.crm.person("Company", one.crm, {}, "delete")
    else:
        world.edit_crm(one.crm, Comp_Name="Mill Lane")
    settled(world)
    assert row_of(world, erp=one.erp).state == ("unlinked" if gone else "failing")
    world.edit_erp(one.erp, taxId=before)
    world.deliver()
    world.work()
    if not gone:
        settled(world)
        assert world.erp_record(one.erp)["name"] == "Mill Lane"
        assert row_of(world, crm=one.crm).state == "in_sync"


def test_e4_what_was_edited_beside_the_long_value_is_seen_once_that_is_shortened(make: Make) -> None:
    world = make()
    one = pair(world, "Orchard")
    before = world.erp_record(one.erp)["contacts.default.phone1"]
    (phone,) = world.crm.list_records("Phone")
    world.edit_crm(one.crm, comp_vatnumber="9" * (LONGEST_VALUE + 1))
    world.crm.person("Phone", str(phone["Phon_PhoneId"]), {"Phon_Number": "79461111"})
    settled(world)
    assert row_of(world, crm=one.crm).state == "failing"
    world.edit_crm(one.crm, comp_vatnumber="GB123456789")
    world.deliver()
    world.work()  # no poll and no sweep, which would find it
    after = world.erp_record(one.erp)["contacts.default.phone1"]
    assert after != before and after.replace(" ", "").endswith("79461111")


def test_e4_a_record_that_the_flow_leaves_out_may_be_as_long_as_it_likes(make: Make) -> None:
    world = make('[flows.customers.filter]\ncrm = { Comp_Type = ["Customer"] }')
    long = "9" * (LONGEST_VALUE + 1)
    key = world.new_crm("Supplier Ltd", Comp_Type="Supplier", comp_vatnumber=long)
    one = pair(world, "Orchard", Comp_Type="Customer")
    world.edit_crm(one.crm, Comp_Type="Supplier")
    settled(world)
    world.edit_crm(one.crm, comp_vatnumber=long)
    settled(world)
    assert [row_of(world, crm=each).state for each in (key, one.crm)] == ["excluded", "excluded"]
    assert verifying.verify(world.app, FLOW).ok


def test_e4_an_unlinked_record_keeps_its_reason_while_its_value_is_too_long(make: Make) -> None:
    world = make()
    one = pair(world, "Orchard")
    world.erp.person("customer", one.erp, {}, "delete")
    settled(world)
    kept = world.explain("crm", one.crm)["cause"]
    for tax in ("9" * (LONGEST_VALUE + 1), "GB1"):
        world.edit_crm(one.crm, comp_vatnumber=tax)
        settled(world)
        told = world.explain("crm", one.crm)
        assert (told["state"], told["cause"]) == ("unlinked", kept)


def test_e4_what_waited_before_is_hidden_by_the_dead_end_and_comes_back_after_it(make: Make) -> None:
    world = make()
    with in_the_past(world):
        world.new_crm("Orchard Ltd")
        world.new_crm("Orchard Ltd")
    key = world.new_erp("Orchard Ltd", id="C-1")
    settled(world)
    waiting = world.explain("erp", key)
    assert waiting["state"] in ("waiting", "conflict") and waiting["candidates"]
    world.edit_erp(key, taxId="9" * (LONGEST_VALUE + 1))
    settled(world)
    told = world.explain("erp", key)
    assert (told["state"], told["waiting_on"], told["candidates"]) == ("failing", None, [])
    world.edit_erp(key, taxId="GB1")
    settled(world)
    again = world.explain("erp", key)
    assert (again["state"], again["candidates"]) == (waiting["state"], waiting["candidates"])


def test_e4_an_id_that_no_table_holds_delays_no_other(make: Make) -> None:
    world = make()
    other = pair(world, "Mill Row")
    world.erp.person("customer", None, {"name": "Odd", "id": "C\x00\ud800" + "9" * 300}, "create")
    world.edit_erp(other.erp, name="Mill Lane")
    settled(world)
    assert row_of(world, crm=other.crm).state == "in_sync"
    (odd,) = [row for row in world.links() if row["crm_key"] != other.crm]
    assert (odd["state"], len(odd["erp_ref"])) == ("in_sync", 255)

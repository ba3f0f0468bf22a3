"""What a vendor may hold in a record and we cannot keep: it is that record's trouble only, and nothing else waits."""

from __future__ import annotations

import pytest

from support.rules import Make, pair, rest, row_of
from support.world import World
from sync_worker.engine.reading import LONGEST_RECORD, LONGEST_VALUE


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
    assert told["cause"]["text"] == f"the record in erp is longer than {LONGEST_RECORD:,} characters in all"
    assert row_of(world, crm=other.crm).state == "in_sync"
    world.edit_erp(one.erp, **before)
    settled(world)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e4_an_id_that_no_table_holds_delays_no_other(make: Make) -> None:
    world = make()
    other = pair(world, "Mill Row")
    world.erp.person("customer", None, {"name": "Odd", "id": "C\x00\ud800" + "9" * 300}, "create")
    world.edit_erp(other.erp, name="Mill Lane")
    settled(world)
    assert row_of(world, crm=other.crm).state == "in_sync"
    (odd,) = [row for row in world.links() if row["crm_key"] != other.crm]
    assert (odd["state"], len(odd["erp_ref"])) == ("in_sync", 255)

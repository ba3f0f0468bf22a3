"""GUMU-7: only part of the key agrees. What links, what is only suggested, what is a conflict."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import FLOW, Make, api_writes, in_the_past, pair, rest, row_of
from support.world import World
from sync_worker import desk
from sync_worker.desk import importing
from sync_worker.imports import Selection

COMPANY = "Acme UK"


def ids(ref: str = "", key: str = "") -> dict[str, str]:
    """The CRM's own columns, as a person or another product filled them."""
    return {"comp_intacct_customerid": ref, "comp_intacct_recordno": key, "comp_intacct_company": COMPANY}


def both(world: World, erp_name: str, *crm: tuple[str, dict[str, Any]], **erp: Any) -> tuple[str, list[str]]:
    """A customer and companies from before the flow was switched on."""
    with in_the_past(world):
        key = world.new_erp(erp_name, **{"id": "C-78", **erp})
        made = [world.new_crm(name, **columns) for name, columns in crm]
    return key, made


def imported(world: World) -> dict[str, int]:
    found = importing.run_import(world.app, FLOW, Selection()).counts
    world.settle()
    return found


def candidates(world: World, erp: str) -> list[str]:
    return [one["key"] for one in world.explain("erp", erp)["candidates"]]


def test_gumu_7_a_renamed_customer_that_is_linked_is_an_update_and_no_second_company(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_erp(one.erp, name="Renamed Works")
    assert imported(world) == {"updated": 1}
    assert world.crm_record(one.crm)["Comp_Name"] == "Renamed Works"
    assert len(world.links()) == 1


def test_gumu_7_a_renamed_customer_is_adopted_by_the_record_number_in_the_crms_column(make: Make) -> None:
    world = make()
    key, (crm,) = both(world, "Renamed Works", ("Northwind Tools", {}))
    world.edit_crm(crm, **ids("C-78", key))
    world.crm.take_notices()
    assert imported(world) == {"linked": 1}
    assert row_of(world, erp=key).crm_key == crm
    assert world.crm_record(crm)["Comp_Name"] == "Renamed Works"


def test_gumu_7_under_strict_gumu_a_renamed_customer_is_never_linked_by_two_of_three(make: Make) -> None:
    world = make('match_policy = "strict_gumu"')
    key, (crm,) = both(world, "Renamed Works", ("Northwind Tools", {}))
    world.edit_crm(crm, **ids("C-78", key))
    world.crm.take_notices()
    before = api_writes(world)
    assert imported(world) == {"waiting": 1}  # shown to a person, who may have one inserted
    assert candidates(world, key) == [crm] and api_writes(world) == before
    desk.sync_record(world.app, "erp", key)
    world.settle()
    assert row_of(world, erp=key).crm_key not in (None, crm)


@pytest.mark.parametrize("name", ["Northwind Tools", "Somebody Else"])
def test_gumu_7_a_customer_id_used_again_with_another_record_number_is_a_conflict(make: Make, name: str) -> None:
    world = make()
    key, (crm,) = both(world, "Northwind Tools", (name, ids("C-78", "999")))
    before = api_writes(world)
    assert imported(world) == {"waiting": 1}
    row = row_of(world, erp=key)
    assert (row.state, row.cause) == ("conflict", "ids_disagree")
    assert api_writes(world) == before and world.crm_record(crm)["comp_intacct_recordno"] == "999"


def test_gumu_7_two_companies_of_one_name_are_only_suggested(make: Make) -> None:
    world = make()
    key, made = both(world, "Northwind Tools Ltd", ("Northwind Tools", {}), ("NORTHWIND TOOLS LIMITED", {}))
    before = api_writes(world)
    assert imported(world) == {"waiting": 1}
    assert candidates(world, key) == made and api_writes(world) == before


def test_gumu_7_of_the_name_of_a_candidate_as_much_is_kept_as_people_read(make: Make) -> None:
    world = make()
    key, made = both(world, "Northwind Tools", ("N" * 10_000, {}), ("N" * 10_000, {}))
    for crm in made:
        world.edit_crm(crm, **ids("C-78", key))
    world.crm.take_notices()
    assert imported(world) == {"waiting": 1}
    assert [one["name"] for one in world.explain("erp", key)["candidates"]] == ["N" * 255] * 2


@pytest.mark.parametrize(
    ("erp", "crm"),
    [
        ("Northwind Tools Ltd", "  northwind   TOOLS Limited. "),
        ("Müller & Söhne GmbH", "MUELLER UND SOEHNE"),
        ("O'Brien Foods plc", "O\u2019BRIEN FOODS"),
        ("Weiß-Glas AG", "Weiss Glas A.G."),
    ],
)
def test_gumu_7_id_and_a_name_that_differs_in_case_blanks_and_legal_form_link(
    make_light: Make, erp: str, crm: str
) -> None:
    world = make_light()
    key, (made,) = both(world, erp, (crm, ids("c-78")))
    assert imported(world) == {"linked": 1}
    assert row_of(world, erp=key).crm_key == made


def test_gumu_7_two_companies_with_the_same_key_are_a_conflict_that_names_both(make: Make) -> None:
    world = make()
    key, made = both(world, "Northwind Tools", ("Northwind Tools", {}), ("Northwind Tools", {}))
    for crm in made:
        world.edit_crm(crm, **ids("C-78", key))
    world.crm.take_notices()
    before = api_writes(world)
    assert imported(world) == {"waiting": 1}
    assert (row_of(world, erp=key).state, candidates(world, key)) == ("conflict", made)
    assert api_writes(world) == before


@pytest.mark.parametrize(("company", "verdict"), [("acme uk", "linked"), ("Acme France", "waiting")])
def test_gumu_7_the_company_name_is_read_as_the_erp_company_and_as_the_customers_name(
    make_light: Make, company: str, verdict: str
) -> None:
    world = make_light()
    columns = {**ids("C-78"), "comp_intacct_company": company}
    key, (crm,) = both(world, "Northwind Tools", ("Northwind Tools Ltd", columns))
    assert imported(world) == {verdict: 1}
    if verdict == "waiting":  # the ids of another ERP company say nothing, and the name alone only suggests
        assert candidates(world, key) == [crm]


def test_gumu_7_the_stored_link_outweighs_whatever_the_columns_say_since(make: Make) -> None:
    world = make()
    one = pair(world)
    with in_the_past(world):
        rival = world.new_crm("Northwind Tools", **ids("CRM-1", one.erp))
    assert imported(world) == {"unchanged": 1}
    rest(world)
    assert row_of(world, erp=one.erp).crm_key == one.crm != rival


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("GB 123 4567 89", "GB123456789"),
        ("123 4567 89", "GB123456789"),
        ("DE 123 456 789", "de123456789"),
        ("FR 12 345678901", "FR12345678901"),
        ("GB123456789", "GB 123 4567 89"),
    ],
)
def test_gumu_7_lay_4_a_tax_number_that_intacct_holds_in_groups_is_found(
    make_light: Make, stored: str, typed: str
) -> None:
    world = make_light()
    with in_the_past(world):
        key = world.new_erp("Archer Foods", id="C-78", taxId=stored)
    crm = world.new_crm("Baker Tools", comp_vatnumber=typed)
    world.settle()
    shown = world.explain("crm", crm)
    assert (shown["state"], [(one["key"], one["why"]) for one in shown["candidates"]]) == (
        "waiting",
        [(key, "tax number")],
    )


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("Müller & Söhne GmbH", "MUELLER UND SOEHNE"),
        ("Mueller Und Soehne", "Müller + Söhne"),
        ("Smith-Jones  Timber Ltd", "Smith Jones Timber"),
        ("Österreich Glas AG", "Oesterreich Glas"),
    ],
)
def test_gumu_7_lay_4_a_name_that_intacct_holds_in_another_spelling_is_found(
    make_light: Make, stored: str, typed: str
) -> None:
    world = make_light()
    with in_the_past(world):
        key = world.new_erp(stored, id="C-78")
    crm = world.new_crm(typed)
    world.settle()
    assert [(one["key"], one["why"]) for one in world.explain("crm", crm)["candidates"]] == [(key, "name")]

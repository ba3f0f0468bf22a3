"""GUMU-1: customers that are private to an entity of the Intacct company take part in its import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.companies import SECOND, Make, TwoErps, worlds_of_two
from support.rules import FLOW, api_writes, rest, row_of
from sync_worker.connectors.intacct import query
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.desk import importing
from sync_worker.imports import Selection, select_by


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds_of_two(tmp_path, database_url)


@pytest.fixture
def two(make: Make) -> TwoErps:
    """``erp`` works at the top level of the company, ``erp2`` in its entity DE."""
    return make(second="", more='entity = "DE"', shared_erp=IntacctEmulator(entities=("UK", "DE")))


def filled(two: TwoErps) -> dict[str, str]:
    """One customer of the whole company, and two private to each of its entities: keys by name."""
    made = {"Top": two.new_in("erp", "Top", id="Top")}
    for entity in ("UK", "DE"):
        made |= {name: two.new_private("erp", entity, name) for name in (f"{entity} 1", f"{entity} 2")}
    two.clock.advance(3600)
    return made


def names(two: TwoErps) -> list[str]:
    return sorted(str(row["Comp_Name"]) for row in two.companies().values())


def test_gumu_1_an_import_at_the_top_level_takes_the_private_customers_of_every_entity(
    two: TwoErps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 2)
    made = filled(two)
    assert importing.extent(two.app, FLOW, Selection()).changed == len(made)
    assert {one.verdict for one in importing.preview(two.app, FLOW, Selection())} == {"create"}
    told: list[int | None] = []
    ended = importing.run_import(two.app, FLOW, Selection(), progress=lambda at: told.append(at.total))
    assert ended.counts == {"created": 5} and ended.anew is not None and ended.anew.count == 0
    assert set(told) == {5}, "they are counted too"
    assert names(two) == sorted(made)
    assert {str(row_of(two, erp=key).flow) for key in made.values()} == {FLOW}
    before = api_writes(two)
    assert importing.run_import(two.app, FLOW, Selection()).counts == {"unchanged": 5}
    assert api_writes(two) == before


def test_gumu_1_an_import_in_an_entity_takes_its_own_private_customers_and_nobody_elses(two: TwoErps) -> None:
    made = filled(two)
    assert importing.run_import(two.app, SECOND, Selection()).counts == {"created": 3}
    assert names(two) == ["DE 1", "DE 2", "Top"]
    assert {row["erp_key"] for row in two.links()} == {made[name] for name in ("DE 1", "DE 2", "Top")}


def test_gumu_3_a_number_range_and_a_day_take_private_customers_as_all_others(two: TwoErps) -> None:
    filled(two)
    assert importing.run_import(two.app, FLOW, select_by(None, "UK 1", "UK 2")).counts == {"created": 2}
    assert importing.run_import(two.app, FLOW, select_by("2099-01-01", None, None)).counts == {}


def test_gumu_1_a_private_customer_stays_in_step_both_ways_once_it_is_imported(two: TwoErps) -> None:
    made = filled(two)
    importing.run_import(two.app, FLOW, Selection())
    two.poll()  # feeds begin here
    key = made["UK 1"]
    crm = str(row_of(two, erp=key).crm_key)
    two.edit_crm(crm, Comp_WebSite="http://uk.example", Comp_Name="UK One")
    two.deliver()
    two.settle()
    rest(two)
    held = two.customer("erp", key)
    assert (held["name"], held["contacts.default.URL1"]) == ("UK One", "http://uk.example")
    two.edit_in("erp", key, name="UK Won")
    two.clock.advance(5)
    two.poll()
    rest(two)
    assert two.crm_record(crm)["Comp_Name"] == "UK Won"
    assert two.customer("erp", key)["entity.id"] == "UK", "and it is private as before"

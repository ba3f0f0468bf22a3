"""LAY-15: which flow, and so which Sage company, takes the customers of a sub-company of The Layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from support.rules import rest
from support.the_layer import LayerWorld, Make, layer_worlds
from sync_worker import reports
from sync_worker.connectors.intacct.emulator import make as make_intacct
from sync_worker.desk import verifying
from sync_worker.errors import ConfigError
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.tables import link

COMMON = 'create_in_crm = "never"\n'
SECOND = """
[systems.erp2]
connector = "intacct"
base_url = "http://erp2.test/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme DE"
stale_seconds = 30
[flows.second]
entity = "customer"
erp = "erp2"
crm = "crm"
create_in_crm = "never"
new_customer_id = "L-{{crm_key}}"
{lines}
"""
NORTH, SOUTH = 'sub_companies = ["North Ltd", "East Ltd"]', 'sub_companies = ["South GmbH"]'


def lines(first: str, second: str) -> str:
    return COMMON + first + SECOND.format(lines=second)


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from layer_worlds(tmp_path, database_url)


def world_of(make: Make, first: str = NORTH, second: str = SOUTH) -> LayerWorld:
    return make(lines(first, second), vendors={"erp2": make_intacct(7)})


def new(world: LayerWorld, name: str, sub_company: str | None) -> str:
    key = world.new_layer(name, subCompany=sub_company)
    world.settle()
    rest(world)
    return key


def names_in(world: LayerWorld, system: str) -> list[str]:
    return sorted(row["name"] for row in world.vendors[system].list_records("customer"))


def rows(world: LayerWorld, key: str) -> dict[str, LinkRow]:
    """The customer's links by flow."""
    with world.db.read() as conn:
        found = rows_of(conn, select(link).where(link.c.crm_key == key))
    return {row.flow: row for row in found}


def states(world: LayerWorld, key: str) -> dict[str, Any]:
    return {flow: (row.state, row.cause) for flow, row in rows(world, key).items()}


def test_lay_15_the_sub_company_decides_which_sage_company_gets_the_customer(make: Make) -> None:
    world = world_of(make)
    north, south = new(world, "Archer Foods", "North Ltd"), new(world, "Baker Tools", "South GmbH")
    assert (names_in(world, "erp"), names_in(world, "erp2")) == (["Archer Foods"], ["Baker Tools"])
    assert states(world, north) == {"customers": ("in_sync", ""), "second": ("excluded", "filter")}
    assert states(world, south) == {"customers": ("excluded", "filter"), "second": ("in_sync", "")}
    assert world.layer_record(south)["/sage/companyName"] == "Acme DE"


def test_lay_15_several_sub_companies_may_share_one_sage_company_however_they_are_spelled(make: Make) -> None:
    world = world_of(make)
    for name, sub_company in (("Archer Foods", "North Ltd"), ("Carter Paper", "  EAST   ltd ")):
        new(world, name, sub_company)
    assert (names_in(world, "erp"), names_in(world, "erp2")) == (["Archer Foods", "Carter Paper"], [])


def test_lay_15_an_unmapped_sub_company_waits_once_with_a_clear_cause_and_goes_nowhere(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", "West Ltd")
    world.sync_now(key, "customers")
    assert states(world, key) == {"customers": ("waiting", "sub_company_unmapped"), "second": ("excluded", "filter")}
    told = reports.explain(world.db, world.app.flows["customers"], rows(world, key)["customers"])
    assert told["cause"]["text"] == "no flow takes the sub-company West Ltd"
    assert told["waiting_on"] == "sub_company:crm:West Ltd"
    assert (names_in(world, "erp"), names_in(world, "erp2")) == ([], [])


def test_lay_15_of_the_name_of_an_unmapped_sub_company_as_much_is_kept_as_people_read(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", "W" * 50_000)
    told = reports.explain(world.db, world.app.flows["customers"], rows(world, key)["customers"])
    assert told["cause"]["text"] == "no flow takes the sub-company " + "W" * 255


@pytest.mark.parametrize("taker", ["customers", "second"])
def test_lay_15_once_a_flow_takes_it_exactly_what_waited_for_it_is_released_by_itself(make: Make, taker: str) -> None:
    world = world_of(make)
    keys = [new(world, f"Archer Foods {n}", "West Ltd") for n in range(3)]
    other = new(world, "Baker Tools", "Isle Ltd")
    world.edit_layer(keys[0], companyName="Archer Works")
    world.crm.take_notices()  # nobody is told: the record as it is now counts, not as it was
    calls_before = rows(world, other)["customers"].erp_dirty, rows(world, other)["customers"].crm_dirty
    first = 'sub_companies = ["North Ltd", "WEST  ltd"]' if taker == "customers" else NORTH
    second = SOUTH if taker == "customers" else 'sub_companies = ["South GmbH", "West Ltd"]'
    world.reconfigure(lines(first, second))
    world.settle()
    rest(world)
    system = {"customers": "erp", "second": "erp2"}
    assert {states(world, key)[taker] for key in keys} == {("in_sync", "")}
    assert names_in(world, system[taker]) == ["Archer Foods 1", "Archer Foods 2", "Archer Works"]
    assert names_in(world, system["second" if taker == "customers" else "customers"]) == []
    assert states(world, other)["customers"] == ("waiting", "sub_company_unmapped")
    assert (rows(world, other)["customers"].erp_dirty, rows(world, other)["customers"].crm_dirty) == calls_before


def test_lay_15_a_worker_that_dies_while_it_starts_or_works_releases_each_once(make: Make) -> None:
    world = world_of(make)
    keys = [new(world, f"Archer Foods {n}", "West Ltd") for n in range(4)]
    world.reconfigure(lines('sub_companies = ["North Ltd", "West Ltd"]', SOUTH))
    with world.crashing_after(7):
        world.work()
    world.settle()
    rest(world)
    assert {states(world, key)["customers"] for key in keys} == {("in_sync", "")}
    assert names_in(world, "erp") == [f"Archer Foods {n}" for n in range(4)]


def test_lay_15_what_waits_without_a_sub_company_is_released_by_a_default_flow(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", None)
    assert states(world, key)["customers"] == ("waiting", "sub_company_unmapped")
    world.reconfigure(lines(NORTH, f"{SOUTH}\ndefault_sub_company = true"))
    world.settle()
    rest(world)
    assert states(world, key) == {"customers": ("excluded", "filter"), "second": ("in_sync", "")}


def test_lay_15_a_customer_that_names_its_sub_company_later_goes_then(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", None)
    assert states(world, key)["customers"] == ("waiting", "sub_company_unmapped")
    world.edit_layer(key, subCompany="South GmbH")
    world.settle()
    rest(world)
    assert states(world, key) == {"customers": ("excluded", "filter"), "second": ("in_sync", "")}


def test_lay_15_without_sub_companies_the_flow_marked_default_takes_it_and_tells_of_the_unmapped(make: Make) -> None:
    world = world_of(make, second=f"{SOUTH}\ndefault_sub_company = true")
    key, unmapped = new(world, "Archer Foods", None), new(world, "Baker Tools", "West Ltd")
    assert (names_in(world, "erp"), names_in(world, "erp2")) == ([], ["Archer Foods"])
    assert states(world, key) == {"customers": ("excluded", "filter"), "second": ("in_sync", "")}
    assert states(world, unmapped) == {
        "customers": ("excluded", "filter"),
        "second": ("waiting", "sub_company_unmapped"),
    }


def test_lay_15_a_linked_customer_moved_to_an_unmapped_sub_company_rests_and_catches_up(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", "North Ltd")
    world.edit_layer(key, subCompany="West Ltd", email="late@archer.example")
    world.settle()
    rest(world)
    assert states(world, key)["customers"] == ("waiting", "sub_company_unmapped")
    assert not world.erp_record(str(rows(world, key)["customers"].erp_key))["contacts.default.email1"]
    world.edit_layer(key, subCompany="North Ltd")
    world.settle()
    rest(world)
    assert states(world, key)["customers"] == ("in_sync", "")
    assert world.erp_record(str(rows(world, key)["customers"].erp_key))["contacts.default.email1"] == (
        "late@archer.example"
    )


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (NORTH, 'sub_companies = ["north  LTD"]', "already taken by the flow 'customers'"),
        (NORTH, "", "take sub-companies: name this flow's"),
        ("default_sub_company = true", "default_sub_company = true", "already takes the records without"),
    ],
)
def test_lay_15_a_mapping_with_gaps_or_overlaps_is_refused_in_one_line(
    make: Make, first: str, second: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=r"flows\.second") as caught:
        world_of(make, first, second)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lay_15_a_linked_customer_moved_to_another_sage_company_is_not_doubled_unasked(make: Make) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", "North Ltd")
    world.edit_layer(key, subCompany="South GmbH")
    world.settle()
    rest(world)
    assert states(world, key)["customers"] == ("excluded", "filter")
    assert states(world, key)["second"] == ("not_synced", "other_company")
    assert names_in(world, "erp2") == []


@pytest.mark.parametrize(
    ("before", "after"), [("West Ltd", "North Ltd"), ("North Ltd", "West Ltd"), ("West Ltd", "Isle Ltd")]
)
def test_lay_15_a_move_that_nobody_announced_is_found_by_polling(make: Make, before: str, after: str) -> None:
    world = world_of(make)
    key = new(world, "Archer Foods", before)
    world.poll()
    world.crm.faults.merge({"notices_off": True})
    world.clock.advance(300)
    world.edit_layer(key, subCompany=after)
    world.poll()
    world.settle()
    row = rows(world, key)["customers"]
    assert row.state == ("in_sync" if after == "North Ltd" else "waiting")
    assert (row.cause_params or {}).get("sub_company", "North Ltd") == after
    rest(world)
    world.poll()
    world.settle()
    world.poll()
    assert world.work() == 0  # what is known is no news


def test_lay_15_what_waits_for_its_sub_company_is_nothing_apart_for_verify(make: Make) -> None:
    world = world_of(make)
    new(world, "Archer Foods", "West Ltd")
    new(world, "Baker Tools", "North Ltd")
    report = verifying.verify(world.app, "customers")
    assert report.complete, report.document()
    assert (report.matched, report.only["crm"], report.differing, report.handed_over) == (1, 1, 0, 0)

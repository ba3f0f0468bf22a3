"""One edit through the whole walk, both ways, with both emulators in the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.world import World


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> World:
    return World(tmp_path, sqlite_url)


def test_a_customer_made_in_the_erp_appears_in_the_crm_once(world: World) -> None:
    key = world.new_erp("Orchard Foods", id="C-77", **{"contacts.default.email1": "ivy@orchard.example"})
    world.settle()
    (row,) = world.links()
    assert row["state"] == "in_sync", world.explain("erp", key)
    assert world.crm_record(row["crm_key"])["Comp_Name"] == "Orchard Foods"
    assert [w.op for w in world.written("crm") if w.entity == "Company"] == ["create"]


def test_a_company_made_in_the_crm_appears_in_the_erp_once_and_both_know_each_other(world: World) -> None:
    key = world.new_crm("Northwind Tools")
    world.settle()
    (row,) = world.links()
    assert row["state"] == "in_sync", world.explain("crm", key)
    assert world.erp_record(row["erp_key"])["name"] == "Northwind Tools"
    assert world.crm_record(key)["comp_intacct_recordno"] == row["erp_key"]
    assert len([w for w in world.written("erp") if w.op == "create" and "customer" in w.entity]) == 1


def test_an_edit_travels_and_its_echo_writes_nothing(world: World) -> None:
    key = world.new_crm("Northwind Tools")
    world.settle()
    erp_key = world.links()[0]["erp_key"]
    before = len(world.written("erp")), len(world.written("crm"))
    world.edit_crm(key, Comp_Name="Northwind Tools Ltd")
    world.settle()
    assert world.erp_record(erp_key)["name"] == "Northwind Tools Ltd"
    world.edit_erp(erp_key, name="Northwind Group")
    world.settle()
    assert world.crm_record(key)["Comp_Name"] == "Northwind Group"
    assert (len(world.written("erp")), len(world.written("crm"))) == (before[0] + 1, before[1] + 1)

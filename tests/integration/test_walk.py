"""One edit through the whole walk, both ways, with both emulators in the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from support.world import World


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> World:
    return World(tmp_path, sqlite_url)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Every log line with its context, also the finest."""
    seen: list[dict[str, Any]] = []
    before = structlog.get_config()

    def keep(_logger: Any, _method: str, line: Any) -> Any:
        seen.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    yield seen
    structlog.configure(**before)


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


def test_every_line_of_a_pass_says_its_flow_its_link_and_of_a_call_the_system(
    world: World, lines: list[dict[str, Any]]
) -> None:
    keys = [world.new_crm(name) for name in ("Northwind Tools", "Orchard Foods")]
    world.settle()
    lines.clear()
    world.edit_crm(keys[0], Comp_Name="Northwind Tools Ltd")
    world.settle()
    calls = [one for one in lines if one["event"] == "vendor.call"]
    ended = [one for one in lines if one["event"] == "sync.ended"]
    assert {one["system"] for one in calls} == {"erp", "crm"} and ended
    assert {(one["flow"], one.get("link")) for one in calls + ended} == {("customers", 1)}
    lines.clear()
    for key in keys:
        world.edit_crm(key, Comp_WebSite="http://new.example")
    world.settle()
    together = [one for one in lines if one["event"] == "vendor.call" and "links" in one]
    assert together and all(one["links"] == [1, 2] and "link" not in one for one in together)

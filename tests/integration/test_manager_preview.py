"""Dry runs of ``managers map`` and ``upload``: what the released links would write, by the engine's own preview."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import FLOW, Make, api_writes, pair, rest
from support.world import World
from sync_worker import directories
from sync_worker.desk import foreseen, manager_preview, managers
from sync_worker.store.managers import AmbiguousMapping


@pytest.fixture
def world(make: Make) -> World:
    made = make()
    for connector in made.app.systems.values():
        directories.refresh(made.db, connector)
    return made


def waiting(world: World, name: str, employee: str) -> str:
    """A linked company whose ERP manager has no row; its key."""
    one = pair(world, name, Comp_Name=name)
    world.edit_erp(one.erp, **{"salesRepresentative.id": employee})
    rest(world)
    return one.crm


def said(world: World, *made: managers.Proposal) -> list[dict[str, Any]]:
    return [foreseen.document(one) for one in manager_preview.preview(world.app, made)]


def test_am_6_a_new_rows_preview_names_exactly_who_waits_and_the_release_writes_just_that(world: World) -> None:
    first, second = waiting(world, "Northwind Tools", "E-10"), waiting(world, "Southwind Foods", "E-11")
    before, links = api_writes(world), world.links()
    row = managers.propose(world.app, FLOW, "E-10", "sellers1")
    (one,) = said(world, row)
    assert (one["verdict"], one["crm"]["key"]) == ("update", first)
    assert one["fields"] == {"account_manager": {"side": "crm", "before": None, "after": "2"}}
    assert api_writes(world) == before and world.links() == links
    managers.map_managers(world.app, [row])
    rest(world)
    assert world.crm_record(first)["Comp_PrimaryUserId"] == 2
    assert not world.crm_record(second)["Comp_PrimaryUserId"]


def test_am_5_a_preview_knows_the_other_rows_of_its_file_and_refuses_what_would_be_refused(world: World) -> None:
    first, second = waiting(world, "Northwind Tools", "E-10"), waiting(world, "Southwind Foods", "E-11")
    rows = [managers.propose(world.app, FLOW, key, "sellers1", preferred=key == "E-10") for key in ("E-10", "E-11")]
    assert [one["crm"]["key"] for one in said(world, *rows)] == [first, second]
    with pytest.raises(AmbiguousMapping):
        said(world, *(managers.propose(world.app, FLOW, key, "sellers1") for key in ("E-10", "E-11")))


def test_am_1_a_row_for_a_disabled_user_is_previewed_as_waiting_on(world: World) -> None:
    waiting(world, "Northwind Tools", "E-10")
    world.crm.person("Users", "2", {"User_Disabled": "Y"})
    directories.refresh(world.db, world.app.systems["crm"])
    (one,) = said(world, managers.propose(world.app, FLOW, "E-10", "sellers1"))
    assert (one["verdict"], one["cause"]["code"]) == ("waiting", "manager_disabled")

"""E20: unlinking splits, linking joins."""

from __future__ import annotations

import pytest

from support.rules import (
    FLOW,
    Make,
    Pair,
    api_writes,
    in_the_past,
    pair,
    rest,
    row_of,
)
from support.world import World
from sync_worker.events import Change, Side
from sync_worker.store import leases, links
from sync_worker.store.saves import Gone, Save

URL = "contacts.default.URL1"


def unlink(world: World, one: Pair, side: Side = "erp") -> None:
    """What a person's unlinking does: the row is split, under its token."""
    world.notice("crm", one.crm)
    (row,) = leases.claim(world.db, world.app.flows[FLOW].scope, ids=[one.id])
    links.save(world.db, [Save(row, gone=Gone(side, "unlinked", {}))])


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e20_unlinking_makes_two_half_rows_that_remember_each_other(make: Make, side: Side) -> None:
    world = make()
    one = pair(world)
    unlink(world, one, side)
    erp, crm = row_of(world, erp=one.erp), row_of(world, crm=one.crm)
    assert erp.id != crm.id and {erp.state, crm.state} == {"unlinked"}
    assert erp.was_linked_to == {"id": crm.id, "key": one.crm, "ref": one.crm}
    assert crm.was_linked_to == {"id": erp.id, "key": one.erp, "ref": "CRM-1"}


def test_e20_what_was_unlinked_stays_so_whatever_is_edited(make: Make) -> None:
    world = make('create_in_erp = "on_change"\ncreate_in_crm = "on_change"')
    one = pair(world)
    unlink(world, one)
    before = api_writes(world)
    for turn in range(2):
        world.edit_crm(one.crm, Comp_Name=f"Crm {turn}")
        world.edit_erp(one.erp, name=f"Erp {turn}")
        world.poll()
        world.sweep()
        world.settle()
        rest(world)
    assert api_writes(world) == before
    assert row_of(world, erp=one.erp).state == row_of(world, crm=one.crm).state == "unlinked"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e20_a_person_who_syncs_an_unlinked_record_joins_the_halves_again(make: Make, side: str) -> None:
    world = make()
    one = pair(world)
    unlink(world, one)
    world.edit_crm(one.crm, Comp_WebSite="http://since.example")
    world.settle()
    key = one.erp if side == "erp" else one.crm
    world.app.inbox.accept([Change(side, "customer", key, "updated", "manual")], may_create="manual")
    world.settle()
    rest(world)
    (row,) = world.links()
    assert (row["erp_key"], row["crm_key"], row["was_linked_to"]) == (one.erp, one.crm, None)
    assert row["state"] == "conflict"  # linked anew, so there is no past: both values of the field rest
    assert (world.erp_record(one.erp)[URL], world.crm_record(one.crm)["Comp_WebSite"]) == (
        "http://northwind.example",
        "http://since.example",
    )


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e20_a_deleted_record_leaves_its_partner_alone_until_a_person_syncs_it(make_light: Make, side: str) -> None:
    world = make_light('create_in_erp = "on_change"\ncreate_in_crm = "on_change"')
    one = pair(world)
    if side == "crm":
        world.crm.person("Company", one.crm, {}, "delete")
    else:
        world.erp.person("customer", one.erp, {}, "delete")
    world.settle()
    before = api_writes(world)
    stays: dict[str, str] = {"erp": one.erp} if side == "crm" else {"crm": one.crm}
    if side == "crm":
        world.edit_erp(one.erp, name="Edited since")
    else:
        world.edit_crm(one.crm, Comp_Name="Edited since")
    world.settle()
    row = row_of(world, **stays)
    assert (row.state, row.cause) == ("unlinked", "removed")
    assert api_writes(world) == before
    (system, key), *_ = stays.items()
    world.app.inbox.accept([Change(system, "customer", key, "updated", "manual")], may_create="manual")
    world.settle()
    row = row_of(world, **stays)
    if side == "crm":
        assert row.linked and row.crm_key != one.crm
        assert world.crm_record(str(row.crm_key))["Comp_Name"] == "Edited since"
    else:  # its own column still names the customer that is gone: a person mends that first
        assert (row.state, row.cause) == ("conflict", "ids_disagree")


def test_e20_of_two_companies_merged_in_the_crm_the_unlinked_winner_is_offered(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    with in_the_past(world):
        winner = world.new_crm("Northwind Tools Ltd")
    world.crm.person("Company", one.crm, {}, "delete")
    world.settle()
    shown = world.explain("erp", one.erp)
    assert shown["state"] == "unlinked"
    assert [(c["key"], c["name"]) for c in shown["candidates"]] == [(winner, "Northwind Tools Ltd")]
    assert not row_of(world, erp=one.erp).linked


def test_e20_a_winner_that_has_a_partner_of_its_own_is_not_offered(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    pair(world, "Northwind Tooling", comp_vatnumber="GB111111111", email=[])
    world.edit_crm(row_of(world, crm="2").crm_key or "", Comp_Name="Northwind Tools Ltd")
    world.settle()
    world.crm.person("Company", one.crm, {}, "delete")
    world.settle()
    assert world.explain("erp", one.erp)["candidates"] == []

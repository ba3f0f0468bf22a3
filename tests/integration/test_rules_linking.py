"""E20 to E22: unlinking and linking, several flows on one CRM record, the window between read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.rules import (
    FLOW,
    Make,
    Pair,
    api_writes,
    entries,
    in_the_past,
    pair,
    rest,
    row_of,
    run_once,
    when,
    worlds,
)
from support.world import World, _hook
from sqlalchemy import select

from sync_worker.connectors.intacct.emulator import make as make_intacct
from sync_worker.events import Change, Side
from sync_worker.store import links, managers
from sync_worker.store.links import Gone, Save
from sync_worker.store.rows import LinkRow, from_mapping
from sync_worker.store.tables import link

URL = "contacts.default.URL1"


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    """Worlds on SQLite and on PostgreSQL."""
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


# --- E20 --------------------------------------------------------------------------------------------------------------


def unlink(world: World, one: Pair, side: Side = "erp") -> None:
    """What a person's unlinking does: the row is split, under its token."""
    world.notice("crm", one.crm)
    (row,) = links.claim(world.db, world.app.flows[FLOW].scope, ids=[one.id])
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
    assert [c["key"] for c in shown["candidates"]] == [winner]
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


# --- E21 --------------------------------------------------------------------------------------------------------------

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
create_in_erp = "manual"
"""


class TwoErps(World):
    """A second ERP, joined with the same CRM by the flow ``second``."""

    def build(self) -> Any:
        if "erp2" not in self.vendors:
            self.vendors["erp2"] = make_intacct(7)
            self.vendors["erp2"].clock = self.clock
            self.vendors["erp2"].hooks.append(_hook(self.vendors["erp2"], "http://hooks.test/erp2", "demo-secret"))
        return super().build()

    def link_of(self, flow: str, crm: str) -> LinkRow:
        with self.db.read() as conn:
            found = conn.execute(select(link).where(link.c.flow == flow, link.c.crm_key == crm)).mappings().one()
        return from_mapping(found)


@pytest.fixture
def two(tmp_path: Path, database_url: str) -> Iterator[TwoErps]:
    world = TwoErps(tmp_path, database_url, flow=SECOND)
    yield world
    world.close()


def shared(two: TwoErps) -> tuple[str, str, str]:
    """One company linked to a customer in either ERP: keys in the first, the CRM, the second."""
    crm = two.new_crm("Northwind Tools", Comp_WebSite="http://northwind.example")
    two.settle()
    two.app.inbox.accept([Change("crm", "customer", crm, "updated", "manual")], may_create="manual")
    two.settle()
    rest(two)
    first, second = two.link_of(FLOW, crm), two.link_of("second", crm)
    assert first.state == second.state == "in_sync", two.links()
    return str(first.erp_key), crm, str(second.erp_key)


def test_e21_the_first_link_of_a_crm_record_is_its_default_and_shared_fields_come_from_it_only(two: TwoErps) -> None:
    first, crm, second = shared(two)
    assert two.link_of(FLOW, crm).is_default and not two.link_of("second", crm).is_default
    two.vendors["erp2"].person("customer", second, {"name": "Name in the second ERP"})
    two.settle()
    assert two.crm_record(crm)["Comp_Name"] == "Northwind Tools"
    two.edit_erp(first, name="Name in the first ERP")
    two.settle()
    rest(two)
    assert two.crm_record(crm)["Comp_Name"] == "Name in the first ERP"
    kept = two.vendors["erp2"].get_record("customer", second)
    assert kept is not None and kept["name"] == "Name in the second ERP"
    assert two.crm_record(crm)["comp_intacct_recordno"] == first
    assert {row["state"] for row in two.links()} == {"in_sync"}


def test_e21_every_link_keeps_its_own_account_manager(two: TwoErps) -> None:
    _, crm, second = shared(two)
    managers.map_manager(two.db, "second", "E-11", "2", systems=("erp2", "crm"))
    managers.map_manager(two.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    two.edit_crm(crm, Comp_PrimaryUserId=2)
    two.settle()
    kept = two.vendors["erp2"].get_record("customer", second)
    assert kept is not None and kept["salesRepresentative.id"] == "E-11"
    assert two.erp_record(str(two.link_of(FLOW, crm).erp_key))["salesRepresentative.id"] == "E-10"


def test_e21_runs_exclude_each_other_by_record_not_by_link(two: TwoErps) -> None:
    _, crm, _ = shared(two)
    other = two.new_crm("Another Ltd")
    two.settle()
    rest(two)
    for key in (crm, other):
        two.notice("crm", key)
    (mine, *_) = links.claim(two.db, two.app.flows[FLOW].scope, ids=[two.link_of(FLOW, crm).id])
    free = links.claim(two.db, two.app.flows["second"].scope, limit=10)
    assert [row.crm_key for row in free] == [other]
    links.save(two.db, [Save(mine, light=True)])
    assert [row.crm_key for row in links.claim(two.db, two.app.flows["second"].scope, limit=10)] == [crm]


# --- E22 --------------------------------------------------------------------------------------------------------------


def test_e22_the_value_overwritten_and_the_time_of_its_read_are_journalled(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    read_at = world.clock()
    when(world.crm, "query company", lambda: world.clock.advance(0.2), after=True)
    run_once(world.app)
    last = entries(world, "update")[-1]
    assert (last["before"], last["after"]) == ({"name": "Northwind Tools"}, {"name": "Changed"})
    assert (last["side"], last["key"], last["read_at"]) == ("crm", one.crm, read_at)
    assert last["at"] - last["read_at"] == pytest.approx(0.2)


def test_e22_the_window_concerns_the_field_alone_other_edits_within_it_are_kept(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    when(world.crm, "update company", lambda: world.edit_crm(one.crm, Comp_WebSite="http://within.example"))
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "Changed"
    assert world.erp_record(one.erp)[URL] == world.crm_record(one.crm)["Comp_WebSite"] == "http://within.example"

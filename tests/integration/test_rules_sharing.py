"""E21 and E22: several flows on one CRM record, the window between read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.companies import TwoErps, shared
from support.rules import (
    FLOW,
    Make,
    entries,
    pair,
    rest,
    run_once,
    when,
)
from sync_worker.connectors.emulation import Request, Response
from sync_worker.store import leases, links, managers
from sync_worker.store.saves import Save

URL = "contacts.default.URL1"


# --- E21 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path, database_url: str) -> Iterator[TwoErps]:
    world = TwoErps(tmp_path, database_url)
    yield world
    world.close()


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
    (mine, *_) = leases.claim(two.db, two.app.flows[FLOW].scope, ids=[two.link_of(FLOW, crm).id])
    free = leases.claim(two.db, two.app.flows["second"].scope, limit=10)
    assert [row.crm_key for row in free] == [other]
    links.save(two.db, [Save(mine, light=True)])
    assert [row.crm_key for row in leases.claim(two.db, two.app.flows["second"].scope, limit=10)] == [crm]


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


def test_e22_what_was_read_before_a_long_wait_for_the_other_side_is_read_again(make_light: Make) -> None:
    """A vendor that refuses a read for a while, or a slot that nobody gives back, must not make the window longer."""
    world = make_light()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.edit_erp(one.erp, taxId="GB987654321")  # so that both sides are read at first
    world.deliver()

    def long_wait() -> None:
        world.clock.advance(3)
        world.edit_erp(one.erp, name="Edited meanwhile")

    when(world.crm, "query company", long_wait)
    run_once(world.app)
    [row] = world.links()
    assert (row["state"], row["cause_params"]["error"]) == ("pending", "read_too_old")
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Edited meanwhile"
    assert world.crm_record(one.crm)["Comp_Name"] == "Changed"
    assert world.explain("crm", one.crm)["state"] == "conflict"


def test_e22_a_vendor_that_is_always_slow_is_written_at_the_second_try(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.edit_erp(one.erp, taxId="GB987654321")  # so that both sides are read at first
    plain, slow = world.crm.handle, []

    def handle(request: Request) -> Response:
        if world.crm.operation(request).name == "query company":
            world.clock.advance(3)
            slow.append(request)
        return plain(request)

    world.crm.handle = handle  # type: ignore[method-assign]  # the call itself is real, it only takes long
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Changed"
    assert world.explain("crm", one.crm)["state"] == "in_sync"
    assert len(slow) <= 4, "read again once, and looked at once more behind the write"


def test_e22_a_worker_that_stood_still_after_reading_writes_nothing_on_what_it_read(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    one = pair(world)
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    plain = leases.renew

    def stop_and_go_on(*args: Any, **more: Any) -> set[int]:
        held = plain(*args, **more)
        monkeypatch.setattr(leases, "renew", plain)
        world.clock.advance(25)
        world.edit_crm(one.crm, Comp_Name="Edited meanwhile")
        return held

    monkeypatch.setattr(leases, "renew", stop_and_go_on)
    run_once(world.app)
    [row] = world.links()
    assert (row["state"], row["cause_params"]["error"]) == ("pending", "read_too_old")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "Edited meanwhile"
    assert world.erp_record(one.erp)["name"] == "Changed"
    assert world.explain("crm", one.crm)["state"] == "conflict"

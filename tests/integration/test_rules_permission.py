"""E19: permission to create is stored, and cleared when linked."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import (
    FLOW,
    Make,
    in_the_past,
    row_of,
    there,
)
from support.world import World
from sync_worker import desk
from sync_worker.events import Change
from sync_worker.store import leases, links
from sync_worker.store.saves import Gone, Save


def older(world: World, name: str = "Older Ltd") -> str:
    with in_the_past(world):
        return world.new_crm(name)


def permit(world: World, key: str, permission: str) -> None:
    world.app.inbox.accept([Change("crm", "customer", key, "updated", "manual")], may_create=permission)


def test_e19_a_permission_is_kept_until_the_create_succeeds_and_is_cleared_when_linked(make_light: Make) -> None:
    world = make_light()
    key = older(world)
    world.notice("crm", key)
    world.settle()
    assert row_of(world, crm=key).state == "not_synced"
    world.erp.faults.merge({"p_503": 1.0})
    permit(world, key, "manual")
    world.work()
    world.erp.faults.merge({"p_503": 0.0})
    assert row_of(world, crm=key).may_create == "manual"
    world.settle()
    row = row_of(world, crm=key)
    assert (row.state, row.may_create) == ("in_sync", None)


def test_e19_the_first_invoice_permits_a_create_where_the_flow_waits_for_it(make_light: Make) -> None:
    world = make_light('create_in_erp = "on_first_invoice"')
    key = world.new_crm("Fresh Ltd")
    world.settle()
    row = row_of(world, crm=key)
    assert (row.state, row.cause) == ("not_synced", "needs_invoice")
    permit(world, key, "invoice")
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"


@pytest.mark.parametrize("later", [True, False])
def test_e19_a_persons_permission_is_not_hidden_by_an_invoices(make_light: Make, later: bool) -> None:
    world = make_light('create_in_erp = "manual"')
    key = world.new_crm("Fresh Ltd")
    world.settle()
    permit(world, key, "invoice")
    if later:
        world.settle()
    assert not row_of(world, crm=key).linked
    permit(world, key, "manual")
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"


@pytest.mark.parametrize("when_to_create", ["on_first_invoice", "on_change", "on_create"])
def test_e19_an_invoice_does_not_lift_unlinked_but_a_person_does(make_light: Make, when_to_create: str) -> None:
    world = make_light(f'create_in_erp = "{when_to_create}"')
    key = world.new_crm("Fresh Ltd")
    world.settle()
    permit(world, key, "manual")
    world.settle()
    erp = row_of(world, crm=key).erp_key
    (row,) = claimed(world, key)
    links.save(world.db, [Save(row, gone=Gone("erp", "unlinked", {}))])
    permit(world, key, "invoice")
    world.settle()
    assert row_of(world, crm=key).state == "unlinked"
    assert len(there(world, "erp", "Fresh Ltd")) == 1
    permit(world, key, "manual")
    world.settle()
    assert (row_of(world, crm=key).state, row_of(world, crm=key).erp_key) == ("in_sync", erp)


def claimed(world: World, key: str) -> list[Any]:
    world.notice("crm", key)
    return leases.claim(world.db, world.app.flows[FLOW].scope, ids=[row_of(world, crm=key).id])


def test_e19_manual_sync_by_command_creates_and_says_how_it_ended(make_light: Make) -> None:
    world = make_light()
    key = older(world)
    (shown,) = desk.sync_record(world.app, "crm", key)
    assert shown["state"] == "in_sync"
    assert len(there(world, "erp", "Older Ltd")) == 1

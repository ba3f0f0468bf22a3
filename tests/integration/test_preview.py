"""A preview says what a pass would do, by the same code, and writes nothing: neither at a vendor nor in our tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from support.rules import FLOW, Make, api_writes, in_the_past, pair, row_of, worlds
from support.world import World
from sync_worker.engine.lengths import LONGEST_VALUE
from sync_worker.engine.preview import Foreseen, foresee
from sync_worker.routing import rule_for
from sync_worker.store.rows import LinkRow
from sync_worker.store.tables import event, journal, link, open_field


@pytest.fixture
def make(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


@pytest.fixture
def world(make: Make) -> World:
    return make()


def tables(world: World) -> list[Any]:
    with world.db.read() as conn:
        return [[tuple(row) for row in conn.execute(select(t))] for t in (link, open_field, journal, event)]


def foreseen(world: World, *rows: LinkRow) -> list[Foreseen]:
    before = tables(world), api_writes(world)
    found = foresee(world.db, world.app.flows[FLOW], rule_for("customer"), rows)
    assert (tables(world), api_writes(world)) == before
    return found


def new_half(world: World, **values: Any) -> LinkRow:
    return LinkRow(-1, FLOW, "customer", created_at=world.clock.time, erp_dirty=1, **values)


def test_an_edit_is_shown_with_its_value_before_and_after(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed Ltd")
    world.deliver()
    (found,) = foreseen(world, row_of(world, crm=one.crm))
    assert found.verdict == "update"
    assert found.fields == {"name": {"side": "crm", "before": "Northwind Tools", "after": "Changed Ltd"}}


def test_e4_a_record_that_cannot_be_kept_fails_alone(world: World) -> None:
    one, other = pair(world), pair(world, "Mill Row", comp_vatnumber="GB2")
    new = world.new_erp("Fresh Ltd", id="C-77", taxId="9" * (LONGEST_VALUE + 1))
    world.edit_erp(one.erp, taxId="9" * (LONGEST_VALUE + 1))
    world.edit_erp(other.erp, name="Mill Lane")
    world.deliver()
    rows = [row_of(world, crm=one.crm), row_of(world, crm=other.crm), new_half(world, erp_key=new)]
    found = foreseen(world, *rows)
    assert [(each.verdict, each.cause) for each in found] == [
        ("failed", "too_long"),
        ("update", ""),
        ("failed", "too_long"),
    ]


def test_a_record_in_step_is_unchanged(world: World) -> None:
    one = pair(world)
    (found,) = foreseen(world, row_of(world, crm=one.crm))
    assert (found.verdict, found.fields) == ("unchanged", {})


def test_a_create_is_shown_with_all_its_values_and_its_manager_waits(world: World) -> None:
    key = world.new_erp("Fresh Ltd", id="C-77", **{"salesRepresentative.id": "E-10"})
    (found,) = foreseen(world, new_half(world, erp_key=key))
    assert (found.verdict, found.open) == ("create", ["account_manager"])
    assert found.fields["name"] == {"side": "crm", "before": None, "after": "Fresh Ltd"}


def test_a_create_shows_its_fields_in_the_same_order_every_time(world: World) -> None:
    more = {"contacts.default.email1": "desk@fresh.test", "contacts.default.phone1": "+44 113 496 0001"}
    key = world.new_erp("Fresh Ltd", id="C-77", **more, **{"contacts.default.URL1": "https://fresh.test"})
    (found,) = foreseen(world, new_half(world, erp_key=key))
    assert list(found.fields) == ["email", "name", "phone", "status", "website"]


def test_a_link_is_shown_with_what_it_would_write(world: World) -> None:
    with in_the_past(world):
        erp = world.new_erp("Same Ltd", id="C-78", **{"contacts.default.email1": "desk@same.test"})
        world.new_crm("Same Ltd", comp_intacct_customerid="C-78", comp_intacct_company="Acme UK")
    (found,) = foreseen(world, new_half(world, erp_key=erp))
    assert found.verdict == "link"
    assert found.fields["email"] == {"side": "crm", "before": None, "after": "desk@same.test"}


def test_namesakes_are_ambiguous_with_their_candidates(world: World) -> None:
    with in_the_past(world):
        erp = world.new_erp("Same Ltd", id="C-78")
        keys = {world.new_crm("Same Ltd") for _ in range(2)}
    (found,) = foreseen(world, new_half(world, erp_key=erp))
    assert found.verdict == "ambiguous" and {one["key"] for one in found.candidates} == keys


def test_what_is_not_allowed_is_skipped_with_its_cause(make: Make) -> None:
    world = make('create_in_crm = "manual"')
    key = world.new_erp("Fresh Ltd", id="C-77")
    (found,) = foreseen(world, new_half(world, erp_key=key))
    assert (found.verdict, found.cause) == ("skip", "needs_manual")
    (allowed,) = foreseen(world, new_half(world, erp_key=key, may_create="manual"))
    assert allowed.verdict == "create"

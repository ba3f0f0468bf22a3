"""E17 and E18: half rows and creates."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import (
    FLOW,
    Make,
    calls,
    in_the_past,
    pair,
    rest,
    row_of,
    run_all,
    run_once,
    there,
    when,
)
from support.world import World
from sync_worker.events import Change
from sync_worker.store import leases, links, pauses
from sync_worker.store.saves import Save

URL = "contacts.default.URL1"
SIDES = pytest.mark.parametrize("side", ["erp", "crm"])
KEYS = pytest.mark.parametrize("keys", [True, False], ids=["key-columns", "names-only"])
CREATE = {"erp": "create customer", "crm": "create company"}


def with_keys(make: Make, keys: bool, flow: str = "") -> World:
    """A world whose created records can be found by a key, or by nothing but their names."""
    return make(flow if keys else f'new_customer_id = ""\n{flow}', key_columns=keys)


def made(world: World, side: str, name: str) -> str:
    """A person makes a record; ids of their own, so that numbering by the ERP is not needed."""
    return world.new_erp(name, id=f"C-{name}") if side == "erp" else world.new_crm(name)


def fail_create(world: World, into: str, fault: str) -> None:
    """The next create there fails for good: a keyed one is repeated twice before it does."""
    tries = 3 if into == "erp" else 1
    world.vendors[into].faults.fail_next.extend([{"operation": CREATE[into], "fault": fault}] * tries)


def other(side: str) -> str:
    return "crm" if side == "erp" else "erp"


def assert_one_pair(world: World, name: str) -> None:
    (erp,), (crm,) = there(world, "erp", name), there(world, "crm", name)
    row = row_of(world, crm=crm)
    assert (row.erp_key, row.state) == (erp, "in_sync"), world.links()


# --- E17 --------------------------------------------------------------------------------------------------------------


@SIDES
@KEYS
def test_e17_our_own_create_announced_before_our_commit_is_no_second_record(make: Make, side: str, keys: bool) -> None:
    world = with_keys(make, keys)
    world.erp.faults.merge({"sequence_numbers": True})
    rival = world.build()
    made(world, side, "Fresh Ltd")

    def announced() -> None:
        assert world.deliver() > 0
        run_all(rival)

    world.deliver()
    into = other(side)
    when(world.vendors[into], CREATE[into], announced, after=True)
    world.settle()
    rest(world)
    assert len(world.links()) == 1
    assert_one_pair(world, "Fresh Ltd")


@SIDES
def test_e17_an_absorbed_half_row_brings_its_counters_so_that_its_notice_is_answered(make: Make, side: str) -> None:
    world = with_keys(make, True)
    made(world, side, "Fresh Ltd")
    world.deliver()
    into = other(side)

    def edited() -> None:
        (key,) = there(world, into, "Fresh Ltd")
        if into == "erp":
            world.edit_erp(key, **{URL: "http://since.example"})
        else:
            world.edit_crm(key, Comp_WebSite="http://since.example")
        world.deliver()
        world.app.inbox.accept([Change(into, "customer", key, "updated", "manual")], may_create="manual")

    when(world.vendors[into], CREATE[into], edited, after=True)
    world.settle(deliver=False)
    row = row_of(world, **{side: there(world, side, "Fresh Ltd")[0]})
    assert row.linked and row.may_create is None and not row.noticed(into)  # type: ignore[arg-type]  # a parametrized side is a str to mypy
    assert len(world.links()) == 1
    assert world.erp_record(str(row.erp_key))[URL] == "http://since.example"
    assert world.crm_record(str(row.crm_key))["Comp_WebSite"] == "http://since.example"


@SIDES
def test_e17_without_a_key_a_half_row_waits_for_the_creates_opened_before_it_and_then_creates(
    make_light: Make, side: str
) -> None:
    world = with_keys(make_light, False)
    world.erp.faults.merge({"sequence_numbers": True})
    into = other(side)
    fail_create(world, into, "before_apply")
    first = made(world, side, "First Ltd")
    world.deliver()
    run_once(world.app)
    assert row_of(world, **{side: first}).intent is not None
    world.clock.advance(2)
    second = made(world, into, "Quite Another Ltd")
    world.deliver()
    run_all(world.app)
    waiting = row_of(world, **{into: second})
    assert (waiting.state, waiting.cause) == ("pending", "intent_open")
    world.settle()
    assert_one_pair(world, "First Ltd")
    assert_one_pair(world, "Quite Another Ltd")


def test_e17_a_key_that_stands_on_a_full_link_is_not_taken_from_it(make: Make) -> None:
    world = make()
    one = pair(world)
    with in_the_past(world):
        lone = world.new_erp("Lonely Ltd", id="C-8")
    world.notice("erp", lone)
    world.settle()
    rest(world)
    world.notice("erp", lone)
    (row,) = leases.claim(world.db, world.app.flows[FLOW].scope, limit=5)
    row.crm_key = one.crm
    assert links.save(world.db, [Save(row, brings="crm")]).taken == {row.id: one.id}
    assert row_of(world, crm=one.crm).erp_key == one.erp


@SIDES
@KEYS
def test_e17_a_worker_that_dies_at_any_step_of_a_create_leaves_exactly_one_pair(
    make_light: Make, side: str, keys: bool
) -> None:
    world = with_keys(make_light, keys)
    world.erp.faults.merge({"sequence_numbers": True})
    steps, crashed = 0, True
    while crashed:
        name = f"Newcomer {steps:02d}"
        made(world, side, name)
        world.deliver()
        worker = world.app
        with world.crashing_after(steps):
            world.work()
        crashed = world.app is not worker
        world.clock.advance(leases.LEASE + 1)
        world.settle()
        assert_one_pair(world, name)
        steps += 1
    assert len(world.links()) == steps > 10


# --- E18 --------------------------------------------------------------------------------------------------------------


def creates(world: World, side: str) -> list[Any]:
    entity = {"erp": "customer", "crm": "Company"}[side]
    return [w for w in world.written(side) if w.op == "create" and w.entity == entity]


def test_e18_one_decision_has_one_idempotency_key_however_often_its_call_is_repeated(make_light: Make) -> None:
    world = make_light()
    made(world, "crm", "Fresh Ltd")
    world.erp.faults.fail_next.append({"operation": "create customer", "fault": "lost_after_apply"})
    world.deliver()
    run_once(world.app)
    assert calls(world.erp)["create customer"] == 2
    (only,) = creates(world, "erp")
    assert only.idempotency_key is not None
    world.settle()
    assert_one_pair(world, "Fresh Ltd")


def test_e18_another_decision_has_another_key_and_comes_only_after_a_find_that_counts(make_light: Make) -> None:
    world = make_light()
    key = made(world, "crm", "Fresh Ltd")
    fail_create(world, "erp", "before_apply")
    world.deliver()
    run_once(world.app)
    first = row_of(world, crm=key).intent
    assert first is not None
    started = world.clock()
    while not creates(world, "erp"):
        world.clock.advance(1)
        world.work()
        assert world.clock() < started + 120
    assert world.clock() >= started + 15 + 30  # the call's deadline and the stale window
    assert creates(world, "erp")[0].idempotency_key not in (None, first["key"])
    world.settle()
    assert_one_pair(world, "Fresh Ltd")


def test_e18_creates_go_singly_each_with_its_own_key(make_light: Make) -> None:
    world = make_light()
    for n in range(4):
        made(world, "crm", f"Fresh {n}")
    world.settle()
    assert len({w.idempotency_key for w in creates(world, "erp")}) == calls(world.erp)["create customer"] == 4


@pytest.mark.parametrize("steps", range(0, 24, 2))
def test_e18_a_worker_that_dies_at_any_step_of_a_wave_of_creates_makes_each_once(make_light: Make, steps: int) -> None:
    world = make_light()
    names = [f"Fresh {n}" for n in range(4)]
    for name in names:
        made(world, "erp", name)
    world.deliver()
    with world.crashing_after(steps):
        world.work()
    world.clock.advance(leases.LEASE + 1)
    world.settle()
    for name in names:
        assert_one_pair(world, name)
    assert len(creates(world, "crm")) == 4


def test_e18_a_login_that_is_refused_in_the_middle_of_a_wave_loses_nothing_of_what_was_made(make_light: Make) -> None:
    world = make_light()
    names = [f"Fresh {n}" for n in range(4)]
    for name in names:
        made(world, "erp", name)
    world.deliver()

    def refuse() -> None:
        world.crm.faults.fail_next.append({"operation": "create company", "fault": "401"})

    when(world.crm, "create company", refuse, after=True)
    world.work()
    assert len(creates(world, "crm")) == sum(row["crm_key"] is not None for row in world.links()) >= 1
    assert ("system", "crm") in pauses.current(world.db)
    pauses.resume(world.db, "system", "crm")
    rest(world)
    for name in names:
        assert_one_pair(world, name)
    assert len(creates(world, "crm")) == 4


@KEYS
def test_e18_a_create_whose_answer_was_lost_is_found_and_adopted(make: Make, keys: bool) -> None:
    world = with_keys(make, keys)
    made(world, "erp", "Fresh Ltd")
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "lost_after_apply"})
    world.settle(deliver=False)
    world.settle()
    assert len(creates(world, "crm")) == 1
    assert_one_pair(world, "Fresh Ltd")


@KEYS
@SIDES
def test_e18_what_we_made_and_cannot_see_yet_is_not_made_again(make_light: Make, side: str, keys: bool) -> None:
    world = with_keys(make_light, keys)
    world.erp.faults.merge({"sequence_numbers": True})
    into = other(side)
    emulator = world.vendors[into]
    made(world, side, "Fresh Ltd")
    emulator.faults.merge({"p_stale_read": 1.0, "stale_seconds": 29.0})
    fail_create(world, into, "lost_after_apply")
    world.settle()
    assert len(creates(world, into)) == 1
    assert_one_pair(world, "Fresh Ltd")


def test_e18_without_a_key_several_namesakes_made_since_wait_for_a_person(make_light: Make) -> None:
    world = with_keys(make_light, False)
    key = made(world, "erp", "Fresh Ltd")
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "lost_after_apply"})
    when(world.crm, "create company", lambda: world.new_crm("Fresh Ltd"), after=True)
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.cause, row.linked) == ("waiting", "several_made", False)
    offered = world.explain("erp", key)["candidates"]
    assert {c["key"] for c in offered} == set(there(world, "crm", "Fresh Ltd"))
    assert {c["name"] for c in offered} == {"Fresh Ltd"}
    assert len(creates(world, "crm")) == 1


def test_e18_with_a_key_a_namesake_is_not_taken_for_what_we_made(make_light: Make) -> None:
    world = make_light()
    key = made(world, "erp", "Fresh Ltd")
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "lost_after_apply"})
    when(world.crm, "create company", lambda: world.new_crm("Fresh Ltd"), after=True)
    world.settle()
    (ours,) = creates(world, "crm")
    assert row_of(world, erp=key).crm_key == ours.key


def test_e18_a_namesake_made_while_the_create_failed_is_not_doubled(make_light: Make) -> None:
    world = make_light()
    key = made(world, "erp", "Fresh Ltd")
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "before_apply"})
    world.deliver()
    run_once(world.app)
    world.clock.advance(5)
    world.new_crm("Fresh Ltd")  # somebody did not want to wait
    world.settle()
    assert len(there(world, "crm", "Fresh Ltd")) == 1
    row = row_of(world, erp=key)
    assert (row.state, row.cause) == ("waiting", "match")


def test_e18_an_older_namesake_is_not_adopted_by_name(make_light: Make) -> None:
    world = with_keys(make_light, False)
    with in_the_past(world):
        old = world.new_crm("Fresh Ltd")
    key = made(world, "erp", "Fresh Ltd")
    world.settle()
    row = row_of(world, erp=key)
    assert (row.state, row.linked) == ("waiting", False)
    assert [c["key"] for c in world.explain("erp", key)["candidates"]] == [old]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "lost", ["create email", "create address", "create person", "create phone", "create phonelink"]
)
def test_e18_children_are_found_on_their_parent_before_they_are_created(
    make_light: Make, nested: bool, lost: str
) -> None:
    world = make_light()
    world.crm.faults.merge({"nested_create": nested})
    world.crm.faults.fail_next.append({"operation": lost, "fault": "lost_after_apply"})
    contact = {
        "email1": "desk@fresh.example", "phone1": "0113 4960000", "firstName": "Ada", "lastName": "Archer",
        "mailingAddress.addressLine1": "1 Mill Row", "mailingAddress.city": "Leeds",
        "mailingAddress.isoCountryCode": "GB",
    }  # fmt: skip
    world.new_erp("Fresh Ltd", id="C-1", **{f"contacts.default.{k}": v for k, v in contact.items()})
    world.settle()
    rest(world)
    assert_one_pair(world, "Fresh Ltd")
    (crm,) = there(world, "crm", "Fresh Ltd")
    for table in ("Email", "Phone", "Address", "Person"):
        assert world.crm_child(crm, table) is not None
    assert len(world.crm.list_records("Person")) == len(world.crm.list_records("EmailLink")) == 1
    assert len(world.crm.list_records("PhoneLink")) == 1

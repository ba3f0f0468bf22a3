"""AM-7: a changed mapping row rewrites nobody by itself; re-apply and a leaver do, previewed, as one run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import delete

from support.rules import FLOW, Make, Pair, api_writes, entries, field, pair, rest, row_of, when
from support.world import World
from sync_worker import directories
from sync_worker.desk import managers as by_hand
from sync_worker.desk import rewriting, run_lists
from sync_worker.desk.anew import Anew
from sync_worker.desk.refusals import NotKnown
from sync_worker.desk.rewriting import Ended, Plan
from sync_worker.errors import PermanentError
from sync_worker.store.tables import manager

REP = "salesRepresentative.id"
USER = "Comp_PrimaryUserId"


def ready(world: World) -> World:
    for connector in world.app.systems.values():
        directories.refresh(world.db, connector)
    return world


def map_it(world: World, erp: str, crm: str, *, preferred: bool = False) -> None:
    by_hand.map_managers(world.app, [by_hand.propose(world.app, FLOW, erp, crm, preferred=preferred, ask=False)])


def customers(world: World, count: int, erp: str = "E-10", crm: str = "2") -> list[Pair]:
    return [pair(world, f"Customer {erp} {n} Ltd", **{USER: int(crm)}) for n in range(count)]


def of(world: World, one: Pair) -> tuple[Any, Any]:
    return world.erp_record(one.erp)[REP], world.crm_record(one.crm)[USER]


def carried(world: World, plan: Plan) -> Ended:
    ended = rewriting.carry_out(world.app, plan, threads=1)
    rest(world)
    return ended


def reapply(world: World, *erp: str) -> Ended:
    return carried(world, rewriting.plan_reapply(world.app, FLOW, list(erp)))


def test_am_7_a_changed_row_rewrites_nobody_until_it_is_reapplied_with_the_preview_it_showed(make: Make) -> None:
    world = ready(make())
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    mine, others = customers(world, 3), customers(world, 2, "E-11", "3")
    before = api_writes(world)
    map_it(world, "E-10", "3", preferred=False) if False else by_hand.unmap_manager(world.app, FLOW, "E-11")
    map_it(world, "E-10", "3")
    rest(world)
    assert api_writes(world) == before
    told = [rewriting.document(one) for one in rewriting.preview(world.app, rewriting.plan_reapply(world.app, FLOW))]
    assert api_writes(world) == before
    assert [one["fields"] for one in told] == [{"account_manager": {"side": "crm", "before": "2", "after": "3"}}] * 3
    assert reapply(world).counts == {"changed": 3}
    assert [of(world, one) for one in mine] == [("E-10", 3)] * 3
    assert [of(world, one) for one in others] == [("E-11", 3)] * 2
    assert api_writes(world) == {"erp": before["erp"], "crm": before["crm"] + 3}
    assert reapply(world).counts == {}
    assert {row_of(world, crm=one.crm).state for one in (*mine, *others)} == {"in_sync"}


def test_am_7_a_row_removed_and_made_anew_for_another_user_is_reapplied_like_a_changed_one(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    (one,) = customers(world, 1)
    by_hand.unmap_manager(world.app, FLOW, "E-10")
    assert reapply(world).counts == {}, "without a row nobody is rewritten"
    map_it(world, "E-10", "3")
    rest(world)
    assert of(world, one) == ("E-10", 2)
    assert reapply(world, "E-10").counts == {"changed": 1}
    assert of(world, one) == ("E-10", 3)


def test_am_7_only_the_named_managers_are_reapplied(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    (first,), (second,) = customers(world, 1), customers(world, 1, "E-11", "3")
    by_hand.unmap_manager(world.app, FLOW, "E-11")
    map_it(world, "E-10", "3")
    map_it(world, "E-11", "2")
    assert reapply(world, "E-11").counts == {"changed": 1}
    assert (of(world, first), of(world, second)) == (("E-10", 2), ("E-11", 2))


def test_am_7_whoever_gets_another_manager_meanwhile_is_left_out_and_named(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-12", "1")
    one, other = customers(world, 2)
    map_it(world, "E-10", "3")
    world.edit_crm(one.crm, **{USER: 1})
    world.crm.take_notices()  # nobody is told before the run reads it
    ended = reapply(world)
    assert ended.counts == {"changed": 1, "left_out": 1}
    assert ended.left == [{"link": one.id, "fields": {"account_manager": "edited since"}}]
    assert (of(world, one), of(world, other)) == (("E-12", 1), ("E-10", 3))
    (named,) = run_lists.records(world.app, ended.run, "left_out", None, 10)["records"]
    assert (named["link"], named["left"]) == (one.id, {"account_manager": "edited since"})


def test_am_7_a_job_in_flight_when_the_row_changes_ends_by_the_old_row_and_the_reapply_finds_it(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "1")
    one = customers(world, 1, "E-11", "1")[0]
    world.edit_erp(one.erp, **{REP: "E-10"})
    when(world.crm, "write", lambda: map_it(world, "E-10", "3"))
    rest(world)
    assert of(world, one) == ("E-10", 2), "one pass, one mapping: it is not rewritten behind anybody's back"
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert reapply(world, "E-10").counts == {"changed": 1}
    assert of(world, one) == ("E-10", 3)


def test_am_7_the_journal_says_who_changed_which_row_and_which_run_rewrote_whom(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    (one,) = customers(world, 1)
    map_it(world, "E-10", "3")
    ended = reapply(world)
    changed = entries(world, "manager_mapped")[-1]
    assert (changed["actor"], changed["before"]["crm"], changed["after"]["crm"]) == ("cli", "2", "3")
    written = [e for e in entries(world, "update") if e["run_id"] == ended.run]
    assert [(e["link_id"], e["side"], e["before"], e["after"]) for e in written] == [
        (one.id, "crm", {"account_manager": "2"}, {"account_manager": "3"})
    ]


def test_am_7_a_reapply_leaves_an_emptied_manager_and_a_flow_that_never_writes_it_alone(make_light: Make) -> None:
    world = ready(make_light('fields.account_manager = { owner = "erp" }'))
    map_it(world, "E-10", "2")
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    rest(world)
    world.edit_erp(one.erp, **{"salesRepresentative.key": None})
    rest(world)
    map_it(world, "E-10", "3")
    assert reapply(world).counts == {}
    assert of(world, one) == (None, 2)


def leaver(world: World, side: str = "erp", who: str = "E-10", heir: str = "E-11") -> Plan:
    return rewriting.plan_leaver(world.app, FLOW, side, who, heir)  # type: ignore[arg-type]


def test_am_7_a_leavers_customers_go_to_the_successor_on_both_sides_as_one_run_and_can_be_undone(make: Make) -> None:
    world = ready(make())
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    mine, others = customers(world, 3), customers(world, 1, "E-11", "3")
    before = api_writes(world)
    told = [rewriting.document(one) for one in rewriting.preview(world.app, leaver(world))]
    assert api_writes(world) == before and len(told) == 3
    assert {f["side"]: f["after"] for f in told[0]["fields"].values()} == {"erp": "E-11", "crm": "3"}
    ended = carried(world, leaver(world))
    assert ended.counts == {"changed": 3}
    assert [of(world, one) for one in (*mine, *others)] == [("E-11", 3)] * 4
    assert {row_of(world, crm=one.crm).state for one in mine} == {"in_sync"}
    assert Counter(tuple(sorted(w.after)) for w in world.written("crm")[before["crm"] :]) == {(USER,): 3}
    undo = carried(world, rewriting.plan_undo(world.app, run=ended.run))
    assert undo.counts == {"changed": 3}
    assert [of(world, one) for one in mine] == [("E-10", 2)] * 3
    assert {field(world, one.crm, "account_manager")["status"] for one in mine} == {"in_step"}


def test_am_7_a_leaver_whose_user_is_disabled_frees_the_customers_that_wait(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    one = pair(world, **{USER: 3})
    world.crm.person("Users", "2", {"User_Disabled": "Y"})
    ready(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    rest(world)
    assert row_of(world, crm=one.crm).cause == "manager_disabled"
    assert carried(world, leaver(world)).counts == {"changed": 1}
    assert of(world, one) == ("E-11", 3)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_am_7_a_user_who_stands_for_other_erp_managers_too_does_not_leave_with_one_of_them(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2", preferred=True)
    map_it(world, "E-12", "2")
    map_it(world, "E-11", "3")
    first, second = customers(world, 2)
    world.edit_erp(second.erp, **{REP: "E-12"})
    rest(world)
    assert carried(world, leaver(world)).counts == {"changed": 1}
    assert (of(world, first), of(world, second)) == (("E-11", 3), ("E-12", 2))
    assert carried(world, leaver(world, "crm", "2", "3")).counts == {"changed": 1}
    assert of(world, second) == ("E-11", 3)


def test_am_7_a_leaver_whom_no_directory_shows_any_more_is_named_by_the_key_that_customers_hold(make: Make) -> None:
    world = ready(make())
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    one = pair(world, **{USER: 2})
    with world.db.write() as conn:
        conn.execute(delete(manager).where(manager.c.key == "E-10"))
    by_hand.unmap_manager(world.app, FLOW, "E-10")
    with pytest.raises(NotKnown, match="no account manager E-99"):
        leaver(world, who="E-99")
    assert carried(world, leaver(world)).counts == {"changed": 1}
    assert of(world, one) == ("E-11", 2), "whose user that was, no row says any more"
    assert field(world, one.crm, "account_manager")["why"] == "reassigned"


def test_am_7_a_leaver_changes_only_the_side_that_the_flow_writes_and_names_the_other(make_light: Make) -> None:
    world = ready(make_light('fields.account_manager = { owner = "erp" }'))
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    rest(world)
    ended = carried(world, leaver(world))
    assert (of(world, one), ended.counts) == (("E-10", 3), {"partly": 1})
    assert ended.left == [{"link": one.id, "fields": {"account_manager": "the flow does not write it there"}}]
    world.edit_erp(one.erp, **{REP: "E-11"})
    rest(world)
    assert row_of(world, crm=one.crm).cause == "" and of(world, one) == ("E-11", 3)


def test_am_7_a_leaver_that_dies_half_way_is_gone_on_with_and_writes_nobody_twice(make: Make) -> None:
    world = ready(make())
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    mine = customers(world, 4)
    before = {side: len(world.written(side)) for side in ("erp", "crm")}
    for steps in (3, 8, 13, 21):
        with world.crashing_after(steps):
            rewriting.carry_out(world.app, leaver(world), threads=0, progress=lambda _at: world.work())
        rest(world)
    rewriting.carry_out(world.app, leaver(world), threads=0, progress=lambda _at: world.work())
    rest(world)
    assert [of(world, one) for one in mine] == [("E-11", 3)] * 4
    for side, count in before.items():
        assert len(world.written(side)) == count + 4


@pytest.mark.parametrize(
    ("who", "heir", "why"),
    [
        ("E-10", "E-12", "stands for nobody usable in crm: sync-worker managers map"),
        ("E-10", "E-10", "are the same person"),
        ("E-10", "E-99", "no account manager E-99"),
    ],
)
def test_am_7_a_successor_who_cannot_take_the_customers_is_refused(world: World, who: str, heir: str, why: str) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    with pytest.raises(PermanentError, match=why):
        leaver(world, "erp", who, heir)


def test_am_7_customers_edited_since_the_preview_are_planned_anew_and_named(make: Make) -> None:
    world = ready(make())
    map_it(world, "E-10", "2")
    map_it(world, "E-12", "1")
    same, silent, gone = customers(world, 3)
    (late,) = customers(world, 1, "E-12", "1")
    map_it(world, "E-10", "3")
    plan = rewriting.plan_reapply(world.app, FLOW)
    assert len(list(rewriting.preview(world.app, plan))) == 3
    world.edit_erp(gone.erp, **{REP: "E-12"})
    map_it(world, "E-12", "2")
    rest(world)
    world.edit_crm(silent.crm, **{USER: 1})
    world.crm.take_notices()  # lost
    ended = carried(world, rewriting.plan_reapply(world.app, FLOW))
    assert [of(world, one) for one in (same, late)] == [("E-10", 3), ("E-12", 2)]
    assert ended.anew == Anew((silent.id, late.id, gone.id), 3, new=1), ended.counts
    assert ended.document()["planned_anew_links"] == [silent.id, late.id, gone.id]
    assert reapply(world).anew is None, "that preview was used"


def test_am_7_a_reapply_as_the_preview_said_names_nobody(world: World) -> None:
    ready(world)
    map_it(world, "E-10", "2")
    customers(world, 2)
    map_it(world, "E-10", "3")
    list(rewriting.preview(world.app, rewriting.plan_reapply(world.app, FLOW)))
    other = rewriting.plan_reapply(world.app, FLOW, ["E-10"])
    list(rewriting.preview(world.app, rewriting.plan_reapply(world.app, FLOW)))
    assert carried(world, other).anew is None, "of other managers"
    map_it(world, "E-10", "1")
    list(rewriting.preview(world.app, other))
    ended = carried(world, other)
    assert (ended.counts, ended.anew) == ({"changed": 2}, Anew((), 0))

"""``verify``: what is apart is found, what is not is left alone, and the walk says whether it was complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from support.rules import FLOW, Make, Pair, in_the_past, pair, rest, row_of, when, worlds
from support.world import World
from sync_worker import reconcile
from sync_worker.desk import verifying
from sync_worker.engine.lengths import LONGEST_VALUE
from sync_worker.reconcile import Limits, Report
from sync_worker.routing import rule_for
from sync_worker.store import leases, runs
from sync_worker.store.tables import event, link

STALE = 30.0


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def world(make: Make) -> World:
    return make(stale=STALE)


def verify(world: World, **options: Any) -> Report:
    return verifying.verify(world.app, FLOW, **options)


def quiet(world: World) -> None:
    """Nobody is told of anything from now on."""
    for emulator in world.vendors.values():
        emulator.faults.merge({"notices_off": True})


def many(world: World, count: int) -> list[Pair]:
    return [pair(world, f"Customer {n}", comp_vatnumber=f"GB00000000{n}") for n in range(count)]


def counts(report: Report) -> dict[str, Any]:
    """What is not zero, but for the sizes and costs."""
    shown = report.document()
    names = ("matched", "differing", "only_erp", "only_crm", "gone", "in_flight", "waiting", "left_out", "unlinked")
    return {name: shown[name] for name in names if shown[name]}


def due(world: World) -> int:
    with world.db.read() as conn:
        return int(conn.execute(select(func.count()).where(link.c.due_at.is_not(None))).scalar_one())


def test_a_flow_whose_sides_agree_is_complete_ok_and_makes_no_work(world: World) -> None:
    many(world, 3)
    report = verify(world)
    assert counts(report) == {"matched": 3}
    assert (report.ok, report.complete, report.handed_over) == (True, True, 0)
    assert report.seen == report.totals == {"erp": 3, "crm": 3}
    assert due(world) == 0
    assert json.loads(json.dumps(report.document()))["ok"] is True


def plant(world: World, one: Pair, kind: str) -> None:
    """A difference that no feed, or hardly one, would tell of."""
    match kind:
        case "edit without a notice":
            world.edit_crm(one.crm, Comp_Name="Changed")
        case "same second":
            world.erp.script("customer", one.erp, {"name": "Changed"}, "keep")
        case "null stamp":
            world.crm.script("Company", one.crm, {"Comp_Name": "Changed"}, "none")
        case "null stamp in the erp":
            world.erp.script("customer", one.erp, {"name": "Changed"}, "none")
        case "phone only":
            world.crm.script("Phone", world.crm_child_key(one.crm, "Phone"), {"Phon_Number": "79461111"}, "keep")
        case "e-mail only":
            world.crm.script("Email", world.crm_child_key(one.crm, "Email"), {"Emai_EmailAddress": "n@n.test"}, "keep")
        case "address only":
            world.crm.script("Address", world.crm_child_key(one.crm, "Address"), {"Addr_City": "York"}, "keep")
        case "person only":
            world.crm.script("Person", world.crm_child_key(one.crm, "Person"), {"Pers_FirstName": "Bea"}, "keep")
        case "contact only":
            contact = str(world.erp_record(one.erp)["contacts.default.key"])
            world.erp.script("contact", contact, {"email1": "n@n.test"}, "keep")


KINDS = (
    "edit without a notice",
    "same second",
    "null stamp",
    "null stamp in the erp",
    "phone only",
    "e-mail only",
    "address only",
    "person only",
    "contact only",
)


def test_e7_drift_of_every_kind_is_found_becomes_ordinary_work_and_is_gone_after_it(world: World) -> None:
    ones = many(world, len(KINDS) + 1)
    quiet(world)
    for one, kind in zip(ones, KINDS, strict=False):
        plant(world, one, kind)
    report = verify(world)
    assert counts(report) == {"matched": 1, "differing": len(KINDS)}
    assert (report.ok, report.handed_over) == (False, len(KINDS))
    assert {(e["system"], e["key"]) for e in report.examples} == {
        ("erp", one.erp) if kind in ("same second", "null stamp in the erp", "contact only") else ("crm", one.crm)
        for one, kind in zip(ones, KINDS, strict=False)
    }
    world.settle()
    rest(world)
    again = verify(world)
    assert counts(again) == {"matched": len(ones)}, again.examples
    assert again.ok


def test_e4_a_record_that_cannot_be_kept_is_a_difference_and_hides_no_other(world: World) -> None:
    ones = many(world, 3)
    quiet(world)
    world.edit_erp(ones[0].erp, taxId="9" * (LONGEST_VALUE + 1))
    world.edit_erp(ones[1].erp, name="Drifted")
    report = verify(world)
    assert counts(report) == {"matched": 1, "differing": 2}
    assert {(e["key"], *e["fields"]) for e in report.examples} == {(ones[0].erp, "tax_number"), (ones[1].erp, "name")}
    world.settle()
    rest(world)
    assert counts(verify(world)) == {"matched": 2, "differing": 1}


def test_records_without_a_link_are_only_here_and_only_there_and_the_handler_decides(make: Make) -> None:
    world = make(stale=STALE)
    pair(world)
    with in_the_past(world):
        world.erp.person("customer", None, {"name": "Old ERP Ltd", "id": "C-9"}, "create")
        world.crm.person("Company", None, {"Comp_Name": "Old CRM Ltd"}, "create")
    quiet(world)
    new = world.new_crm("New CRM Ltd")
    report = verify(world)
    assert counts(report) == {"matched": 1, "only_erp": 1, "only_crm": 2}
    assert report.handed_over == 3
    world.settle()
    rest(world)
    assert row_of(world, crm=new).linked, "it is younger than the flow"
    again = verify(world)
    assert counts(again) == {"matched": 2, "only_erp": 1, "only_crm": 1}
    assert not again.ok
    assert again.handed_over == 0, "what is known and at rest is not made due again and again"


def test_a_verify_that_waits_for_a_vendor_says_so_once_and_goes_on_by_itself(world: World) -> None:
    pair(world)
    world.erp.faults.merge({"p_503": 1.0})
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        world.clock.advance(60)
        if len(waited) == 4:
            world.erp.faults.merge({"p_503": 0.0})

    said: list[str] = []
    app, flow = world.app, world.app.flows[FLOW]
    report = reconcile.verify(
        app.db, app.inbox, flow, rule_for(flow.entity), actor="test", sleep=sleep, say=said.append
    )
    assert report.ok and len(waited) == 4
    (line,) = said
    assert line.startswith("erp: HTTP 503") and line.endswith("; waiting, and going on by itself")


def test_what_the_flows_settings_leave_on_one_side_is_shown_and_is_no_difference(make: Make) -> None:
    world = make('create_in_erp = "never"', stale=STALE)
    world.new_crm("Never Ltd")
    world.settle()
    report = verify(world)
    assert counts(report) == {"only_crm": 1}
    assert report.by_settings["crm"] == 1
    assert report.ok


def test_what_the_filter_leaves_out_is_no_difference(make: Make) -> None:
    world = make('[flows.customers.filter]\ncrm = { Comp_Type = ["Customer"] }', stale=STALE)
    pair(world, Comp_Type="Customer")
    quiet(world)
    world.new_crm("Supplier Ltd", Comp_Type="Supplier")
    report = verify(world)
    assert counts(report) == {"matched": 1, "left_out": 1}
    assert report.ok


def test_e8_a_record_that_is_gone_is_read_by_key_first_and_then_looked_at_by_the_worker(world: World) -> None:
    ones = many(world, 2)
    quiet(world)
    world.crm.person("Company", ones[0].crm, {}, "delete")
    report = verify(world)
    assert counts(report) == {"matched": 1, "gone": 1}
    assert row_of(world, crm=ones[0].crm).linked, "verify itself unlinks nobody"
    world.settle()
    rest(world)
    assert row_of(world, erp=ones[0].erp).state == "unlinked"
    again = verify(world)
    assert counts(again) == {"matched": 1, "unlinked": 1}
    assert again.ok


def test_e8_a_side_that_suddenly_shows_fewer_records_makes_no_work(make: Make) -> None:
    world = make("limits = { unlinked = 2 }", stale=STALE)
    ones = many(world, 4)
    quiet(world)
    for one in ones[:3]:
        world.crm.person("Company", one.crm, {}, "delete")
    report = verify(world)
    assert (report.gone, report.handed_over, due(world)) == (3, 0, 0)
    assert "limits.unlinked" in report.held_back
    assert verify(world, unlimited=True).handed_over == 3


def test_an_edit_in_flight_is_no_find(world: World) -> None:
    ones = many(world, 2)
    world.edit_crm(ones[0].crm, Comp_Name="Changed")
    world.deliver()
    report = verify(world)
    assert counts(report) == {"matched": 1, "in_flight": 1}
    assert not report.ok
    world.settle()
    assert counts(verify(world)) == {"matched": 2}


def test_e7_an_old_version_of_what_we_have_just_written_is_no_find(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    world.work()
    world.erp.faults.merge({"p_stale_read": 1.0, "stale_seconds": STALE - 1})
    report = verify(world)
    assert (report.differing, report.in_flight) == (0, 1)


def test_what_waits_for_a_person_is_counted_as_waiting(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="CRM says")
    world.edit_erp(one.erp, name="ERP says")
    world.settle()
    assert row_of(world, crm=one.crm).state == "conflict"
    report = verify(world)
    assert counts(report) == {"waiting": 1}
    assert not report.ok


def seeded(world: World, count: int) -> None:
    """As many companies of the CRM alone, older than the flow."""
    world.crm.seed({"customers": count})


@pytest.mark.parametrize("moment", ["behind the walk", "ahead of it"])
def test_records_that_come_and_go_while_paging_are_counted_right(make: Make, moment: str) -> None:
    world = make('create_in_erp = "never"', stale=STALE)
    seeded(world, 450)
    quiet(world)
    pages = iter(range(100))

    def move() -> None:
        page = next(pages)
        if page == 2:
            for n in (10, 11, 150) if moment == "behind the walk" else (310, 311, 449):
                world.crm.person("Company", str(n), {}, "delete")
            world.new_crm("Made meanwhile")
        when(world.crm, "query company", move, after=True)

    when(world.crm, "query company", move, after=True)
    report = verify(world)
    assert report.complete
    assert report.seen["crm"] == report.totals["crm"] == 448
    assert report.only["crm"] == 448


def test_a_linked_record_deleted_behind_the_walk_is_found_and_one_created_has_no_false_find(world: World) -> None:
    ones = many(world, 3)
    seeded(world, 250)
    quiet(world)

    def move() -> None:
        world.crm.person("Company", ones[1].crm, {}, "delete")
        world.new_crm("Made meanwhile")

    when(world.crm, "query phone", move, after=True)
    report = verify(world)
    assert (report.complete, report.gone, report.differing, report.matched) == (True, 1, 0, 2)
    assert report.only["crm"] == 251


def test_a_vendor_whose_numbers_do_not_add_up_is_not_called_complete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(world, 2)
    monkeypatch.setattr(world.app.flows[FLOW].connectors["crm"], "count", lambda *_: 5)
    report = verify(world)
    assert (report.complete, report.ok) == (False, False)
    assert report.totals["crm"] == 5


def test_a_vendor_that_is_away_for_a_while_is_waited_for(world: World) -> None:
    seeded(world, 150)
    world.crm.faults.merge({"fail_next": [{"operation": "query person", "fault": "503"}] * 4})
    assert verify(world).seen["crm"] == 150


class Stopped(KeyboardInterrupt):
    """Ctrl-C at a moment of the test's choice."""


def test_an_interrupted_run_goes_on_where_it_was_and_finds_what_it_would_have_found(world: World) -> None:
    ones = many(world, 3)
    seeded(world, 400)
    quiet(world)
    plant(world, ones[0], "phone only")

    def stop(side: str, seen: int, _total: int | None) -> None:
        if side == "crm" and seen >= 200:
            raise Stopped

    with pytest.raises(Stopped):
        verify(world, progress=stop)
    left = verifying.unfinished(world.app, FLOW)
    assert left is not None
    assert (left.state, left.counts) == ("stopped", {"seen_erp": 3, "seen_crm": 200})
    world.crm.reset_stats()
    report = verify(world, resume=left)
    assert world.crm.stats()["calls"]["query phone"] < 4 + 2, "what was walked is not walked again"
    assert (report.run, report.complete, report.differing, report.only["crm"]) == (left.id, True, 1, 400)
    assert report.seen == {"erp": 3, "crm": 403}
    assert verifying.unfinished(world.app, FLOW) is None
    assert runs.get(world.db, left.id).counts == report.document()


def test_more_than_the_flow_allows_is_held_back_until_a_person_says_so(make: Make) -> None:
    world = make("limits = { changed = 2 }", stale=STALE)
    seeded(world, 3)
    quiet(world)
    report = verify(world)
    assert (report.only["crm"], report.handed_over) == (3, 0)
    assert "limits.changed" in report.held_back
    with world.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(event)).scalar_one() == 0
    assert Limits().unlinked == 20
    assert verify(world, unlimited=True).handed_over == 3


def test_a_worker_that_holds_a_record_is_not_disturbed(world: World) -> None:
    one = pair(world)
    quiet(world)
    plant(world, one, "same second")
    world.notice("erp", one.erp)
    claimed = leases.claim(world.db, world.app.flows[FLOW].scope, klass="live", limit=10)
    assert [row.id for row in claimed] == [one.id]
    assert counts(verify(world)) == {"in_flight": 1}

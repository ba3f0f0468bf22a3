"""What operators are told: which system was not reached, and the next step of a record, as they really stand."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete

from support.rules import Make, Pair, pair, rest, run_once
from support.world import World
from sync_worker import desk
from sync_worker.errors import SyncError
from sync_worker.output import Printer, records
from sync_worker.scheduler import describe, pause_after
from sync_worker.store import pauses, schedules
from sync_worker.store.tables import pause
from sync_worker.web import status as page


def blackout(world: World, side: str, on: bool) -> None:
    world.vendors[side].faults.merge({"blackout": on})


def polled(world: World, system: str) -> None:
    """The scheduler's poll of a system, with what it stores of how that ended."""
    name = f"poll:{system}"
    token = schedules.claim(world.db, name)
    assert token is not None
    error: SyncError | None = None
    try:
        world.app.feeds.poll(system)
    except SyncError as failed:
        error = failed
    wait = 60.0 if error is None else pause_after(60.0, 1, error)
    schedules.finish(world.db, name, token, world.clock() + wait, describe(error) if error else None)


def told(world: World, system: str) -> tuple[bool, str | None]:
    found = desk.status(world.app)["systems"][system]
    return found["up"], found["reason"]


def without_pauses(world: World) -> None:
    """They last seconds, and another process's count for nobody's own breaker."""
    world.db.run(lambda conn: conn.execute(delete(pause)).close())


def unread(world: World) -> Pair:
    """A pair whose edit in the CRM cannot be written, since the ERP is away."""
    one = pair(world)
    polled(world, "erp")
    polled(world, "crm")
    blackout(world, "erp", True)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    return one


def test_ops_a_system_that_was_never_polled_is_not_said_to_be_up(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    polled(world, "crm")
    assert (told(world, "erp"), told(world, "crm")) == ((True, "not polled yet"), (True, None))
    records.status(Printer(as_json=False), desk.status(world.app))
    assert {"system erp: not polled yet", "system crm: up"} <= set(capsys.readouterr().out.splitlines())
    shown = page.render(page.look(world.db, world.app.systems))
    assert "<td>erp</td><td>not polled yet</td>" in shown
    assert "<td>crm</td><td>up</td>" in shown


def test_ops_a_system_that_links_wait_for_is_down_before_any_pause_or_poll(make: Make) -> None:
    world = make()
    one = unread(world)
    assert told(world, "crm") == (True, None)
    run_once(world.app)
    without_pauses(world)
    up, why = told(world, "erp")
    assert not up
    assert why is not None and why.startswith("not reached since 20") and why.endswith("Z, 1 link waits for it"), why
    assert told(world, "crm") == (True, None)
    assert desk.status(world.app)["ok"] is False
    assert "down: not reached since" in page.render(page.look(world.db, world.app.systems))
    assert world.explain("crm", one.crm)["cause"]["text"] == "erp cannot be reached"


def test_ops_a_system_stays_down_when_its_pause_has_run_out_and_nobody_has_reached_it(world: World) -> None:
    unread(world)
    run_once(world.app)
    without_pauses(world)
    pauses.pause(world.db, "system", "crm", pauses.UNAVAILABLE, "the system cannot be reached", world.clock() + 1)
    world.clock.advance(1.5)
    assert told(world, "crm")[0] is False
    polled(world, "crm")
    assert told(world, "crm") == (True, None)


def test_ops_a_system_whose_latest_poll_failed_is_down_until_a_poll_is_answered(world: World) -> None:
    polled(world, "erp")
    blackout(world, "erp", True)
    world.clock.advance(60)
    polled(world, "erp")
    without_pauses(world)
    up, why = told(world, "erp")
    assert not up
    assert why is not None and why.startswith("not reached since 20") and why.endswith("Z (HTTP 503)"), why
    blackout(world, "erp", False)
    world.clock.advance(120)
    polled(world, "erp")
    assert told(world, "erp") == (True, None)


def test_ops_a_system_that_shuts_us_out_at_a_poll_is_down_without_a_pause(world: World) -> None:
    polled(world, "erp")
    world.clock.advance(60)
    world.erp.faults.merge({"fail_next": [{"operation": "read", "fault": "401"}] * 4})
    polled(world, "erp")
    up, why = told(world, "erp")
    assert (up, pauses.current(world.db)) == (False, {})
    assert why is not None and "401" in why


def test_ops_links_that_still_wait_after_an_outage_do_not_make_a_system_down_that_was_polled_since(
    world: World,
) -> None:
    unread(world)
    run_once(world.app)
    blackout(world, "erp", False)
    world.clock.advance(20)
    without_pauses(world)
    polled(world, "erp")
    assert world.links()[0]["cause"] == "system_unavailable"
    assert told(world, "erp") == (True, None)


def in_conflict(world: World) -> Pair:
    one = pair(world)
    world.edit_erp(one.erp, name="Ours", **{"contacts.default.URL1": "http://ours.example"})
    world.edit_crm(one.crm, Comp_Name="Theirs", Comp_WebSite="http://theirs.example")
    world.settle()
    assert world.explain("crm", one.crm)["state"] == "conflict"
    return one


def step(world: World, one: Pair) -> dict[str, Any]:
    found: dict[str, Any] = world.explain("crm", one.crm)["next_step"]
    return found


def test_explain_says_that_a_choice_was_made_until_it_is_written(world: World) -> None:
    one = in_conflict(world)
    assert "--field name" in step(world, one)["what"]
    desk.resolve(world.app, "crm", one.crm, "name", "crm")
    assert "--field website" in step(world, one)["what"], "the other field is still to be decided"
    desk.resolve(world.app, "crm", one.crm, "website", "erp")
    assert step(world, one) == {"what": "the choice made for name, website is being written", "at": None}
    pauses.pause(world.db, "system", "erp", pauses.UNAVAILABLE, "the system cannot be reached", world.clock() + 60)
    assert step(world, one)["what"] == "waits: system erp is paused (the system cannot be reached)"
    without_pauses(world)
    blackout(world, "erp", True)
    run_once(world.app)
    without_pauses(world)
    later = step(world, one)
    assert later["what"] == "the choice made for name, website is written" and later["at"] is not None
    blackout(world, "erp", False)
    rest(world)
    assert step(world, one)["what"] == "nothing until something changes"
    assert world.erp_record(one.erp)["name"] == "Theirs"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_a_removed_record_is_at_rest_and_only_its_partner_may_get_a_new_one(world: World, side: str) -> None:
    one = pair(world)
    gone, left = (("erp", one.erp), ("crm", one.crm)) if side == "erp" else (("crm", one.crm), ("erp", one.erp))
    world.vendors[side].person("customer" if side == "erp" else "Company", gone[1], {}, "delete")
    world.settle()
    rest(world)
    assert world.explain(*gone)["state"] == "unlinked"
    assert world.explain(*gone)["next_step"] == {"what": "nothing until something changes", "at": None}
    assert world.explain(*left)["next_step"]["what"] == f"a new partner: sync-worker sync {left[0]} {left[1]}"

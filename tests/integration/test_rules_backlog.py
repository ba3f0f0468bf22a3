"""E7 for an event queue that was filled before the flow was switched on: its events carry no time."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import Make, answering, api_writes, in_the_past, rest, row_of, there
from support.world import World
from sync_worker.errors import SyncError
from sync_worker.events import Change

EMAIL = "contacts.default.email1"


def filled(world: World) -> tuple[str, str]:
    """A customer and its company, made and edited before the switch-on; the ladder would link them."""
    with in_the_past(world, days=2):  # the vendor keeps events for a week
        erp = world.new_erp("Orchard Foods", id="C-1", **{EMAIL: "old@orchard.example"})
        crm = world.new_crm("Orchard Foods", comp_intacct_recordno=erp)
        world.clock.advance(3600)
        world.edit_erp(erp, name="Orchard Foods Ltd")
        world.erp.person("contact", str(world.erp_record(erp)["contacts.default.key"]), {"email1": "new@old.example"})
    return erp, crm


def waiting(world: World) -> int:
    return len(world.erp.queue)


def drained(world: World) -> None:
    world.app.feeds.drain("erp")
    world.settle(deliver=False)
    rest(world)


def without_notices(world: World, **columns: Any) -> None:
    world.erp.faults.merge({"webhooks": False, **columns})


def test_e7_what_lay_in_the_event_queue_before_the_switch_on_is_acknowledged_and_is_no_notice(make: Make) -> None:
    world = make()
    filled(world)
    assert waiting(world) > 0
    drained(world)
    assert waiting(world) == 0
    assert world.links() == [] and api_writes(world) == {"erp": 0, "crm": 0}


def test_e7_an_edit_after_the_switch_on_is_heard_though_older_events_lie_before_it(make_light: Make) -> None:
    world = make_light()
    without_notices(world, queue_batch=1)
    erp, crm = filled(world)
    world.clock.advance(1)
    world.edit_erp(erp, name="Orchard Fine Foods")
    made = world.new_erp("Harbour Cycles", id="C-2")
    drained(world)
    assert row_of(world, erp=erp).crm_key == crm
    assert row_of(world, erp=made).state == "in_sync" and there(world, "crm", "Harbour Cycles")


def test_e7_a_contact_of_a_linked_customer_edited_before_the_first_look_at_the_queue_arrives(make_light: Make) -> None:
    world = make_light()
    without_notices(world)
    erp, crm = filled(world)
    world.app.inbox.accept([Change("erp", "customer", erp, "updated", "manual")])
    world.settle(deliver=False)
    rest(world)
    assert row_of(world, erp=erp).crm_key == crm
    with in_the_past(world):  # the vendor's clock is of no help: a contact has no stamp
        world.erp.person(
            "contact", str(world.erp_record(erp)["contacts.default.key"]), {"email1": "now@orchard.example"}
        )
    drained(world)
    child = world.crm_child(crm, "Email")
    assert child is not None and child["Emai_EmailAddress"] == "now@orchard.example"


def test_e7_after_the_queue_was_emptied_once_its_events_are_notices_and_nothing_more_is_read(make_light: Make) -> None:
    world = make_light()
    without_notices(world)
    erp, _ = filled(world)
    drained(world)
    assert world.links() == []
    with in_the_past(world, days=1):  # whatever its stamp says
        world.edit_erp(erp, name="Orchard Fine Foods")
    world.erp.reset_stats()
    world.app.feeds.drain("erp")
    assert "query" not in " ".join(world.erp.stats()["calls"])
    world.settle(deliver=False)
    assert row_of(world, erp=erp).linked


def test_e7_a_record_that_is_gone_by_the_first_look_at_the_queue_makes_no_row(make_light: Make) -> None:
    world = make_light()
    with in_the_past(world, days=2):
        erp = world.new_erp("Gone Ltd", id="C-9")
        world.erp.person("customer", erp, {}, "delete")
    drained(world)
    assert waiting(world) == 0 and world.links() == []


def test_e7_while_the_vendor_cannot_be_read_nothing_of_the_queue_is_acknowledged(make_light: Make) -> None:
    world = make_light()
    filled(world)
    before = waiting(world)
    reads = answering(world.erp, lambda request: "query" in world.erp.operation(request).name, "503")
    with reads, pytest.raises(SyncError):
        world.app.feeds.drain("erp")
    assert waiting(world) == before
    drained(world)
    assert waiting(world) == 0 and world.links() == []


def test_e7_a_flow_switched_on_later_takes_the_queue_of_that_moment_as_old(make_light: Make) -> None:
    world = make_light()
    drained(world)
    filled(world)
    later = world.clock() + 10
    world.clock.time = later
    world.config = world._configured("").model_copy(update={"flows": {"second": world.config.flows["customers"]}})
    world.app = world.build()
    drained(world)
    assert world.links() == []

"""AM-6 with many links at once: they wait on several managers, one is mapped, and a worker dies in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.rules import FLOW, Make, in_the_past, rest, row_of
from support.world import World
from sync_worker.desk import importing
from sync_worker.imports import Selection
from sync_worker.store import managers

MANAGERS = ("E-10", "E-11", "E-12")
EACH = 4
REP, USER = "salesRepresentative.id", "Comp_PrimaryUserId"


def waiting(world: World) -> dict[str, list[str]]:
    """ERP keys of linked customers by the manager they wait on."""
    with in_the_past(world):
        made = {
            who: [world.new_erp(f"Customer {who} {n}", id=f"C-{who}-{n}", **{REP: who}) for n in range(EACH)]
            for who in MANAGERS
        }
    importing.run_import(world.app, FLOW, Selection())
    rest(world)
    assert {row["state"] for row in world.links()} == {"waiting"}
    return made


@pytest.mark.parametrize("steps", [0, 3, 8, 15, None])
def test_am_6_of_many_links_on_several_managers_exactly_those_of_the_mapped_one_run_each_once(
    make: Make, tmp_path: Path, steps: int | None
) -> None:
    world = make()
    made = waiting(world)
    world.erp.hooks.clear()  # nobody is told: the release has to read what is there now
    moved, *stay = made["E-10"]
    world.edit_erp(moved, **{REP: "E-11"})
    world.edit_erp(stay[0], name="Renamed since")
    others = {key: row_of(world, erp=key).erp_dirty for who in MANAGERS[1:] for key in made[who]}
    writes = len(world.written("crm"))
    released = managers.map_manager(world.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    assert len(released) == EACH
    if steps is not None:
        with world.crashing_after(steps):
            world.work()
        world.clock.advance(40)  # its leases run out
    world.settle()
    rest(world)
    users = {key: world.crm_record(str(row_of(world, erp=key).crm_key))[USER] for key in made["E-10"]}
    assert users == {moved: None, **dict.fromkeys(stay, 2)}
    assert row_of(world, erp=moved).opens["account_manager"].waiting_on == "account_manager:erp:E-11"
    assert world.crm_record(str(row_of(world, erp=stay[0]).crm_key))["Comp_Name"] == "Renamed since"
    assert {key: row_of(world, erp=key).erp_dirty for key in others} == others
    assert len(world.written("crm")) - writes == len(stay)  # each once, the new name in the same write

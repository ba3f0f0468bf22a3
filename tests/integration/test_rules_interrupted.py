"""E6 and E11 after a pass that ended between a write and its save: what was written is found, whatever came since."""

from __future__ import annotations

import pytest

from support.rules import Make, pair, rest, row_of, when
from support.world import Crash, World

NAME = "Comp_Name"


def written_and_never_saved(world: World, erp: str, name: str) -> None:
    """The customer is renamed; the worker dies after the CRM has taken the new name, and its lease runs out."""
    world.edit_erp(erp, name=name)
    world.deliver()
    when(world.crm, "update company", die, after=True)
    with world.crashing_after(10_000):
        world.work()


def die() -> None:
    raise Crash


@pytest.mark.parametrize("echo", ["before", "after", "never"])
def test_e6_a_name_put_back_before_anybody_saw_our_write_is_put_back_on_the_other_side_too(
    make_light: Make, echo: str
) -> None:
    world = make_light()
    one = pair(world, "Northwind Tools")
    written_and_never_saved(world, one.erp, "Nordwind Tools")
    assert world.crm_record(one.crm)[NAME] == "Nordwind Tools"
    if echo == "never":
        world.crm.take_notices()
    if echo == "after":
        late = world.crm.take_notices()
    world.edit_erp(one.erp, name="Northwind Tools")
    rest(world)
    if echo == "after":
        world.crm.post_notice(late)
        rest(world)
    assert (world.erp_record(one.erp)["name"], world.crm_record(one.crm)[NAME]) == ("Northwind Tools",) * 2
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e11_an_edit_made_after_an_interrupted_write_travels(make_light: Make) -> None:
    world = make_light()
    one = pair(world, "Northwind Tools")
    written_and_never_saved(world, one.erp, "Nordwind Tools")
    world.edit_erp(one.erp, name="Westwind Tools")
    rest(world)
    assert world.crm_record(one.crm)[NAME] == "Westwind Tools"
    assert [w.after[NAME] for w in world.written("crm") if NAME in w.after] == ["Nordwind Tools", "Westwind Tools"]

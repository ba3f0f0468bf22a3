"""The first link-up of two filled systems: nobody is doubled, nobody is linked with a stranger.

A small company of the same shape as one of 5,000 customers; ``LINK_UP=5000`` plays it at full size.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from support.rules import FLOW, Make, api_writes, in_the_past, updates
from support.untidy import Truth, fill
from support.world import World
from sync_worker.desk import importing, link_upload
from sync_worker.imports import Selection

PEOPLE = int(os.environ.get("LINK_UP", "240"))  # customers on each side
SAME, NEAR, TORN = PEOPLE * 3 // 5, max(4, PEOPLE // 125), max(2, PEOPLE // 500)
ALONE = PEOPLE - SAME - NEAR - TORN


def companies(world: World) -> set[str]:
    return {str(row["Comp_CompanyId"]) for row in world.crm.list_records("Company") if not row["Comp_Deleted"]}


def linked(world: World) -> dict[str, str]:
    return {row["erp_key"]: row["crm_key"] for row in world.links() if row["erp_key"] and row["crm_key"]}


def accept(world: World, truth: Truth, path: Path) -> None:
    """A person who knows better fills in the link file."""
    rows = "".join(f"{crm},Acme UK,ACME,{erp}\n" for erp, crm in truth.likely.items())
    path.write_text(f"CustomerId,SageCompanyName,SageSiteId,SageCustomerId\n{rows}")
    assert link_upload.upload(world.app, path).counts["linked"] == len(truth.likely)
    world.settle()


@pytest.mark.parametrize("seed", [20_261_122])
def test_gumu_7_two_filled_systems_are_joined_without_a_duplicate_or_a_wrong_link(
    make_light: Make, tmp_path: Path, seed: int
) -> None:
    world = make_light('initial = "erp"')  # what a person links by a file is compared by this
    with in_the_past(world):
        truth = fill(world, seed, SAME, NEAR, TORN, ALONE)
    before = companies(world)
    fresh = truth.near | truth.erp_only

    said = Counter(one.verdict for one in importing.preview(world.app, FLOW, Selection()))
    assert said == {
        "link": len(truth.sure), "ambiguous": len(truth.likely) + len(truth.torn), "create": len(fresh),
    }  # fmt: skip
    counts = importing.run_import(world.app, FLOW, Selection(), unlimited=True).counts
    assert counts == {"linked": said["link"], "waiting": said["ambiguous"], "created": said["create"]}
    world.settle()

    pairs = linked(world)
    assert {erp: pairs.get(erp) for erp in truth.sure} == truth.sure
    made = companies(world) - before
    assert {erp for erp, crm in pairs.items() if crm in made} == fresh and len(made) == len(fresh)
    assert set(pairs) == truth.sure.keys() | fresh
    assert not any(table in ("Phone", "Email") for table, _ in updates(world, "crm"))  # only typed otherwise
    for erp, expected in truth.torn.items():
        assert {one["key"] for one in world.explain("erp", erp)["candidates"]} == expected
    for erp, crm in truth.likely.items():
        assert crm in [one["key"] for one in world.explain("erp", erp)["candidates"]]

    accept(world, truth, tmp_path / "links.csv")
    assert {erp: linked(world).get(erp) for erp in truth.likely} == truth.likely
    done = api_writes(world)
    again = importing.run_import(world.app, FLOW, Selection(), unlimited=True).counts
    world.settle()
    assert again == {"unchanged": len(pairs) + len(truth.likely), "waiting": len(truth.torn)}
    assert api_writes(world) == done

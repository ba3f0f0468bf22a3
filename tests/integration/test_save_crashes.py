"""A worker that dies again and again in the middle of one link: what it had written is known to be ours (E3, ADR 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import Make, pair, rest, row_of, when, worlds
from support.world import Crash, World
from sync_worker.store import leases

EMAIL = "contacts.default.email1"


@pytest.fixture
def make(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


def dies(world: World, operation: str) -> None:
    """The worker dies right after the CRM has applied this call, and its lease runs out."""

    def die() -> None:
        raise Crash

    when(world.crm, operation, die, after=True)
    world.deliver()
    with pytest.raises(Crash):
        world.work()
    world.app = world.build()
    world.clock.advance(leases.LEASE + 1)


def test_e3_a_write_found_applied_stays_known_when_the_pass_that_found_it_dies_as_well(make: Make) -> None:
    world = make(stale=5)
    one = pair(world)
    world.edit_erp(one.erp, **{EMAIL: "first@northwind.example"})
    dies(world, "update email")
    world.edit_erp(one.erp, name="Northwind Renamed")
    dies(world, "update company")  # this pass has found the e-mail, and says so to nobody
    world.edit_erp(one.erp, **{EMAIL: "second@northwind.example"})
    world.settle()
    rest(world)
    child = world.crm_child(one.crm, "Email")
    assert child is not None and child["Emai_EmailAddress"] == "second@northwind.example"
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e3_a_write_is_remembered_however_long_the_worker_stood_still_before_it_could_save(make: Make) -> None:
    world = make(stale=5)
    one = pair(world)
    world.edit_erp(one.erp, name="Northwind First")
    world.crm.faults.fail_next.append({"operation": "update company", "fault": "lost_after_apply"})

    def stand_still() -> None:
        world.clock.advance(leases.LEASE - 2)
        world.edit_erp(one.erp, name="Northwind Second")

    when(world.crm, "update company", stand_still, after=True)
    world.settle()
    rest(world)
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Second"
    assert row_of(world, crm=one.crm).state == "in_sync"

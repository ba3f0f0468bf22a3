"""What the tests of account managers share: rows of the mapping, and pairs that both sides give to one person."""

from __future__ import annotations

from typing import Any

from support.rules import FLOW, SYSTEMS, Pair, pair
from support.world import World
from sync_worker import directories
from sync_worker.store import managers

REP = "salesRepresentative.id"
USER = "Comp_PrimaryUserId"


def map_it(world: World, erp: str, crm: str, **kw: Any) -> int:
    return len(managers.map_manager(world.db, FLOW, erp, crm, systems=SYSTEMS, **kw))


def read_directories(world: World) -> None:
    for connector in world.app.systems.values():
        directories.refresh(world.db, connector)


def mapped(world: World, erp: str = "E-10", crm: str = "2") -> Pair:
    """A linked pair that both sides give to the same person."""
    map_it(world, erp, crm)
    one = pair(world, **{USER: int(crm)})
    assert world.erp_record(one.erp)[REP] == erp
    return one


def of(world: World, one: Pair) -> tuple[Any, Any]:
    return world.erp_record(one.erp)[REP], world.crm_record(one.crm)[USER]


def new_employee(world: World, key: str) -> None:
    contact = {"id": f"Contact {key}", "printAs": f"Contact {key}", "lastName": key}
    world.erp.person("contact", None, contact, "create")
    world.erp.person("employee", None, {"id": key, "primaryContact.id": contact["id"]}, "create")

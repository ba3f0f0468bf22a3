"""What the rule tests share: linked pairs, one thing that happens at one vendor call, a second worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from support.world import World
from sync_worker.connectors.emulation import Emulator, Request, Response
from sync_worker.engine import crew
from sync_worker.engine.core import Engine, Worked
from sync_worker.store import leases
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link
from sync_worker.wiring import App

FLOW = "customers"
SYSTEMS = ("erp", "crm")
STALE = 30.0  # seconds: both vendors' stale window, where a world is not told another
Make = Callable[..., World]


def worlds(directory: Path, url: str) -> Iterator[Make]:
    """A factory of the test's one world, closed at the end: ``yield from worlds(...)`` in a fixture."""
    made: list[World] = []

    def make(flow: str = "", **kw: Any) -> World:
        made.append(World(directory, url, flow=flow, **kw))
        return made[-1]

    yield make
    for world in made:
        world.close()


def three_due_links(url: str) -> Iterator[Database]:
    """A database with half rows 7, 8 and 9 that are due: ``yield from three_due_links(...)`` in a fixture."""
    database = Database(url, durable=False)
    now = time.time() - 1
    base = {"flow": FLOW, "entity": "customer", "state": "pending", "due_at": now, "created_at": now}
    database.run(lambda conn: conn.execute(insert(link), [{**base, "erp_key": key} for key in "789"]))
    yield database
    database.close()


def wakes(patch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one whenever threads of a run's own are told that something has become due."""
    told: list[None] = []
    plain = crew.working

    @contextmanager
    def working(engine: Engine, flows: Sequence[str], threads: int) -> Iterator[Callable[[], None]]:
        with plain(engine, flows, threads) as wake:

            def noted() -> None:
                told.append(None)
                wake()

            yield noted

    patch.setattr(crew, "working", working)
    return told


@dataclass(frozen=True)
class Pair:
    """Two linked records and their link."""

    erp: str
    crm: str
    id: int


def pair(world: World, name: str = "Northwind Tools", **columns: Any) -> Pair:
    """A company with e-mail, phone, address and person, linked with its customer and long at rest."""
    given: dict[str, Any] = {
        "Comp_WebSite": "http://northwind.example",
        "comp_vatnumber": "GB123456789",
        "email": [{"$type": "Business", "Emai_EmailAddress": "desk@northwind.example"}],
        "phone": [{"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": "20", "Phon_Number": "79460000"}],
        "Address": [{"$isDefault": True, "$type": "Business", "Addr_Address1": "1 Mill Row", "Addr_City": "Leeds"}],
        "person": [{"$isDefault": True, "Pers_FirstName": "Ada", "Pers_LastName": "Archer"}],
    }
    key = world.new_crm(name, **{**given, **columns})
    world.settle()
    rest(world)
    row = row_of(world, crm=key)
    assert row.state == "in_sync" and row.erp_key is not None, world.explain("crm", key)
    return Pair(row.erp_key, key, row.id)


def rest(world: World) -> None:
    """Every stale window passes and everything due is done."""
    world.clock.advance(120)
    world.settle()


def row_of(world: World, *, erp: str | None = None, crm: str | None = None) -> LinkRow:
    """The link of a record, open fields included."""
    column, key = (link.c.crm_key, crm) if crm is not None else (link.c.erp_key, erp)
    with world.db.read() as conn:
        (row,) = rows_of(conn, select(link).where(column == key))
    return row


def field(world: World, crm: str, name: str) -> dict[str, Any]:
    """One field of a record as ``explain`` shows it."""
    (found,) = [f for f in world.explain("crm", crm)["fields"] if f["name"] == name]
    return dict(found)


def entries(world: World, what: str | None = None) -> list[dict[str, Any]]:
    """The journal, oldest first."""
    with world.db.read() as conn:
        rows = conn.execute(select(journal).order_by(journal.c.id)).mappings()
        return [dict(row) for row in rows if what in (None, row["what"])]


def when(emulator: Emulator, operation: str, act: Callable[[], object], *, after: bool = False) -> None:
    """``act`` happens once: just before (or after) the vendor handles the next call of this name or kind."""
    plain = emulator.handle

    def handle(request: Request) -> Response:
        named = emulator.operation(request)
        if operation not in (named.name, named.kind):
            return plain(request)
        emulator.handle = plain  # type: ignore[method-assign]  # the emulator's own method again
        if not after:
            act()
        answer = plain(request)
        if after:
            act()
        return answer

    emulator.handle = handle  # type: ignore[method-assign]  # a hook around one call, the call itself is real


@contextmanager
def answering(emulator: Emulator, fits: Callable[[Request], bool], fault: str) -> Iterator[None]:
    """As long as this lasts, calls that fit end in a fault of the vendor's own form."""
    plain = emulator.handle

    def handle(request: Request) -> Response:
        return emulator.fault_response(fault, request) if fits(request) else plain(request)

    emulator.handle = handle  # type: ignore[method-assign]  # see above
    try:
        yield
    finally:
        emulator.handle = plain  # type: ignore[method-assign]


def calls(emulator: Emulator) -> Counter[str]:
    """Calls by operation since ``reset_stats``, without sign-in."""
    return Counter({name: n for name, n in emulator.stats()["calls"].items() if name not in ("token", "revoke")})


def run_once(app: App) -> Worked:
    """One batch of live links, or else of the others."""
    for klass in ("live", "retry", "bulk"):
        worked = app.engine.run_due(FLOW, klass)
        if worked.claimed:
            return worked
    return Worked()


def run_all(app: App) -> int:
    """A second worker's own loop: everything that is due now."""
    count = 0
    while worked := run_once(app).claimed:
        count += worked
    return count


@contextmanager
def in_the_past(world: World, days: float = 30) -> Iterator[None]:
    """What the vendors do meanwhile is stamped before the flow was switched on, and nobody is told."""
    now = world.clock.time
    world.clock.time = now - days * 86_400
    try:
        yield
    finally:
        world.clock.time = now
        for emulator in world.vendors.values():
            emulator.take_notices()


def api_writes(world: World) -> dict[str, int]:
    """How many rows our worker has written per side so far."""
    return {side: len(world.written(side)) for side in world.vendors}


def claim(world: World, **kw: Any) -> list[Any]:
    """What a worker of the flow would claim now."""
    return leases.claim(world.db, world.app.flows[FLOW].scope, **kw)


def there(world: World, side: str, name: str) -> list[str]:
    """Keys of the records of that name."""
    if side == "erp":
        return [r["key"] for r in world.erp.list_records("customer") if r["name"] == name]
    rows = world.crm.list_records("Company")
    return [str(r["Comp_CompanyId"]) for r in rows if r["Comp_Name"] == name and not r["Comp_Deleted"]]


def updates(world: World, side: str) -> list[tuple[str, dict[str, Any]]]:
    """Our updates on a side: table and columns."""
    return [(w.entity, dict(w.after)) for w in world.written(side) if w.op == "update"]


def stale_reads(world: World, side: str) -> None:
    """From now on this vendor shows what it held a moment less than the stale window ago."""
    world.vendors[side].faults.merge({"p_stale_read": 1.0, "stale_seconds": STALE - 1})

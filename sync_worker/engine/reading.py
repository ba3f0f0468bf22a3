"""The reading half of a pass: what to read of each link, and what of it to believe (E6, E7, E8, E11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from mappings.belief import Look, believe, changed_fields
from mappings.fields import Value
from mappings.memory import Memory
from mappings.merge import Open
from mappings.settle import Results
from sync_worker.connectors.base import Ask, Record
from sync_worker.engine import states
from sync_worker.engine.comparing import shared_fields
from sync_worker.engine.flow import Flow
from sync_worker.engine.lengths import too_long
from sync_worker.errors import TooLong
from sync_worker.events import SIDES, Side, other
from sync_worker.store.rows import LinkRow


@dataclass
class Pass:
    """One go of the engine over one link: what was read, believed, decided and done. Lives for that go only."""

    row: LinkRow
    memory: Memory
    claimed: Memory  # as it was before this pass
    records: dict[Side, Record] = field(default_factory=dict)
    read_at: dict[Side, float] = field(default_factory=dict)
    answered_at: dict[Side, float] = field(default_factory=dict)  # when the first read of a side had come back
    now: dict[Side, dict[str, Value]] = field(default_factory=lambda: {"erp": {}, "crm": {}})
    was: dict[Side, dict[str, Value]] = field(default_factory=dict)
    stale: dict[str, Open] = field(default_factory=dict)
    relearned: set[str] = field(default_factory=set)
    shown_again: set[str] = field(default_factory=set)  # withheld until now: the other side may have changed meanwhile
    landed: dict[Side, dict[str, Value]] = field(default_factory=dict)  # writes found applied: what stood there before
    absent: set[Side] = field(default_factory=set)
    noticed: dict[Side, bool] = field(default_factory=dict)
    results: Results = field(default_factory=Results)
    targets: set[Side] = field(default_factory=set)  # the sides that will be written
    retry_after: float | None = None  # seconds; set when something has to be tried again
    cause: str = ""
    failed: tuple[Side, TooLong] | None = None  # what was read of that side cannot be kept: no decision is made

    def parts_read(self, side: Side) -> int:
        record = self.records.get(side)
        return record.parts if record is not None else 0

    def look(self, side: Side, stale_seconds: float) -> Look:
        return Look(self.was[side], self.now[side], self.read_at.get(side, 0.0), stale_seconds)


def begin(row: LinkRow) -> Pass:
    """Start a pass over a claimed link."""
    made = Pass(row, Memory.load(row.memory), Memory.load(row.memory))
    made.was = {side: dict(row.was(side)) for side in SIDES}
    made.noticed = {side: row.noticed(side) for side in SIDES}
    return made


def first_asks(p: Pass, flow: Flow, now: float) -> dict[Side, int]:
    """Which tables of which side to read first: those that gave notice; both where a field is open or has no past.

    Both, too, where nobody knows what became of a write: it may stand there although its source has been put back.
    """
    row = p.row
    everything: dict[Side, int] = {side: flow.connectors[side].capabilities.all_parts for side in SIDES}
    if (
        row.erp_was is None
        or row.crm_was is None
        or row.first_synced_at is None
        or states.was_left_out(row)
        or p.memory.ids_due
    ):
        return everything
    asks: dict[Side, int] = {}
    for side in SIDES:
        look_at = row.look_at(side)
        if p.noticed[side]:
            asks[side] = (row.parts(side) or everything[side]) & everything[side]
        if look_at is not None and look_at <= now:
            asks[side] = everything[side]
        if row.gone_at(side) is not None:
            asks[side] = asks.get(side, 0) | 1
    in_doubt = {name for tries in p.memory.tried.values() for name in tries}
    fields = set(row.opens) | set(p.memory.take) | in_doubt
    if fields:
        for side in SIDES:
            asks[side] = asks.get(side, 0) | flow.parts_mask(side, fields) | 1
    return asks or everything


def more_asks(p: Pass, flow: Flow, fields: set[str]) -> dict[Side, int]:
    """What is still unread of the fields a decision is about, on either side; and of what the flow's filter asks.

    A table that was read without the children known to be absent is read again for a field that one of them holds.
    """
    asks: dict[Side, int] = {}
    for side in SIDES:
        filtered = 1 if flow.filters.get(side) or (side == "crm" and flow.sub_companies) else 0
        missing = (flow.parts_mask(side, fields) | filtered) & ~p.parts_read(side)
        record = p.records.get(side)
        if record is not None and "" in record.children.values():
            missing |= flow.parts_mask(side, fields - p.now[side].keys())
        if missing:
            asks[side] = missing
    return asks


def read(
    flow: Flow, wanted: Iterable[tuple[Pass, dict[Side, int]]], clock: Callable[[], float], *, decide: bool = False
) -> None:
    """Read what is asked, one batch per side, and believe it. Raises SyncError when a whole batch could not be read.

    ``decide``: for a decision, no child is believed to be absent; a first look is about those that are there.
    """
    wanted = list(wanted)
    for side in SIDES:
        asked = [(p, parts[side]) for p, parts in wanted if parts.get(side) and p.row.key(side) is not None]
        if not asked:
            continue
        at = clock()
        asks = [Ask(str(p.row.key(side)), parts, _children(p, side, decide=decide)) for p, parts in asked]
        found = flow.connectors[side].read_many(flow.entity, asks)
        answered = clock()
        for p, _ in asked:
            p.answered_at.setdefault(side, answered)
            _take(p, flow, side, found.get(str(p.row.key(side))), at)


def _children(p: Pass, side: Side, *, decide: bool) -> dict[str, str]:
    record = p.records.get(side)
    known = {**p.row.children(side), **(record.children if record is not None else {})}
    return {name: key for name, key in known.items() if key} if decide else known


def _take(p: Pass, flow: Flow, side: Side, record: Record | None, at: float) -> None:
    """Add what was read of one side; only the fields of this read are believed anew."""
    if record is None:
        p.absent.add(side)
        return
    before = p.records.get(side)
    if before is None:
        p.read_at[side] = at
    fmap = flow.maps[side]
    values = fmap.get(record.native)
    failed = too_long(values, flow.systems[side], p.now[side])
    if failed is not None:
        p.failed = p.failed or (side, failed)
        p.records.setdefault(side, record)  # does it take part at all?
        return
    look = Look(p.was[side], values, at, flow.stale(side), record.stamps)
    _note_withheld(p, flow, side, record)
    believed = believe(side, look, fmap, p.memory, p.was[other(side)])
    p.was = {s: believed.was[s] for s in SIDES}
    p.now[side].update(believed.now)
    p.relearned |= believed.relearned
    if believed.landed:
        p.landed.setdefault(side, {}).update(believed.landed)
    for name, until in believed.stale.items():
        p.stale[name] = Open("stale", "stale_read", side=side, until=until)
    if before is None:
        p.records[side] = record
    else:
        p.records[side] = replace(
            before,
            native={**before.native, **record.native},
            children={**before.children, **record.children},
            parts=before.parts | record.parts,
            withheld={**before.withheld, **record.withheld},
            stamps={**before.stamps, **record.stamps},
        )


def _note_withheld(p: Pass, flow: Flow, side: Side, record: Record) -> None:
    """A field that a side keeps to itself rests, and says why; until it is shown again it is unknown (E8)."""
    held = p.memory.withheld.get(side, {})
    if not held and not record.withheld:
        return
    parts = flow.connectors[side].capabilities.parts
    read_of = {part for i, part in enumerate(parts) if record.parts >> i & 1}
    fields = {name: one.part for name, one in flow.maps[side].fields.items() if one.part in read_of}
    causes = {name: record.withheld[part] for name, part in fields.items() if part in record.withheld}
    p.memory.withheld[side] = {**{name: cause for name, cause in held.items() if name not in fields}, **causes}
    p.relearned |= {name for name in fields if held.get(name) != causes.get(name)}
    p.shown_again |= held.keys() & fields.keys() - causes.keys()


def moved_fields(p: Pass, flow: Flow) -> set[str]:
    """Fields of which a side read differs from its past, or that are open: what a decision is about (E6)."""
    moved: set[str] = set(p.row.opens) | set(p.memory.take) | p.shown_again
    for side in SIDES:
        moved |= changed_fields(p.was[side], p.now[side], flow.maps[side])
    return (moved & shared_fields(flow, is_default=p.row.is_default)) - p.stale.keys()

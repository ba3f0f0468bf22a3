"""How a read is believed before it is merged: what of it is no edit (E7, E11), and what is one that hides. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mappings.fields import FieldMap, Value
from mappings.memory import Memory, Side, other


@dataclass(frozen=True, slots=True)
class Look:
    """One side: its past and what was read. A name absent from ``now`` was not read or is unreadable.

    ``read_at``: seconds since 1970, taken before the read was sent. ``stamps``: row -> what it says of when it was last
    changed; only compared.
    """

    was: Mapping[str, Value]
    now: Mapping[str, Value]
    read_at: float
    stale_seconds: float
    stamps: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Believed:
    """A read after the doubts: pasts of both sides as they must be taken, the values believed, and the stale fields."""

    was: dict[Side, dict[str, Value]]
    now: dict[str, Value]
    stale: dict[str, float] = field(default_factory=dict)  # field -> look again at
    relearned: set[str] = field(default_factory=set)  # past changed without an edit: to be stored
    landed: dict[str, Value] = field(default_factory=dict)  # our own write, found applied: what stood there before
    landed_of: dict[str, set[float]] = field(default_factory=dict)  # the same: when writes of that value were sent


def believe(side: Side, look: Look, fmap: FieldMap, memory: Memory, other_was: Mapping[str, Value]) -> Believed:
    """Sort out of one side's read what is no edit: our own write seen again, its known loss, an old version.

    Run once per read and side, before anything is compared. ``memory`` is changed in place.
    """
    out = Believed({side: dict(look.was), other(side): dict(other_was)}, dict(look.now))
    suspects = (
        memory.tried.get(side, {}).keys() | memory.wrote.get(side, {}).keys() | memory.replaced.get(side, {}).keys()
    )
    for name in sorted(suspects & look.now.keys() & fmap.fields.keys()):
        was, now = out.was[side], look.now[name]
        if name in was and fmap.same(name, was[name], now):
            _confirm(side, name, memory)
        elif _landed(side, name, look, fmap, memory, out):
            out.relearned.add(name)
        elif (until := _stale_until(side, name, look, fmap, memory)) is not None:
            out.stale[name] = until
            del out.now[name]
        elif _is_loss(side, name, look, fmap, memory, out):
            out.relearned.add(name)
    for name in sorted(memory.stood.get(side, {}).keys() & look.now.keys() - out.stale.keys()):
        if _put_back(side, name, look, fmap, memory, out):
            out.relearned.add(name)
    return out


def stood(name: str, look: Look, fmap: FieldMap, edited: Iterable[str]) -> dict[str, Any] | None:
    """How a field's row stands: its name, its stamp, and what of it differs from its past already (``edited``).

    None where nothing is said of when the row was last changed.
    """
    row = fmap.stamped_row(name, look.stamps)
    if row not in look.stamps:
        return None
    seen = {n: look.now[n] for n in sorted(edited) if n != name and fmap.stamped_row(n, look.stamps) == row}
    return {"row": row, "stamp": look.stamps[row], "seen": seen}


def _confirm(side: Side, name: str, memory: Memory) -> bool:
    """The first read after our write has come; returns whether one was still expected."""
    ours = memory.wrote.get(side, {}).get(name)
    if ours is None or ours.get("sure"):
        return False
    memory.wrote[side][name] = {**ours, "sure": True}
    return True


def _landed(side: Side, name: str, look: Look, fmap: FieldMap, memory: Memory, out: Believed) -> bool:
    """A write whose end we never learned was applied after all: take both pasts as if it had been saved then."""
    now = look.now[name]
    tries = memory.tried.get(side, {}).get(name, [])
    ours = [t for t in tries if fmap.same(name, t["value"], now) or fmap.loss(name, t["value"], now)]
    if not ours:
        return False
    old = out.was[side].get(name)
    memory.note_replaced(side, name, old, look.read_at)
    memory.wrote.setdefault(side, {})[name] = {"old": old, "sure": True}
    memory.tried[side].pop(name)
    memory.stood.get(side, {}).pop(name, None)
    out.was[side][name] = now
    out.was[other(side)][name] = ours[-1]["source"]
    out.landed[name] = ours[-1].get("held", old)
    out.landed_of[name] = {t["at"] for t in ours}
    return True


def _put_back(side: Side, name: str, look: Look, fmap: FieldMap, memory: Memory, out: Believed) -> bool:
    """A write whose end we never learned was applied, it seems, and somebody put back just what it had replaced.

    Else it looks as if it had never been applied. But its row has moved, and nothing known has moved it; or another
    field of the very same write is there. Taken as an edit on this side: where the other side's has not been carried
    yet, both have changed, and a person decides.
    """
    before, row = memory.stood[side][name], fmap.stamped_row(name, look.stamps)
    if row != before["row"] or look.stamps.get(row, before["stamp"]) == before["stamp"]:
        return False
    del memory.stood[side][name]  # whatever moved the row, it tells of nothing that comes
    tries = memory.tried.get(side, {}).get(name)
    if not tries or name not in out.was[side] or not fmap.same(name, tries[-1].get("held"), look.now[name]):
        return False
    sent = {t["at"] for t in tries}
    same_write = any(at <= sent and fmap.stamped_row(n, look.stamps) == row for n, at in out.landed_of.items())
    if not same_write and _explained(name, before, look, fmap, out):
        return False
    ours = fmap.fit(name, tries[-1]["value"])
    if fmap.same(name, ours, look.now[name]):
        return False
    del memory.tried[side][name]
    memory.take.pop(name, None)
    out.was[side][name] = ours
    return True


def _explained(name: str, before: Mapping[str, Any], look: Look, fmap: FieldMap, out: Believed) -> bool:
    """Did something move the row that shows, and did not show before? Of what we wrote elsewhere the main one may."""
    row, seen = before["row"], before["seen"]
    for another in changed_fields(look.was, look.now, fmap) - {name}:
        if another in seen and fmap.same(another, seen[another], look.now[another]):
            continue
        if fmap.stamped_row(another, look.stamps) == row or (row == fmap.main and another in out.landed):
            return True
    return False


def _stale_until(side: Side, name: str, look: Look, fmap: FieldMap, memory: Memory) -> float | None:
    """E7: a value replaced less than ``stale_seconds`` ago, seen again, is not believed before the window is over."""
    ends = [
        at + look.stale_seconds
        for value, at in memory.replaced.get(side, {}).get(name, [])
        if look.read_at < at + look.stale_seconds and fmap.same(name, value, look.now[name])
    ]
    return max(ends, default=None)


def _is_loss(side: Side, name: str, look: Look, fmap: FieldMap, memory: Memory, out: Believed) -> bool:
    """E11: the first read after our write differs only by a loss the codec knows: that is what the target stores."""
    if not _confirm(side, name, memory) or name not in out.was[side]:
        return False
    if not fmap.loss(name, out.was[side][name], look.now[name]):
        return False
    out.was[side][name] = look.now[name]
    return True


def changed_fields(was: Mapping[str, Value], now: Mapping[str, Value], fmap: FieldMap) -> set[str]:
    """Fields whose value is not what this side held, or that have no past yet (E6)."""
    return {n for n, v in now.items() if n not in was or not fmap.same(n, was[n], v)}

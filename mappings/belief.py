"""How a read is believed before it is merged: what of it is no edit (E7, E11), and what is one that hides. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mappings.fields import FieldMap, Value
from mappings.memory import Memory, Side, other


@dataclass(frozen=True, slots=True)
class Look:
    """One side: its past and what was read. A name absent from ``now`` was not read or is unreadable.

    ``read_at``: seconds since 1970, taken before the read was sent. ``stamps``: row -> what it says of when it was last
    changed; only compared. ``resting``: fields that may differ from their past and explain nothing: parked as they
    are, or not shared with the other side.
    """

    was: Mapping[str, Value]
    now: Mapping[str, Value]
    read_at: float
    stale_seconds: float
    stamps: Mapping[str, str] = field(default_factory=dict)
    resting: Collection[str] = ()


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
    for name in sorted(memory.stamps.get(side, {}).keys() & look.now.keys() - out.stale.keys()):
        if _put_back(side, name, look, fmap, memory, out):
            out.relearned.add(name)
    return out


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
    memory.stamps.get(side, {}).pop(name, None)
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
    (row, stood), stamp = memory.stamps[side][name], fmap.stamp_of(name, look.stamps)
    if stamp is None or stamp[0] != row or stamp[1] == stood or name not in out.was[side]:
        return False
    del memory.stamps[side][name]  # whatever moved the row, it tells of nothing that comes
    tries = memory.tried.get(side, {}).get(name)
    if not tries or not fmap.same(name, tries[-1].get("held"), look.now[name]):
        return False
    sent = {t["at"] for t in tries}
    same_write = any(at <= sent and fmap.stamped_row(n, look.stamps) == row for n, at in out.landed_of.items())
    landed = any(row in (fmap.main, fmap.stamped_row(n, look.stamps)) for n in out.landed)
    if not same_write and (landed or _others_changed(name, row, look, fmap)):
        return False
    ours = fmap.fit(name, tries[-1]["value"])
    if fmap.same(name, ours, look.now[name]):
        return False
    del memory.tried[side][name]
    memory.take.pop(name, None)
    out.was[side][name] = ours
    return True


def _others_changed(name: str, row: str, look: Look, fmap: FieldMap) -> bool:
    """Does an edit that shows explain why the row has moved?"""
    edited = changed_fields(look.was, look.now, fmap) - {name, *look.resting}
    return any(fmap.stamped_row(other_name, look.stamps) == row for other_name in edited)


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

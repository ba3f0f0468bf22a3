"""What a link remembers beyond its past, and how a read is believed before it is merged (E7, E11). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mappings.fields import FieldMap, Value

Side = Literal["erp", "crm"]
SIDES: tuple[Side, Side] = ("erp", "crm")

_PARTS = ("replaced", "wrote", "tried", "bounce", "blocked", "withheld", "take", "ids_due", "first")
_KEPT = 8  # replaced values remembered per field; more edits than that within one stale window are not told apart


def other(side: Side) -> Side:
    return "crm" if side == "erp" else "erp"


@dataclass(frozen=True, slots=True)
class Look:
    """One side: its past and what was read. A name absent from ``now`` was not read or is unreadable.

    ``read_at``: seconds since 1970, taken before the read was sent.
    """

    was: Mapping[str, Value]
    now: Mapping[str, Value]
    read_at: float
    stale_seconds: float


@dataclass
class Memory:
    """Lives in ``link.memory`` as JSON, per side and field.

    ``replaced``: values lately replaced and when (E7). ``wrote``: the past is our own write: what it replaced, and
    whether a read has confirmed it (E11, E14). ``tried``: writes whose end is not known: value, source value, what
    stood there, when.
    ``bounce``: count, side, time (E14). ``blocked``: fields that differ by direction, owner, a clearing (E13) or undo.
    ``withheld``: per side the fields of which it shows nothing by its installation's own rule, and the cause.
    ``take``: a person's choice: a side, ``{"value": v}`` for both, or ``{"values": {side: v}}`` (a side left out keeps
    its own), with ``if``: what the sides must still hold for it to count, and ``blocked``: why they differ afterwards.
    ``ids_due``: sides whose own columns are still to name this link's ids, since it took its record over from another
    link (E21).
    ``first``: how the first link-up is decided, where not by the flow's ``initial`` (``{"initial": "erp"}``: imports).
    """

    replaced: dict[str, dict[str, list[list[Any]]]] = field(default_factory=dict)
    wrote: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    tried: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    bounce: dict[str, list[Any]] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, dict[str, str]] = field(default_factory=dict)
    take: dict[str, Any] = field(default_factory=dict)
    ids_due: dict[str, bool] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, raw: Mapping[str, Any] | None) -> Memory:
        """From JSON; dicts are copied two levels deep, so that a pass never changes what it was given."""
        memory = cls()
        for part in _PARTS:
            stored = (raw or {}).get(part) or {}
            setattr(memory, part, {k: dict(v) if isinstance(v, dict) else v for k, v in stored.items()})
        return memory

    def dump(self) -> dict[str, Any] | None:
        """As JSON, without what is empty; None when there is nothing to remember."""
        out = {part: {k: v for k, v in getattr(self, part).items() if v not in ({}, None)} for part in _PARTS}
        return {part: value for part, value in out.items() if value} or None

    def only(self, names: Collection[str]) -> Memory:
        """What is remembered of these fields; the rest is forgotten."""
        kept = Memory()
        for part in ("replaced", "wrote", "tried", "withheld"):
            known: dict[str, dict[str, Any]] = getattr(self, part)
            setattr(kept, part, {side: {n: v for n, v in per.items() if n in names} for side, per in known.items()})
        kept.bounce = {n: v for n, v in self.bounce.items() if n in names}
        kept.blocked = {n: v for n, v in self.blocked.items() if n in names}
        kept.take = {n: v for n, v in self.take.items() if n in names}
        return kept

    @property
    def apart(self) -> dict[str, str]:
        """Fields that differ and do not travel, and why."""
        out = dict(self.blocked)
        for causes in self.withheld.values():
            out |= causes
        return out

    def note_replaced(self, side: Side, name: str, value: Value, at: float) -> None:
        """``value`` stopped being what ``side`` holds at ``at``."""
        per_field = self.replaced.setdefault(side, {})
        per_field[name] = [*per_field.get(name, []), [value, at]][-_KEPT:]

    def note_try(self, side: Side, name: str, value: Value, source: Value, at: float, *, held: Value = None) -> None:
        """A write of ``value`` over ``held`` is about to be sent; ``source`` is what the other side held then."""
        per_field = self.tried.setdefault(side, {})
        tried = {"value": value, "source": source, "held": held, "at": at}
        per_field[name] = [*per_field.get(name, []), tried][-_KEPT:]

    def unended(self, claimed: Memory) -> Memory:
        """What the next pass must find if this one never ends: all as it was ``claimed``, and the writes sent since.

        What this pass believed counts only together with the pasts it led to, and those are stored at its end.
        """
        kept = Memory.load(claimed.dump())
        for side, per_field in self.tried.items():
            known = kept.tried.setdefault(side, {})
            for name, tries in per_field.items():
                before = known.get(name, [])
                known[name] = [*before, *(one for one in tries if one not in before)][-_KEPT:]
        return kept

    def forget(
        self,
        now: float,
        stale_seconds: Mapping[Side, float],
        read_at: Mapping[Side, float],
        read: Mapping[Side, Collection[str]],
    ) -> None:
        """Drop what the stale windows have passed; twice the window, since reads may begin late.

        A write whose end is not known is remembered until a later read has looked for it, however long that takes:
        ``read_at`` and ``read`` say when this pass read each side, and which fields.
        """
        for side in SIDES:
            limit = now - 2 * stale_seconds[side]
            per_field = self.replaced.get(side)
            if per_field:
                kept = {n: [e for e in entries if e[1] > limit] for n, entries in per_field.items()}
                self.replaced[side] = {n: e for n, e in kept.items() if e}
            tries = self.tried.get(side)
            if tries:
                looked = min(limit, read_at.get(side, limit))
                open_ = {n: [t for t in some if t["at"] >= looked or n not in read[side]] for n, some in tries.items()}
                self.tried[side] = {n: t for n, t in open_.items() if t}


@dataclass
class Believed:
    """A read after the doubts: pasts of both sides as they must be taken, the values believed, and the stale fields."""

    was: dict[Side, dict[str, Value]]
    now: dict[str, Value]
    stale: dict[str, float] = field(default_factory=dict)  # field -> look again at
    relearned: set[str] = field(default_factory=set)  # past changed without an edit: to be stored
    landed: dict[str, Value] = field(default_factory=dict)  # our own write, found applied: what stood there before


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
    for tried in reversed(memory.tried.get(side, {}).get(name, [])):
        if fmap.same(name, tried["value"], now) or fmap.loss(name, tried["value"], now):
            old = out.was[side].get(name)
            memory.note_replaced(side, name, old, look.read_at)
            memory.wrote.setdefault(side, {})[name] = {"old": old, "sure": True}
            memory.tried[side].pop(name)
            out.was[side][name] = now
            out.was[other(side)][name] = tried["source"]
            out.landed[name] = tried.get("held", old)
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

"""What a link remembers beyond its past. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mappings.fields import Value

Side = Literal["erp", "crm"]
SIDES: tuple[Side, Side] = ("erp", "crm")

_PARTS = ("replaced", "wrote", "tried", "stood", "bounce", "blocked", "withheld", "take", "ids_due", "first")
_KEPT = 8  # replaced values remembered per field; more edits than that within one stale window are not told apart


def other(side: Side) -> Side:
    return "crm" if side == "erp" else "erp"


@dataclass
class Memory:
    """Lives in ``link.memory`` as JSON, per side and field.

    ``replaced``: values lately replaced and when (E7). ``wrote``: the past is our own write: what it replaced, and
    whether a read has confirmed it (E11, E14). ``tried``: writes whose end is not known: value, source value, what
    stood there, when.
    ``stood``: how a field's row stood before the last try at it (``belief.stood``); kept for as long as nobody known
    has changed that row since, so that a row that moved speaks of an unknown edit.
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
    stood: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
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
        for part, stored in (raw or {}).items():
            if stored and part in _PARTS:
                setattr(memory, part, {k: dict(v) if isinstance(v, dict) else v for k, v in stored.items()})
        return memory

    def dump(self) -> dict[str, Any] | None:
        """As JSON, without what is empty; None when there is nothing to remember."""
        held = {part: value for part in _PARTS if (value := getattr(self, part))}
        out = {part: {k: v for k, v in value.items() if v not in ({}, None)} for part, value in held.items()}
        return {part: value for part, value in out.items() if value} or None

    def only(self, names: Collection[str]) -> Memory:
        """What is remembered of these fields; the rest is forgotten."""
        kept = Memory()
        for part in ("replaced", "wrote", "tried", "stood", "withheld"):
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

    def note_try(
        self,
        side: Side,
        name: str,
        value: Value,
        source: Value,
        at: float,
        *,
        held: Value = None,
        stood: dict[str, Any] | None = None,
    ) -> None:
        """A write of ``value`` over ``held`` is about to be sent; ``source`` is what the other side held then.

        ``stood``: how the row to be written stands; None where that is not known.
        """
        per_field = self.tried.setdefault(side, {})
        tried = {"value": value, "source": source, "held": held, "at": at}
        per_field[name] = [*per_field.get(name, []), tried][-_KEPT:]
        self._note_stood(side, name, stood)

    def _note_stood(self, side: str, name: str, stood: dict[str, Any] | None) -> None:
        per_field = self.stood.setdefault(side, {})
        if stood is None:
            per_field.pop(name, None)
        else:
            per_field[name] = stood

    def unended(self, claimed: Memory) -> Memory:
        """What the next pass must find if this one never ends: all as it was ``claimed``, and the writes sent since.

        What this pass believed counts only together with the pasts it led to, and those are stored at its end.
        """
        kept = Memory.load(claimed.dump())
        for side, per_field in self.tried.items():
            known = kept.tried.setdefault(side, {})
            for name, tries in per_field.items():
                before = known.get(name, [])
                fresh = [one for one in tries if one not in before]
                known[name] = [*before, *fresh][-_KEPT:]
                if fresh:
                    kept._note_stood(side, name, self.stood.get(side, {}).get(name))
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
            if self.stood.get(side):
                in_doubt = self.tried.get(side, {})
                self.stood[side] = {n: one for n, one in self.stood[side].items() if n in in_doubt}

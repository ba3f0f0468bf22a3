"""From a plan and what became of its writes to the new pasts (E10, E11, E15). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mappings.fields import FieldMap, Value
from mappings.memory import SIDES, Memory, Side
from mappings.merge import Open, Plan, Sides, Step


@dataclass(frozen=True, slots=True)
class Written:
    """A field that was written. ``stored``: what the vendor's answer shows; ``sure`` False when it shows nothing."""

    stored: Value
    sure: bool
    at: float


@dataclass
class Results:
    """What became of the writes of one link: per side the fields done, and those refused with the vendor's words."""

    done: dict[Side, dict[str, Written]] = field(default_factory=dict)
    refused: dict[Side, dict[str, str]] = field(default_factory=dict)


@dataclass
class Settled:
    """``was``: the new pasts. ``opens``: fields not at rest. ``unfinished``: fields whose write must be repeated."""

    was: dict[Side, dict[str, Value]]
    opens: dict[str, Open]
    unfinished: set[str]
    journal: list[dict[str, Any]]


def settle(s: Sides, plan: Plan, results: Results, memory: Memory) -> Settled:
    """The past of a field advances only when the field has come to rest (E10). ``memory`` is changed in place."""
    out = Settled({side: dict(s.look(side).was) for side in SIDES}, dict(s.opens), set(), [])
    for step in plan.steps:
        if step.open is not None:
            _park(step, step.open, s, out)
            continue
        refusal = next(
            (
                (side, results.refused[side][step.name])
                for side in step.writes
                if step.name in results.refused.get(side, {})
            ),
            None,
        )
        if refusal is not None:
            now: dict[Side, Value] = {side: s.look(side).now[step.name] for side in SIDES}
            parked = Open("refused", "refused", {"reason": refusal[1]}, None, now["erp"], now["crm"], refusal[0])
            _park(step, parked, s, out)
            memory.tried.get(refusal[0], {}).pop(step.name, None)
            continue
        if any(step.name not in results.done.get(side, {}) for side in step.writes):
            out.unfinished.add(step.name)
            continue
        _rest(step, s, results, memory, out)
    return out


def _park(step: Step, parked: Open, s: Sides, out: Settled) -> None:
    before = s.opens.get(step.name)
    out.opens[step.name] = parked
    if before is None or (before.why, before.cause) != (parked.why, parked.cause):
        what = {"field": step.name, "why": parked.why, "cause": parked.cause}
        out.journal.append({"what": parked.why, "after": what})


def _rest(step: Step, s: Sides, results: Results, memory: Memory, out: Settled) -> None:
    name = step.name
    out.opens.pop(name, None)
    memory.take.pop(name, None)
    if step.blocked:
        memory.blocked[name] = step.blocked
        out.journal.append({"what": "blocked", "side": step.source, "after": {name: step.blocked}})
    else:
        memory.blocked.pop(name, None)
    for side, value in step.past.items():
        look, fmap = s.look(side), s.maps[side]
        if side in step.writes:
            _written(side, name, results.done[side][name], s, memory, out)
        else:
            _accepted(side, name, value, look.was.get(name), look.read_at, fmap, memory)
            out.was[side][name] = value


def _written(side: Side, name: str, written: Written, s: Sides, memory: Memory, out: Settled) -> None:
    """Our write is the past now; what it replaced, and what earlier tries may have stored, is old (E7)."""
    look = s.look(side)
    held = look.now[name]
    for old in [held, *([look.was[name]] if name in look.was else [])]:
        memory.note_replaced(side, name, old, written.at)
    for tried in memory.tried.get(side, {}).pop(name, []):
        if not s.maps[side].same(name, tried["value"], written.stored):
            memory.note_replaced(side, name, tried["value"], written.at)
    memory.wrote.setdefault(side, {})[name] = {"old": held, "sure": written.sure}
    out.was[side][name] = written.stored


def _accepted(side: Side, name: str, value: Value, was: Value, read_at: float, fmap: FieldMap, memory: Memory) -> None:
    """A person's value became the past: the one before it is old, and no longer ours."""
    if fmap.same(name, was, value):
        return
    memory.note_replaced(side, name, was, read_at)
    memory.wrote.get(side, {}).pop(name, None)

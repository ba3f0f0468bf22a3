"""Three-way merge per field: (was, is) of both sides + policy -> Plan. Pure: no clock, network or database.

Each side is compared with its own past (idea 5), in its own terms; a translator turns a value of one side into the
other's. What a read may be believed is settled before (``belief.believe``); here it is decided, field by field:

    only one side changed          write the other          (E9)
    both, to the same              both pasts advance       (E9)
    both, differently              owner, else on_conflict  (E9)
    against direction or owner     report, past advances    (E13)
    cannot be translated yet       the field waits          (E16)
    third bounce                   stop as a conflict       (E14)

``settle`` (in ``settle.py``) turns the steps that were carried out into the new pasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mappings.belief import Look
from mappings.fields import FieldMap, Value
from mappings.memory import SIDES, Memory, Side, other

BOUNCES = 3
BOUNCE_HORIZON = 3600.0  # seconds: slower than that it is people, not systems, who change a value back


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """``owner``: whose changes count. ``clear_on_empty``: does emptying this field travel?"""

    owner: Literal["erp", "crm", "both", "none"] = "both"
    clear_on_empty: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """What a flow allows. ``may_write(side, field)`` follows from direction and owner."""

    direction: Literal["both", "to_crm", "to_erp", "none"] = "both"
    on_conflict: Literal["review", "erp", "crm"] = "review"
    initial: Literal["review", "erp", "crm"] = "review"
    overwrite: bool = False
    fields: Mapping[str, FieldPolicy] = field(default_factory=dict)
    only: frozenset[str] | None = None  # E21: a link that is not its record's default keeps only these fields

    def of(self, name: str) -> FieldPolicy:
        return self.fields.get(name, _DEFAULT_FIELD)

    def may_write(self, side: Side, name: str) -> bool:
        owner = self.of(name).owner
        return self.direction in ("both", "to_" + side) and owner in ("both", other(side))


_DEFAULT_FIELD = FieldPolicy()


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that cannot be translated yet: the field waits on ``key``."""

    key: str
    cause: str


Translate = Callable[[str, Side, Value], "Value | Missing"]
InStep = Callable[[str, Value, Value], bool]


@dataclass(frozen=True, slots=True)
class Open:
    """A field that is not at rest. ``why``: the kind of it; ``*_seen``: both values when it was parked."""

    why: Literal["waiting", "conflict", "refused", "stale"]
    cause: str
    params: Mapping[str, Any] = field(default_factory=dict)
    waiting_on: str | None = None
    erp_seen: Value = None
    crm_seen: Value = None
    side: Side | None = None
    until: float | None = None

    def seen(self, side: Side) -> Value:
        return self.erp_seen if side == "erp" else self.crm_seen


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one field.

    ``writes``: value per side, in its own terms. ``past``: pasts to set once every write of this step is done.
    ``open``: the field is parked instead. ``blocked``: why it stays different (E13). ``source``: whose value counts.
    """

    name: str
    code: str
    writes: Mapping[Side, Value] = field(default_factory=dict)
    past: Mapping[Side, Value] = field(default_factory=dict)
    open: Open | None = None
    source: Side | None = None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole decision about one link: the dry run, the preview, the explanation and what is performed."""

    steps: tuple[Step, ...] = ()

    def writes(self, side: Side) -> dict[str, Value]:
        """Field -> value to write on ``side``, in its terms."""
        return {s.name: s.writes[side] for s in self.steps if side in s.writes}


@dataclass(frozen=True, slots=True)
class Sides:
    """Everything a decision about one link looks at."""

    erp: Look
    crm: Look
    maps: Mapping[Side, FieldMap]
    policy: Policy
    translate: Translate
    in_step: InStep
    opens: Mapping[str, Open] = field(default_factory=dict)

    def look(self, side: Side) -> Look:
        return self.erp if side == "erp" else self.crm


def merge(sides: Sides, memory: Memory) -> Plan:
    """Decide every field known on both sides. ``memory`` is changed in place: bounces are counted here."""
    steps = []
    shared = sides.maps["erp"].fields.keys() & sides.maps["crm"].fields.keys()
    for name in sorted(shared & sides.erp.now.keys() & sides.crm.now.keys()):
        if sides.policy.only is None or name in sides.policy.only:
            step = _decide(name, sides, memory)
            if step is not None:
                steps.append(step)
    return Plan(tuple(steps))


def _decide(name: str, s: Sides, memory: Memory) -> Step | None:
    now: dict[Side, Value] = {side: s.look(side).now[name] for side in SIDES}
    parked = s.opens.get(name)
    if name in memory.take:
        if _applies(name, s, now, memory.take[name]):
            return _chosen(name, s, now, memory.take[name])
        del memory.take[name]
    if parked is not None and parked.why == "refused" and _unchanged_since(name, s, parked, now):
        return Step(name, "refused", open=parked)
    if any(name not in s.look(side).was for side in SIDES):
        return _first_time(name, s, now, parked)
    changed = [side for side in SIDES if not s.maps[side].same(name, s.look(side).was[name], now[side])]
    if not changed:
        return _at_rest(name, s, now, parked)
    if _agree(name, s, now):
        return Step(name, "agreed", past=now)
    if _bounced(name, s, memory, now, changed):
        return _park(name, "conflict", "rewritten", now)
    if len(changed) == 1:
        return _one_sided(name, s, now, changed[0])
    return _both_changed(name, s, now)


def _at_rest(name: str, s: Sides, now: Mapping[Side, Value], parked: Open | None) -> Step | None:
    """Neither side differs from its past: a parked field has come to rest, but for what both systems rewrite."""
    if parked is None:
        return None
    if parked.cause == "rewritten" and not _agree(name, s, now):
        return Step(name, "conflict", open=parked)
    return Step(name, "settled", past=now)


def _unchanged_since(name: str, s: Sides, parked: Open, now: Mapping[Side, Value]) -> bool:
    return all(s.maps[side].same(name, parked.seen(side), now[side]) for side in SIDES)


def _agree(name: str, s: Sides, now: Mapping[Side, Value]) -> bool:
    """In step: either side already holds what it would store of the other's value."""
    if s.in_step(name, now["erp"], now["crm"]):
        return True
    for source in SIDES:
        target = other(source)
        value = s.translate(name, source, now[source])
        if isinstance(value, Missing):
            continue
        fmap = s.maps[target]
        if fmap.same(name, value, now[target]) or fmap.same(name, fmap.fit(name, value), now[target]):
            return True
    return False


def _bounced(name: str, s: Sides, memory: Memory, now: Mapping[Side, Value], changed: list[Side]) -> bool:
    """E14: count changes that put back what we replaced, alternating between the sides; true at the third."""
    parked = s.opens.get(name)
    if parked is not None and parked.cause == "rewritten":
        return True
    side = changed[0]
    ours = memory.wrote.get(side, {}).get(name)
    if len(changed) != 1 or ours is None or not s.maps[side].same(name, ours["old"], now[side]):
        memory.bounce.pop(name, None)
        return False
    at = s.look(side).read_at
    count, last, when = memory.bounce.get(name, [0, other(side), at])
    puts_back = s.policy.overwrite and not s.policy.may_write(other(side), name)  # then one side alone can insist
    fresh = (last == side and not puts_back) or at - when > BOUNCE_HORIZON
    count = 1 if fresh else count + 1
    memory.bounce[name] = [count, side, at]
    return bool(count >= BOUNCES)


def _one_sided(name: str, s: Sides, now: Mapping[Side, Value], source: Side) -> Step:
    target = other(source)
    if not s.policy.may_write(target, name):
        if s.policy.overwrite and s.policy.may_write(source, name):
            return _write(name, s, now, target, "put_back")
        return Step(name, "blocked", past={source: now[source]}, source=source, blocked=f"not_to_{target}")
    return _write(name, s, now, source, "changed")


def _both_changed(name: str, s: Sides, now: Mapping[Side, Value]) -> Step:
    winner = _authority(name, s.policy, s.policy.on_conflict)
    if winner == "none":
        return Step(name, "blocked", past=dict(now), blocked="direction_none")
    if winner == "review":
        return _park(name, "conflict", "both_changed", now)
    return _write(name, s, now, winner, "overwritten")


def _authority(name: str, policy: Policy, undecided: str) -> Any:
    """Which side's value counts: the only one that may travel, else what the policy says."""
    to = {side: policy.may_write(side, name) for side in SIDES}
    if to["crm"] and to["erp"]:
        return undecided
    if to["crm"]:
        return "erp"
    return "crm" if to["erp"] else "none"


def _write(name: str, s: Sides, now: Mapping[Side, Value], source: Side, code: str) -> Step:
    """Bring ``source``'s value to the other side, in the other side's terms."""
    target = other(source)
    value = now[source]
    if value is None and not s.policy.of(name).clear_on_empty:
        return Step(name, "blocked", past=dict(now), source=source, blocked="clearing_stays")
    translated = s.translate(name, source, value)
    if isinstance(translated, Missing):
        return _park(name, "waiting", translated.cause, now, waiting_on=translated.key)
    fitted = s.maps[target].fit(name, translated)
    if s.maps[target].same(name, fitted, now[target]):
        return Step(name, "agreed", past=dict(now))
    return Step(name, code, writes={target: translated}, past={source: value, target: fitted}, source=source)


def _first_time(name: str, s: Sides, now: Mapping[Side, Value], parked: Open | None) -> Step:
    """E9 first link-up, and E10 for a field that was parked at first link-up."""
    if _agree(name, s, now):
        return Step(name, "agreed", past=dict(now))
    if parked is not None and parked.why == "conflict":
        return _park(name, "conflict", parked.cause, now)
    if parked is None:
        return _decide_first(name, s, now)
    origin: Mapping[Side, Value] = parked.params.get("first_seen") or {side: parked.seen(side) for side in SIDES}
    changed = [side for side in SIDES if not s.maps[side].same(name, origin[side], now[side])]
    if len(changed) == 1:
        step = _one_sided(name, s, now, changed[0])
    else:
        step = _both_changed(name, s, now) if changed else _decide_first(name, s, now)
    if step.open is not None and step.open.why == "waiting":
        return replace(step, open=replace(step.open, params={**step.open.params, "first_seen": dict(origin)}))
    return replace(step, past={**now, **step.past}) if step.blocked else step


def _decide_first(name: str, s: Sides, now: Mapping[Side, Value]) -> Step:
    """A first link-up: fill what is blank, else ``initial`` decides, as far as the owner lets it."""
    blank = [side for side in SIDES if now[side] is None]
    if blank:
        return _fill_blank(name, s, now, blank[0])
    owner = s.policy.of(name).owner
    winner = owner if owner in SIDES else "none" if owner == "none" else s.policy.initial
    if winner == "review":
        return _park(name, "conflict", "first_link_up", now)
    if winner == "none" or not s.policy.may_write(other(winner), name):
        return Step(name, "blocked", past=dict(now), blocked="direction")
    return _write(name, s, now, winner, "first_link_up")


def _fill_blank(name: str, s: Sides, now: Mapping[Side, Value], blank: Side) -> Step:
    """A value on one side only fills the blank side; blanks never erase."""
    if not s.policy.may_write(blank, name):
        return Step(name, "blocked", past=dict(now), source=other(blank), blocked=f"not_to_{blank}")
    return _write(name, s, now, other(blank), "filled")


def _park(name: str, why: Any, cause: str, now: Mapping[Side, Value], waiting_on: str | None = None) -> Step:
    parked = Open(why, cause, waiting_on=waiting_on, erp_seen=now["erp"], crm_seen=now["crm"])
    return Step(name, why, open=parked)


def _applies(name: str, s: Sides, now: Mapping[Side, Value], take: Any) -> bool:
    """A choice may name what it was made for (``if``: side -> value); an edit made since makes it void."""
    expected = {} if take in SIDES else take.get("if", {})
    return all(s.maps[side].same(name, value, now[side]) for side, value in expected.items())


def _chosen(name: str, s: Sides, now: Mapping[Side, Value], take: Any) -> Step:
    """A person settled it: one side's value as it is now, a value of their own for both, or one for each side.

    A side that is given none keeps what it has; ``blocked`` says why they differ, where they then do.

    Where the direction does not lead (it may have changed since the choice), nothing is written (E13).
    """
    if take in SIDES:
        target = other(take)
        if not s.policy.may_write(target, name):
            return Step(name, "blocked", past=dict(now), source=take, blocked=f"not_to_{target}")
        return _write(name, s, now, take, "resolved")
    wanted: Mapping[Side, Value] = (
        {**now, **take["values"]} if "values" in take else dict.fromkeys(SIDES, take["value"])
    )
    fitted: dict[Side, Value] = {side: s.maps[side].fit(name, wanted[side]) for side in SIDES}
    unequal = [side for side in SIDES if not s.maps[side].same(name, fitted[side], now[side])]
    writes = {side: wanted[side] for side in unequal if s.policy.may_write(side, name)}
    held = [side for side in unequal if side not in writes]
    past = {side: now[side] if side in held else fitted[side] for side in SIDES}
    kept_apart = None if _agree(name, s, past) else take.get("blocked")
    blocked = f"not_to_{held[0]}" if held else kept_apart
    return Step(name, "resolved", writes=writes, past=past, blocked=blocked)

"""What must be true at rest, told from the vendors' ledgers and from what was done to the processes. Pure.

Every field's story (``faults.story``) is judged; a write of ours over an edit it could not have read is the window of
E22, counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faults.plan import RECOVER, SIDES, Fault, Plan, Side
from faults.recovery import SETTLE, calls_of, edits, newcomers, stalls, waits
from faults.story import Customer, StoryKey, Stretch, new_records, tell

WINDOW = 2.0
"""Seconds between a read and a write that no client can close (E22)."""
STALLED = 15.0
"""The same where our process, its database or a vendor stood still meanwhile: a vendor call's total deadline."""
RECOVERY = "slowest recovery after a worker kill (s)"


@dataclass
class Lost:
    """An edit that a write of ours replaced before it had travelled. ``age``: seconds it had stood there."""

    story: StoryKey
    side: Side
    age: float
    at: float


@dataclass
class Observed:
    """What a run left behind. Ledger rows as the emulators give them; times are seconds since 1970.

    ``start``: values before the first edit. ``calls``: the vendors' call logs. ``done``: faults as they happened,
    ``at`` being when. ``status``: links by state, as ``sync-worker status`` says; ``in_conflict``: ERP keys of those
    that it lists as conflicts. ``unstored``: notices that were acknowledged and are no events. ``grown``: what did not
    come back to its baseline, in words; ``resources``: all of it, before and after.
    """

    plan: Plan
    customers: Sequence[Customer]
    start: Mapping[StoryKey, Any]
    ledgers: Mapping[Side, Sequence[Mapping[str, Any]]]
    calls: Mapping[Side, Sequence[Sequence[Any]]]
    done: Sequence[Fault]
    status: Mapping[str, int]
    in_conflict: Collection[str]
    due: int
    rested: bool
    forged: int = 0
    forged_taken: int = 0
    forged_stored: int = 0
    acknowledged: int = 0
    unstored: int = 0
    grown: Sequence[str] = ()
    resources: str = ""
    writes_after_rest: int = 0


@dataclass(frozen=True)
class Verdict:
    """One invariant: what was counted, what is allowed. ``count`` None: not measured, which breaks it if ``needed``."""

    name: str
    count: float | None
    allowed: float
    also: str = ""
    needed: bool = True

    @property
    def ok(self) -> bool:
        return not self.needed if self.count is None else self.count <= self.allowed


@dataclass
class Judgement:
    verdicts: list[Verdict]
    facts: dict[str, Any]

    @property
    def ok(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts)


def judge(seen: Observed) -> Judgement:
    """Every invariant with its count."""
    stories = tell(seen.customers, seen.start, seen.ledgers)
    stood = stalls(seen.done)
    deaths = stood + [(f.at, f.at + SETTLE) for f in seen.done if f.name == "kill worker"]
    losses = [Lost(key, *lost) for key, story in stories.items() for lost in story.lost]
    windows = [lost for lost in losses if lost.age <= WINDOW]
    stalled = [lost for lost in losses if WINDOW < lost.age <= STALLED and _within(lost, stood)]
    truly = [lost for lost in losses if lost not in windows and lost not in stalled]
    conflicts = [key for key, story in stories.items() if story.conflict]
    unsure = [key for key, story in stories.items() if story.unsure(deaths, stood)]
    apart = [key for key, story in stories.items() if story.apart and not story.conflict and key not in unsure]
    fates = sum((story.fates() for story in stories.values()), Counter[str]())
    named = calls_of(seen.calls)
    opened = edits(stories, seen.customers, named)
    recovered = waits(seen.done, opened, begun=True)
    others = {
        "slowest edit after such a kill, begun or not (s)": waits(seen.done, opened, begun=False),
        "slowest new record after such a kill (s)": waits(seen.done, newcomers(seen.ledgers, named), begun=True),
    }
    planted = {(c.customer, c.field) for c in seen.plan.changes if c.planted}
    verdicts = [
        *_at_rest(seen),
        Verdict("edits that are in no ledger", _missing_edits(seen), 0),
        _missing_faults(seen),
        Verdict("edits that ended nowhere", fates.pop("nowhere", 0), 0),
        Verdict("lost edits", len(truly), 0, _ages(truly)),
        *_creates(seen),
        Verdict("an older value over a newer one", sum(s.backwards for s in stories.values()), 0),
        Verdict("values that nobody typed", sum(s.invented for s in stories.values()), 0),
        Verdict("writes beyond one per side and change", sum(s.repeated for s in stories.values()), 0),
        Verdict("fields that differ without a conflict", len(apart), 0, _some(apart)),
        _conflicts(seen, {customer for customer, _ in (*conflicts, *unsure)}),
        _recovery(seen, recovered),
    ]
    facts = {
        "edits": sum(c.customer is not None for c in seen.plan.changes),
        "what became of them": dict(fates),
        "creates": sum(c.customer is None for c in seen.plan.changes),
        "conflicts planted": len(planted),
        "planted conflicts at rest": sum(key in planted for key in conflicts),
        "conflicts by collision": sum(key not in planted for key in conflicts),
        "conflicts over a write whose end was unknown": len(unsure),
        "edits in the window of E22": len(windows),
        "edits in that window during a standstill": len(stalled),
        "notices acknowledged": seen.acknowledged,
        "forged notices sent": seen.forged,
        "worker kills beside which nothing else was hurt": len(recovered),
        **{name: f"{max(found):.1f}" if found else "none met" for name, found in others.items()},
        "files, threads and keys, before and after": seen.resources,
        "faults": dict(Counter(fault.name for fault in seen.done)),
    }
    return Judgement(verdicts, facts)


def _at_rest(seen: Observed) -> list[Verdict]:
    """What the product says of itself, and what it left behind."""
    status = seen.status
    links = len(seen.customers) + sum(c.customer is None for c in seen.plan.changes)
    return [
        Verdict("not at rest: links due or pending", seen.due + status.get("pending", 0) + (not seen.rested), 0),
        Verdict("links beyond or short of one per customer", abs(sum(status.values()) - links), 0),
        Verdict("waiting", status.get("waiting", 0), 0),
        Verdict("failing", status.get("failing", 0), 0),
        Verdict("other states", sum(status.get(s, 0) for s in ("not_synced", "excluded", "unlinked")), 0),
        Verdict("notices acknowledged, but not stored", seen.unstored, 0),
        Verdict("forged notices taken or stored", seen.forged_taken + seen.forged_stored, 0, f"of {seen.forged}"),
        Verdict("writes after everything was at rest", seen.writes_after_rest, 0),
        Verdict("resources that grew", len(seen.grown), 0, "; ".join(seen.grown)),
    ]


def _conflicts(seen: Observed, found: Collection[int]) -> Verdict:
    """Exactly the customers that the ledgers show in conflict must be told as such."""
    ours = {seen.customers[number].erp for number in found}
    wrong = [f"{key} is told" for key in sorted(set(seen.in_conflict) - ours)]
    wrong += [f"{key} is not told" for key in sorted(ours - set(seen.in_conflict))]
    return Verdict("customers in conflict, told and found apart", len(wrong), 0, ", ".join(wrong[:5]))


def _missing_edits(seen: Observed) -> int:
    """Planned changes and what the ledgers hold of people: the harness must have done what it says."""
    planned = Counter(change.side for change in seen.plan.changes)
    held = {side: sum(row["actor"] == "person" for row in seen.ledgers[side]) for side in SIDES}
    return sum(abs(planned[side] - held[side]) for side in SIDES)


def _missing_faults(seen: Observed) -> Verdict:
    """The same of the faults."""
    missing = Counter(fault.name for fault in seen.plan.faults) - Counter(fault.name for fault in seen.done)
    told = ", ".join(f"{name} {count}" for name, count in missing.items())
    return Verdict("planned faults that did not happen", missing.total(), 0, told)


def _creates(seen: Observed) -> list[Verdict]:
    """Per newcomer: how often we made its partner."""
    made: dict[Side, Counter[str]] = {"erp": Counter(), "crm": Counter()}
    for side, name, row in new_records(seen.ledgers):
        made[side][name] += row["actor"] == "api"
    wanted: dict[Side, set[str]] = {
        side: {c.value for c in seen.plan.changes if c.customer is None and c.side != side} for side in SIDES
    }
    doubled = sum(max(times - (name in wanted[side]), 0) for side in SIDES for name, times in made[side].items())
    missing = sum(not made[side][name] for side in SIDES for name in wanted[side])
    return [Verdict("customers created twice", doubled, 0), Verdict("customers not created", missing, 0)]


def _within(lost: Lost, stalls: Sequence[Stretch]) -> bool:
    return any(begin < lost.at and lost.at - lost.age < end for begin, end in stalls)


def _recovery(seen: Observed, waits: Sequence[float]) -> Verdict:
    begin, end = seen.plan.clean
    promised = any(fault.name == "kill worker" and begin <= fault.at < end for fault in seen.plan.faults)
    told = ", ".join(f"{wait:.1f}" for wait in waits)
    return Verdict(RECOVERY, max(waits, default=None), RECOVER, told, promised)


def _ages(losses: Sequence[Lost]) -> str:
    return ", ".join(f"{lost.story} on {lost.side} after {lost.age:.1f} s" for lost in losses[:5])


def _some(keys: Sequence[StoryKey]) -> str:
    return ", ".join(f"{name} of customer {number}" for number, name in keys[:5])

"""What must be true at rest, told from the vendors' ledgers and from what was done to the processes. Pure.

The ledgers of both vendors are walked in the order in which things happened. Per field of a customer: who edited since
both sides last agreed? Edited on both sides, to different values: exactly that is a conflict. A write of ours over an
edit it could not have read is the window of E22, counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faults.plan import OUTAGES, RECOVER, SIDES, Fault, Plan, Side

WINDOW = 2.0
"""Seconds between a read and a write that no client can close (E22)."""
STALLED = 15.0
"""The same where our process, its database or a vendor stood still meanwhile: a vendor call's total deadline."""
SETTLE = 5.0
"""An outage is over for a process so many seconds after its cause."""

StoryKey = tuple[int, str]
"""A customer's number and a field."""

# field -> column in the ERP's ledger, table and column in the CRM's
COLUMNS = {
    "name": ("name", "Company", "Comp_Name"),
    "website": ("contacts.default.URL1", "Company", "Comp_WebSite"),
    "tax_number": ("taxId", "Company", "comp_vatnumber"),
    "email": ("contacts.default.email1", "Email", "Emai_EmailAddress"),
    "city": ("contacts.default.mailingAddress.city", "Address", "Addr_City"),
}


class Customer(NamedTuple):
    """Keys of one linked customer: in the ERP, in the CRM, and of its e-mail and address there."""

    erp: str
    crm: str
    email: str
    address: str


class Event(NamedTuple):
    """One field's value set by somebody."""

    at: float
    side: Side
    story: StoryKey
    value: Any
    by_us: bool
    answered: bool = True


@dataclass
class Lost:
    """An edit that a write of ours replaced before it had travelled. ``age``: seconds it had stood there."""

    story: StoryKey
    side: Side
    age: float
    at: float


@dataclass
class Story:
    """One field of one customer."""

    values: dict[Side, Any]
    edited: dict[Side, float] = field(default_factory=dict)
    written: Counter[tuple[Side, Any]] = field(default_factory=Counter)
    made: dict[Any, float] = field(default_factory=dict)
    arrived: dict[Any, float] = field(default_factory=dict)
    lost: list[tuple[Side, float, float]] = field(default_factory=list)
    wrote: dict[Side, Event] = field(default_factory=dict)
    after_write: tuple[Event, float] | None = None  # our last write, and when somebody edited over it
    backwards: int = 0
    invented: int = 0

    def happened(self, event: Event) -> None:
        side, value, at = event.side, event.value, event.at
        if event.by_us:
            self._we_wrote(side, value, at)
            self.wrote[side] = event
        else:
            if not self.edited:
                self.after_write = (self.wrote[side], at) if side in self.wrote else None
            self.edited[side] = at
            self.made[value] = at
        self.values[side] = value
        if self.values["erp"] == self.values["crm"]:
            self.edited.clear()

    def _we_wrote(self, side: Side, value: Any, at: float) -> None:
        self.written[side, value] += 1
        self.arrived.setdefault(value, at)
        born, stood = self.made.get(value), self.made.get(self.values[side])
        self.invented += value not in self.made
        if side in self.edited and value != self.values[side]:
            self.lost.append((side, at - self.edited.pop(side), at))
        elif stood is not None and (born or 0.0) < stood and value != self.values[side]:
            self.backwards += 1

    @property
    def apart(self) -> bool:
        return bool(self.values["erp"] != self.values["crm"])

    @property
    def conflict(self) -> bool:
        return self.apart and self.edited.keys() == set(SIDES)

    def unsure(self, ends: Sequence[tuple[float, float]]) -> bool:
        """Edited where a write of ours had just arrived, whose end no worker lived to learn (``ends``: when that was).

        Nobody can tell then whether the edit was made over our value or beside it: it is a conflict for a person.
        """
        if not self.apart or self.conflict or self.after_write is None:
            return False
        write, edited_at = self.after_write
        if edited_at - write.at > RECOVER:
            return False
        return not write.answered or any(begin <= edited_at and write.at <= end for begin, end in ends)


@dataclass
class Observed:
    """What a run left behind. Ledger rows as the emulators give them; times are seconds since 1970.

    ``start``: values before the first edit. ``done``: faults as they happened, ``at`` being when. ``status``: links by
    state, as ``sync-worker status`` says. ``grown``: what did not come back to its baseline, in words.
    """

    plan: Plan
    customers: Sequence[Customer]
    start: Mapping[StoryKey, Any]
    ledgers: Mapping[Side, Sequence[Mapping[str, Any]]]
    done: Sequence[Fault]
    status: Mapping[str, int]
    due: int
    rested: bool
    forged: int = 0
    forged_taken: int = 0
    forged_stored: int = 0
    grown: Sequence[str] = ()
    writes_after_rest: int = 0


@dataclass(frozen=True)
class Verdict:
    """One invariant: what was counted, what is allowed."""

    name: str
    count: float
    allowed: float
    also: str = ""

    @property
    def ok(self) -> bool:
        return self.count <= self.allowed


@dataclass
class Judgement:
    verdicts: list[Verdict]
    facts: dict[str, Any]

    @property
    def ok(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts)


def judge(seen: Observed) -> Judgement:
    """Every invariant with its count."""
    stories = tell(seen)
    stalls = _stalls(seen.done)
    losses = [Lost(key, *lost) for key, story in stories.items() for lost in story.lost]
    windows = [lost for lost in losses if lost.age <= WINDOW]
    stalled = [lost for lost in losses if WINDOW < lost.age <= STALLED and _within(lost, stalls)]
    truly = [lost for lost in losses if lost not in windows and lost not in stalled]
    conflicts = [key for key, story in stories.items() if story.conflict]
    planted = {(c.customer, c.field) for c in seen.plan.changes if c.planted}
    ends = stalls + [(f.at, f.at + SETTLE) for f in seen.done if f.name == "kill worker"]
    unsure = [key for key, story in stories.items() if story.unsure(ends)]
    apart = [key for key, story in stories.items() if story.apart and not story.conflict and key not in unsure]
    twice = sum(times - 1 for story in stories.values() for times in story.written.values())
    created = _creates(seen)
    recoveries = _recoveries(seen, stories)
    in_conflict = len({customer for customer, _ in (*conflicts, *unsure)})
    status = seen.status
    verdicts = [
        Verdict("not at rest: links due or pending", seen.due + status.get("pending", 0) + (not seen.rested), 0),
        Verdict("edits that are in no ledger", _missing_edits(seen), 0),
        Verdict("lost edits", len(truly), 0, _ages(truly)),
        Verdict("customers created twice", created["doubled"], 0),
        Verdict("customers not created", created["missing"], 0),
        Verdict("an older value over a newer one", sum(s.backwards for s in stories.values()), 0),
        Verdict("values that nobody typed", sum(s.invented for s in stories.values()), 0),
        Verdict("writes beyond one per side and change", twice, 0),
        Verdict("fields that differ without a conflict", len(apart), 0, _some(apart)),
        Verdict("customers in conflict, told and found apart", abs(status.get("conflict", 0) - in_conflict), 0),
        Verdict("waiting", status.get("waiting", 0), 0),
        Verdict("failing", status.get("failing", 0), 0),
        Verdict("other states", sum(status.get(s, 0) for s in ("not_synced", "excluded", "unlinked")), 0),
        Verdict("forged notices taken or stored", seen.forged_taken + seen.forged_stored, 0, f"of {seen.forged}"),
        Verdict("writes after everything was at rest", seen.writes_after_rest, 0),
        Verdict("resources that grew", len(seen.grown), 0, "; ".join(seen.grown)),
        Verdict("slowest recovery after a worker kill (s)", max(recoveries, default=0.0), RECOVER),
    ]
    facts = {
        "edits": sum(c.customer is not None for c in seen.plan.changes),
        "creates": sum(c.customer is None for c in seen.plan.changes),
        "conflicts planted": len(planted),
        "conflicts by collision": sum(key not in planted for key in conflicts),
        "conflicts over a write whose end was unknown": len(unsure),
        "planted conflicts at rest": sum(key in planted for key in conflicts),
        "edits in the window of E22": len(windows),
        "edits in that window during a standstill": len(stalled),
        "recoveries measured": len(recoveries),
        "faults": dict(Counter(fault.name for fault in seen.done)),
    }
    return Judgement(verdicts, facts)


def tell(seen: Observed) -> dict[StoryKey, Story]:
    """Every field's story, from the ledgers in the order of time."""
    stories = {key: Story({"erp": value, "crm": value}) for key, value in seen.start.items()}
    for event in sorted(_events(seen), key=lambda event: event.at):
        stories[event.story].happened(event)
    return stories


def _events(seen: Observed) -> Iterable[Event]:
    owner: dict[tuple[Side, str, str], int] = {}
    for number, one in enumerate(seen.customers):
        owner["erp", "customer", one.erp] = number
        owner["crm", "Company", one.crm] = number
        owner["crm", "Email", one.email] = number
        owner["crm", "Address", one.address] = number
    for side in SIDES:
        for row in seen.ledgers[side]:
            number = owner.get((side, row["entity"], row["key"]), -1)
            if number < 0:
                continue
            by_us = row["actor"] == "api"
            for name, (erp_column, table, crm_column) in COLUMNS.items():
                column = erp_column if side == "erp" else crm_column
                if column in row["after"] and (side == "erp" or row["entity"] == table):
                    yield Event(row["at"], side, (number, name), row["after"][column], by_us, row["answered"])


def _missing_edits(seen: Observed) -> int:
    """Planned changes and what the ledgers hold of people: the harness must have done what it says."""
    planned = Counter(change.side for change in seen.plan.changes)
    held = {side: sum(row["actor"] == "person" for row in seen.ledgers[side]) for side in SIDES}
    return sum(abs(planned[side] - held[side]) for side in SIDES)


def _creates(seen: Observed) -> dict[str, int]:
    """Per newcomer: how often we made its partner."""
    column = {"erp": ("customer", "name"), "crm": ("Company", "Comp_Name")}
    made: dict[Side, Counter[str]] = {"erp": Counter(), "crm": Counter()}
    for side in SIDES:
        entity, name = column[side]
        for row in seen.ledgers[side]:
            if row["op"] == "create" and row["entity"] == entity and row["actor"] == "api":
                made[side][row["after"].get(name)] += 1
    wanted: dict[Side, set[str]] = {
        side: {c.value for c in seen.plan.changes if c.customer is None and c.side != side} for side in SIDES
    }
    doubled = sum(times - (name in wanted[side]) for side in SIDES for name, times in made[side].items())
    return {"doubled": doubled, "missing": sum(name not in made[side] for side in SIDES for name in wanted[side])}


def _stalls(done: Sequence[Fault]) -> list[tuple[float, float]]:
    return [(f.at - 1.0, f.at + f.seconds + SETTLE) for f in done if f.name in OUTAGES]


def _within(lost: Lost, stalls: Sequence[tuple[float, float]]) -> bool:
    return any(begin < lost.at and lost.at - lost.age < end for begin, end in stalls)


def _recoveries(seen: Observed, stories: Mapping[StoryKey, Story]) -> list[float]:
    """Seconds from each worker kill, with no outage near it, until the last edit that stood open then had travelled.

    An edit that another one of the same field followed before it travelled is that one's matter.
    """
    stalls = _stalls(seen.done)
    found = []
    for kill in seen.done:
        near = any(begin < kill.at + RECOVER and kill.at < end for begin, end in stalls)
        if kill.name != "kill worker" or near:
            continue
        waits = [
            story.arrived[value] - kill.at
            for story in stories.values()
            for value, made in story.made.items()
            if made <= kill.at < story.arrived.get(value, 0.0)
        ]
        found.append(max(waits, default=0.0))
    return found


def _ages(losses: Sequence[Lost]) -> str:
    return ", ".join(f"{lost.story} on {lost.side} after {lost.age:.1f} s" for lost in losses[:5])


def _some(keys: Sequence[StoryKey]) -> str:
    return ", ".join(f"{name} of customer {number}" for number, name in keys[:5])

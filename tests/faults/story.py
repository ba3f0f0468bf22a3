"""Every judged field's story, told from the vendors' ledgers in the order in which things happened. Pure.

Per field of a customer: who edited since both sides last agreed? Edited on both sides, to different values: just that
is a conflict. A write of ours over an edit it could not have read is the window of E22.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faults.plan import RECOVER, SIDES, Side
from support.judged import COLUMNS

Stretch = tuple[float, float]
"""From when to when something stood still: seconds since 1970."""

StoryKey = tuple[int, str]
"""A customer's number and a field."""

Place = tuple[Side, str, str]
"""A record as ledgers and call logs name it: side, entity, key."""

NEW: Mapping[Side, tuple[str, str]] = {"erp": ("customer", "name"), "crm": ("Company", "Comp_Name")}
"""Entity and column that tell a new record."""


class Customer(NamedTuple):
    """Keys of one linked customer: in the ERP, in the CRM, and of its e-mail and address there."""

    erp: str
    crm: str
    email: str
    address: str

    @property
    def places(self) -> list[Place]:
        """Where its judged fields stand."""
        return [
            ("erp", "customer", self.erp),
            ("crm", "Company", self.crm),
            ("crm", "Email", self.email),
            ("crm", "Address", self.address),
        ]


class Event(NamedTuple):
    """One field's value set by somebody."""

    at: float
    side: Side
    story: StoryKey
    value: Any
    by_us: bool
    answered: bool = True


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
    def repeated(self) -> int:
        """Writes of a value that we had written to that side before."""
        return sum(times - 1 for times in self.written.values())

    @property
    def apart(self) -> bool:
        return bool(self.values["erp"] != self.values["crm"])

    @property
    def conflict(self) -> bool:
        return self.apart and self.edited.keys() == set(SIDES)

    def unsure(self, deaths: Sequence[Stretch], stalls: Sequence[Stretch]) -> bool:
        """Edited where a write of ours had just arrived, whose end no worker lived to learn (``deaths``: then).

        Nobody can tell then whether the edit was made over our value or beside it: it is a conflict for a person. So it
        is until somebody could look again: ``RECOVER`` seconds, not counting ``stalls``.
        """
        if not self.apart or self.conflict or self.after_write is None:
            return False
        write, edited_at = self.after_write
        if undisturbed(write.at, edited_at, stalls) > RECOVER:
            return False
        return not write.answered or any(begin <= edited_at and write.at <= end for begin, end in deaths)

    def fates(self) -> Counter[str]:
        """What became of every edit: each is counted once. One without an end among these is "nowhere"."""
        found: Counter[str] = Counter()
        newest = max(self.made.values(), default=0.0)
        for value, at in self.made.items():
            if value in self.arrived:
                found["travelled"] += 1
            elif self.apart and value in self.values.values():
                found["in conflict"] += 1
            elif at < newest:
                found["replaced by a later edit"] += 1
            elif self.lost:
                found["lost or in the window of E22"] += 1
            else:
                found["nowhere"] += 1
        return found


def undisturbed(begin: float, end: float, stalls: Sequence[Stretch]) -> float:
    """Seconds between two moments in which nothing stood still."""
    seconds, at = 0.0, begin
    for first, last in sorted(stalls):
        if last <= at or first >= end:
            continue
        seconds += max(0.0, first - at)
        at = last
    return seconds + max(0.0, end - at)


def tell(
    customers: Sequence[Customer], start: Mapping[StoryKey, Any], ledgers: Mapping[Side, Sequence[Mapping[str, Any]]]
) -> dict[StoryKey, Story]:
    """The stories of all fields. ``start``: values before the first edit."""
    stories = {key: Story({"erp": value, "crm": value}) for key, value in start.items()}
    for event in sorted(_events(customers, ledgers), key=lambda event: event.at):
        stories[event.story].happened(event)
    return stories


def new_records(
    ledgers: Mapping[Side, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[Side, str, Mapping[str, Any]]]:
    """Every customer that was made, by whomever: its side, its name, its row in the ledger."""
    for side in SIDES:
        entity, column = NEW[side]
        for row in ledgers[side]:
            if row["op"] == "create" and row["entity"] == entity:
                yield side, row["after"].get(column), row


def _events(customers: Sequence[Customer], ledgers: Mapping[Side, Sequence[Mapping[str, Any]]]) -> Iterable[Event]:
    owner = {place: number for number, one in enumerate(customers) for place in one.places}
    for side in SIDES:
        for row in ledgers[side]:
            number = owner.get((side, row["entity"], row["key"]), -1)
            if number < 0:
                continue
            by_us = row["actor"] == "api"
            for name, (erp_column, table, crm_column) in COLUMNS.items():
                column = erp_column if side == "erp" else crm_column
                if column in row["after"] and (side == "erp" or row["entity"] == table):
                    yield Event(row["at"], side, (number, name), row["after"][column], by_us, row["answered"])

"""What happens when: a seeded schedule of edits, creates, planted conflicts and faults. Pure; times in seconds from go.

Every edit writes a value nobody ever had before, so the ledgers tell whose value stands where.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from support.judged import COLUMNS

Side = Literal["erp", "crm"]
SIDES: tuple[Side, Side] = ("erp", "crm")
FIELDS = tuple(COLUMNS)

FaultName = Literal[
    "kill worker", "kill web", "kill scheduler", "kill queue", "queue outage", "stop queue", "stop worker",
    "halt worker", "end creating", "lost create", "flush", "queue memory", "database", "blackout erp", "blackout crm",
    "busy crm", "vendor errors", "token expiry", "cut vendors", "slow vendors",
]  # fmt: skip
STANDSTILLS: frozenset[FaultName] = frozenset({
    "kill queue", "queue outage", "stop queue", "stop worker", "halt worker", "end creating", "queue memory",
    "database", "blackout erp", "blackout crm", "busy crm",
})  # fmt: skip
SAME_SIDE_SECONDS = 150.0
"""A field edited on one side is not edited on the other so soon, unless a collision is wanted: outages last long."""
COLLISIONS = 0.02
HOT_FIELD = "website"
HOT_SECONDS = 2.5
ONCE_SECONDS = 1.5
LEASE = 30.0
RECOVER = 32.0


@dataclass(frozen=True, slots=True)
class Change:
    """A person's edit (``customer``: its number) or a new record (``customer`` None, ``value``: its name)."""

    at: float
    side: Side
    value: str
    customer: int | None = None
    field: str = "name"
    planted: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """``target``: which of several (worker 0 or 1). ``seconds``: how long; 0 for what happens at once."""

    at: float
    name: FaultName
    seconds: float = 0.0
    target: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is played. ``rate``: changes a second."""

    customers: int
    edits: int
    creates: int
    conflicts: int
    rate: float
    drain: float
    warm: float = 30.0  # seconds for every process to have worked, before its resources are counted
    unanswered: float = 0.02  # share of writes that a vendor applies without saying so
    latency_ms: float = 0.0  # of every vendor call
    hot: int = 0  # customers whose ``HOT_FIELD`` is edited in the ERP every ``HOT_SECONDS``, and nobody else's
    once: tuple[int, float] = (0, 0.0)  # customers that are edited once only, in the ERP, from this second on
    bursts: tuple[float, ...] = ()  # when new records are made, if not at any time
    feeds: bool = True  # polled and swept, and some notices are lost
    calm: bool = False  # nothing is hurt: single edits in the ERP, announced as they are made, and nothing by the CRM

    @property
    def seconds(self) -> float:
        return (self.edits + self.creates) / self.rate


FULL = Size(customers=2000, edits=20_000, creates=2000, conflicts=200, rate=80.0, drain=240.0)
SHORT = Size(customers=200, edits=1150, creates=100, conflicts=20, rate=42.0, drain=75.0)
CONTROL = Size(
    customers=130, edits=480, creates=48, conflicts=20, rate=13.2, drain=35.0, warm=12.0, unanswered=0.10,
    latency_ms=100.0, hot=12, once=(20, 6.5), bursts=(14.0, 18.0, 24.0), feeds=False,
)  # fmt: skip
"""For negative controls: enough of what each does wrong, calls so slow that a kill always meets one under way, and no
feed that finds again what was forgotten."""
CALM = Size(
    customers=50, edits=8, creates=0, conflicts=0, rate=1.0, drain=12.0, warm=12.0, feeds=False, calm=True,
)  # fmt: skip
"""For the control that is about one ring: with nobody else to ring, each edit travels by its own ring or not at all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Both lists in order of time. ``clean``: from when to when nothing but processes is hurt."""

    seed: int
    size: Size
    changes: tuple[Change, ...]
    faults: tuple[Fault, ...] = field(default=())
    clean: tuple[float, float] = (0.0, 0.0)


# --- what people do --------------------------------------------------------------------------------------------------


def changes(rng: random.Random, size: Size) -> Iterator[Change]:
    """Edits, planted conflicts and new records, in any order."""
    numbers = count(1)
    if size.calm:
        for customer in range(size.edits):
            yield Change(customer / size.rate, "erp", value_of("name", next(numbers)), customer)
        return
    (once, once_at) = size.once
    fields = [(customer, name) for customer in range(size.hot + once, size.customers) for name in FIELDS]
    if size.hot:
        fields = [one for one in fields if one[1] != HOT_FIELD]
    planted = rng.sample(fields, size.conflicts)
    ordinary = sorted(set(fields) - set(planted))
    for customer, name in planted:
        at = rng.uniform(0, size.seconds)
        for side in SIDES:
            yield Change(at, side, value_of(name, next(numbers)), customer, name, planted=True)
    last: dict[tuple[int, str], tuple[float, Side]] = {}
    for at in sorted(rng.uniform(0, size.seconds) for _ in range(size.edits - 2 * size.conflicts)):
        one = rng.choice(ordinary)
        side: Side = rng.choice(SIDES)
        before = last.get(one)
        if before is not None and at - before[0] < SAME_SIDE_SECONDS and rng.random() > COLLISIONS:
            side = before[1]
        last[one] = (at, side)
        yield Change(at, side, value_of(one[1], next(numbers)), *one)
    for turn in range(int(size.seconds / HOT_SECONDS) * bool(size.hot)):
        for customer in range(size.hot):
            yield Change(turn * HOT_SECONDS, "erp", value_of(HOT_FIELD, next(numbers)), customer, HOT_FIELD)
    for customer in range(size.hot, size.hot + once):
        yield Change(once_at + ONCE_SECONDS * rng.random(), "erp", value_of("name", next(numbers)), customer)
    for turn in range(size.creates):
        at = size.bursts[turn % len(size.bursts)] if size.bursts else rng.uniform(0, size.seconds)
        yield Change(at, rng.choice(SIDES), f"Newcomer {next(numbers):06d}")


def value_of(name: str, number: int) -> str:
    """A value nobody had before, in the form the field takes."""
    forms = {
        "name": "Trading {n:06d} Ltd",
        "website": "http://n{n:06d}.test",
        "tax_number": "GB{n:09d}",
        "email": "e{n:06d}@edit.test",
        "city": "Town {n:06d}",
    }
    return forms[name].format(n=number)

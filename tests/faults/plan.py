"""What happens when: a seeded schedule of edits, creates, planted conflicts and faults. Pure; times in seconds from go.

Every edit writes a value nobody ever had before, so the ledgers tell whose value stands where.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

Side = Literal["erp", "crm"]
SIDES: tuple[Side, Side] = ("erp", "crm")
FIELDS = ("name", "website", "tax_number", "email", "city")

FaultName = Literal[
    "kill worker", "kill web", "kill scheduler", "kill queue", "queue outage", "stop queue", "stop worker", "flush",
    "queue memory", "database", "blackout erp", "blackout crm", "vendor errors", "token expiry", "cut vendors",
    "slow vendors",
]  # fmt: skip
OUTAGES: frozenset[FaultName] = frozenset({
    "kill queue", "queue outage", "stop queue", "stop worker", "queue memory", "database", "blackout erp",
    "blackout crm", "vendor errors",
})  # fmt: skip
"""Faults beside which the time a killed worker's work takes says nothing."""

SAME_SIDE_SECONDS = 150.0
"""A field edited on one side is not edited on the other so soon, unless a collision is wanted: outages last long."""
COLLISIONS = 0.02
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
    unanswered: float = 0.02  # share of writes that a vendor applies without saying so
    latency_ms: float = 0.0  # of every vendor call

    @property
    def seconds(self) -> float:
        return (self.edits + self.creates) / self.rate


FULL = Size(customers=2000, edits=20_000, creates=2000, conflicts=200, rate=80.0, drain=240.0)
SHORT = Size(customers=200, edits=1150, creates=100, conflicts=20, rate=50.0, drain=75.0)
CONTROL = replace(SHORT, customers=80, edits=900, creates=350, unanswered=0.10, latency_ms=100.0)
"""For negative controls: more of what they do wrong, and calls so slow that a stopped worker is always in a pass."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Both lists in order of time. ``clean``: from when to when nothing but processes is hurt."""

    seed: int
    size: Size
    changes: tuple[Change, ...]
    faults: tuple[Fault, ...] = field(default=())
    clean: tuple[float, float] = (0.0, 0.0)


def make(seed: int, size: Size, *, postgres: bool = False) -> Plan:
    """The plan of a seed. ``postgres``: the database is killed three times instead of locked six times."""
    rng = random.Random(seed)
    changes = tuple(sorted(_changes(rng, size), key=lambda change: change.at))
    schedule = _full if size.seconds > 120 else _short
    planned, clean = schedule(rng, size.seconds)
    planned = [_spare_stopped(fault, planned) for fault in planned]
    if postgres:
        locks = [fault for fault in planned if fault.name == "database"]
        planned = [fault for fault in planned if fault not in locks[1::2]]
    return Plan(seed, size, changes, tuple(sorted(planned, key=lambda fault: fault.at)), clean)


def _spare_stopped(fault: Fault, planned: list[Fault]) -> Fault:
    """A worker that is stopped must live to go on: kills meanwhile are the other one's."""
    stops = [one for one in planned if one.name == "stop worker" and one.at - 1 <= fault.at <= one.at + one.seconds + 1]
    if fault.name == "kill worker" and any(one.target == fault.target for one in stops):
        return replace(fault, target=1 - fault.target)
    return fault


# --- what people do --------------------------------------------------------------------------------------------------


def _changes(rng: random.Random, size: Size) -> Iterator[Change]:
    numbers = count(1)
    fields = [(customer, name) for customer in range(size.customers) for name in FIELDS]
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
    for _ in range(size.creates):
        yield Change(rng.uniform(0, size.seconds), rng.choice(SIDES), f"Newcomer {next(numbers):06d}")


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


# --- what goes wrong -------------------------------------------------------------------------------------------------


def _full(rng: random.Random, seconds: float) -> tuple[list[Fault], tuple[float, float]]:
    """275 s: worker kills alone first, then outages that overlap, then many short ones."""
    clean = 86.0
    workers = [*_spread(rng, 3, 53, 10), *_spread(rng, clean, seconds, 30)]
    faults = [Fault(at, "kill worker", target=i % 2) for i, at in enumerate(workers)]
    faults += [Fault(at, "kill web") for at in _spread(rng, clean, seconds, 10)]
    faults += [Fault(at, "kill scheduler") for at in _spread(rng, clean, seconds, 5)]
    faults += [Fault(at, "token expiry") for at in _every(30, seconds)]
    faults += [Fault(at, "cut vendors") for at in _spread(rng, clean, seconds, 8)]
    faults.append(Fault(clean, "vendor errors", seconds - clean))
    faults.append(Fault(clean + 1, "queue outage", 45))
    faults.append(Fault(100, "blackout erp", 30))
    faults.append(Fault(134, "queue memory", 60))
    faults.append(Fault(150, "blackout crm", 30))
    faults.append(Fault(183, "slow vendors", 10))
    faults += [Fault(at, "kill queue") for at in _spread(rng, 132, 194, 2)]
    for turn in range(6):
        begin = 196 + 13 * turn
        faults.append(Fault(begin, "stop queue", 7))
        faults.append(Fault(begin + 8 + rng.uniform(0, 2), "kill queue"))
        faults.append(Fault(begin + 3, "database", 5))
    faults += [Fault(207 + rng.uniform(0, 8), "flush"), Fault(255 + rng.uniform(0, 10), "flush")]
    faults += [Fault(200, "stop worker", 7, 0), Fault(222, "stop worker", 7, 1), Fault(236, "stop worker", 36, 0)]
    return faults, (0.0, clean)


def _short(rng: random.Random, seconds: float) -> tuple[list[Fault], tuple[float, float]]:
    """25 s of the same kinds, each once or twice."""
    workers = _spread(rng, 2, 18, 5)
    faults = [Fault(at, "kill worker", target=i % 2) for i, at in enumerate(workers)]
    faults += [
        Fault(rng.uniform(6, 12), "kill web"),
        Fault(rng.uniform(5, 20), "kill scheduler"),
        Fault(2, "vendor errors", seconds - 2),
        Fault(3, "stop worker", 33, 1),
        Fault(5, "queue outage", 4),
        Fault(7, "token expiry"),
        Fault(10, "database", 2),
        Fault(10.5, "kill queue"),
        Fault(12, "stop queue", 3),
        Fault(15.5, "flush"),
        Fault(16, "queue memory", 4),
        Fault(16.5, "cut vendors"),
        Fault(18, "blackout erp", 3),
        Fault(20, "blackout crm", 3),
        Fault(22, "slow vendors", 2),
    ]
    return faults, (0.0, 0.0)


def _spread(rng: random.Random, begin: float, end: float, number: int) -> list[float]:
    """So many moments, one in each of as many equal stretches."""
    width = (end - begin) / number
    return [begin + width * (i + rng.random()) for i in range(number)]


def _every(step: float, end: float) -> list[float]:
    return [step * i for i in range(1, int(end // step) + 1)]

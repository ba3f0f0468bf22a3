"""The plan of a seed: what people do, and when what is hurt, by the size of the run. Seconds from go. Pure."""

from __future__ import annotations

import random
from dataclasses import replace

from faults.plan import CALM, CONTROL, SHORT, Fault, Plan, Size, changes

Schedule = tuple[list[Fault], tuple[float, float]]
"""Faults, and from when to when nothing stands still but killed workers."""

KILL_SECONDS, KILL_JITTER = 8.5, 0.6
"""Between two worker kills where recoveries are measured: no two lie as far apart as a lease lasts (30 s), so that none
meets what another one's lease has set free that very moment, and nobody could tell whose it is."""


def make(seed: int, size: Size, *, postgres: bool = False) -> Plan:
    """The plan of a seed. ``postgres``: the database is killed three times instead of locked six times."""
    rng = random.Random(seed)
    edits = tuple(sorted(changes(rng, size), key=lambda change: change.at))
    planned, clean = {SHORT: _short, CONTROL: _control, CALM: _calm}.get(size, _full)(rng, size.seconds)
    planned = [_spare_stopped(fault, planned) for fault in planned]
    if postgres:
        locks = [fault for fault in planned if fault.name == "database"]
        planned = [fault for fault in planned if fault not in locks[1::2]]
    return Plan(seed, size, edits, tuple(sorted(planned, key=lambda fault: fault.at)), clean)


def _spare_stopped(fault: Fault, planned: list[Fault]) -> Fault:
    """A worker that is stopped must live to go on: kills meanwhile are the other one's."""
    stops = [
        one
        for one in planned
        if one.name in ("stop worker", "halt worker") and one.at - 1 <= fault.at <= one.at + one.seconds + 1
    ]
    if fault.name == "kill worker" and any(one.target == fault.target for one in stops):
        return replace(fault, target=1 - fault.target)
    return fault


def _full(rng: random.Random, seconds: float) -> Schedule:
    """275 s: first no outages, only kills; then outages that overlap, then many short ones."""
    clean = 86.0
    workers = [2 + KILL_SECONDS * i + rng.uniform(0, KILL_JITTER) for i in range(10)]
    workers += _spread(rng, clean, seconds, 30)
    faults = [Fault(at, "kill worker", target=i % 2) for i, at in enumerate(workers)]
    faults += [Fault(at, "kill web") for at in _spread(rng, 0, seconds, 10)]
    faults += [Fault(at, "kill scheduler") for at in _spread(rng, clean, seconds, 5)]
    faults += [Fault(at, "token expiry") for at in _every(30, seconds)]
    faults += [Fault(at, "cut vendors") for at in _spread(rng, clean, seconds, 8)]
    faults.append(Fault(0, "vendor errors", seconds))
    faults.append(Fault(clean + 1, "queue outage", 45))
    faults.append(Fault(100, "blackout erp", 30))
    faults.append(Fault(134, "queue memory", 60))
    faults.append(Fault(150, "blackout crm", 30))
    faults.append(Fault(183, "slow vendors", 10))
    faults += [Fault(at, "kill queue") for at in (rng.uniform(132, 162), rng.uniform(164, 194))]
    for turn in range(6):
        begin = 196 + 13 * turn
        faults.append(Fault(begin, "stop queue", 7))
        faults.append(Fault(begin + 8 + rng.uniform(0, 2), "kill queue"))
        faults.append(Fault(begin + 3, "database", 5))
        if turn in (0, 4):
            faults.append(Fault(begin + 11 + rng.uniform(0, 1.5), "flush"))  # the server is there, and holds work
    faults += [Fault(200, "stop worker", 7, 0), Fault(222, "stop worker", 7, 1), Fault(236, "stop worker", 36, 0)]
    return faults, (0.0, clean)


def _short(rng: random.Random, seconds: float) -> Schedule:
    """30 s: the same kinds, each once or twice; then one kill by itself."""
    clean = 28.8
    workers = _spread(rng, 2, 18, 4)
    faults = [Fault(at, "kill worker", target=i % 2) for i, at in enumerate(workers)]
    faults += [
        Fault(rng.uniform(6, 12), "kill web"),
        Fault(rng.uniform(5, 20), "kill scheduler"),
        Fault(0.5, "stop worker", 23, 1),
        Fault(0, "vendor errors", seconds),
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
        Fault(clean - 0.5, "slow vendors", 2),
        Fault(clean + 0.4, "kill worker", target=rng.randrange(2)),
    ]
    return faults, (clean, seconds)


def _control(_rng: random.Random, seconds: float) -> Schedule:
    """40 s: what every negative control gets wrong at least once, whatever the seed.

    Worker 1 halts in the middle of a pass for longer than its lease, and its records go on being edited; worker 0 is
    stopped meanwhile, or it might do all of that work before anything halts. Worker 0 is killed, and the queue wiped,
    while passes that failed wait to be tried again; then it ends right after it created, twice; then creates are left
    unanswered.
    """
    return [
        Fault(1, "halt worker", seconds - 1, 1),
        Fault(2, "stop worker", 2.5, 0),
        Fault(6, "busy crm", 4.5),
        Fault(9, "kill worker", target=0),
        Fault(9.1, "flush"),
        Fault(11, "vendor errors", 18),
        Fault(14, "end creating", 12, 0),
        Fault(24, "lost create"),
        Fault(26.5, "end creating", 8, 0),
        Fault(27, "flush"),
    ], (0.0, 0.0)


def _calm(_rng: random.Random, _seconds: float) -> Schedule:
    """Nothing is hurt."""
    return [], (0.0, 0.0)


def _spread(rng: random.Random, begin: float, end: float, number: int) -> list[float]:
    """So many moments, one in each of as many equal stretches."""
    width = (end - begin) / number
    return [begin + width * (i + rng.random()) for i in range(number)]


def _every(step: float, end: float) -> list[float]:
    return [step * i for i in range(1, int(end // step) + 1)]

"""How soon what a killed worker held was taken up again, told from the vendors' ledgers and call logs. Pure.

A vendor's failures are no part of it: a call for a record shows that somebody is at it again, whether it is answered or
not, and how long that vendor goes on failing is not the dead worker's doing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from faults.plan import RECOVER, SIDES, STANDSTILLS, Fault, Side
from faults.story import Customer, Place, Story, StoryKey, Stretch, new_records

SETTLE = 5.0
"""An outage is over for a process so many seconds after its cause."""
IN_FLIGHT = 1.0
"""What a killed worker has sent may reach the vendor so many seconds later; a call within them shows nobody alive."""
PAGE = 100
"""Records that a sweep of the CRM names at a time. Its last page may be shorter, and holds none of the customers that
are edited: records made since come after them."""
NEVER = float("inf")


class Call(NamedTuple):
    """One vendor call that named a record. ``by_worker``: nobody but a worker makes such a call."""

    at: float
    by_worker: bool


class Open(NamedTuple):
    """One change that stood open for a while: made by a person, then carried over, with the calls for its record."""

    made: float
    arrived: float
    calls: Sequence[Call]

    def stands_at(self, moment: float) -> bool:
        return self.made <= moment < self.arrived

    def is_begun_at(self, moment: float) -> bool:
        """Whether somebody was at it: it stands open, and a call has named its record since it was made."""
        return self.stands_at(moment) and any(self.made < call.at <= moment for call in self.calls)

    def taken_up_after(self, kill: float) -> float:
        """When somebody was at it again: a worker's call for its record, or its arrival."""
        again = (call.at for call in self.calls if call.by_worker and call.at > kill + IN_FLIGHT)
        return min(self.arrived, next(again, NEVER))


def waits(done: Sequence[Fault], changes: Sequence[Open], *, begun: bool) -> list[float]:
    """Seconds from each worker kill beside which nothing stood still until all was taken up that stood open then.

    ``begun``: only that which somebody was at. A kill that met nothing counts for none.
    """
    outages = stalls(done)
    found = []
    for kill in sorted(fault.at for fault in done if fault.name == "kill worker"):
        if any(begin < kill + RECOVER and kill < end for begin, end in outages):
            continue
        met = [one for one in changes if (one.is_begun_at(kill) if begun else one.stands_at(kill))]
        if met:
            found.append(max(one.taken_up_after(kill) for one in met) - kill)
    return found


def stalls(done: Sequence[Fault]) -> list[Stretch]:
    """When a process, the database, the queue or a vendor stood still, and a moment before and after."""
    return [(fault.at - 1.0, fault.at + fault.seconds + SETTLE) for fault in done if fault.name in STANDSTILLS]


def calls_of(logs: Mapping[Side, Iterable[Sequence[Any]]]) -> Mapping[Place, list[Call]]:
    """The calls that named each record, from the vendors' call logs.

    A sweep reads the CRM's records by their keys, too, a whole page at a time; those of the ERP only a worker does, and
    only workers write. A call that failed counts as a worker's: it may have kept one from going on.
    """
    named: dict[Place, list[Call]] = defaultdict(list)
    for side in SIDES:
        for at, operation, _count, fault, records in logs[side]:
            maybe_swept = side == "crm" and operation.startswith("query") and len(records) >= PAGE
            by_worker = fault is not None or not maybe_swept
            for entity, key in records:
                named[side, entity, key].append(Call(at, by_worker))
    return named


def edits(
    stories: Mapping[StoryKey, Story], customers: Sequence[Customer], named: Mapping[Place, Sequence[Call]]
) -> list[Open]:
    """Every edit that travelled; one that another of its field followed before it did is that one's."""
    of_customer = [sorted(call for place in one.places for call in named.get(place, ())) for one in customers]
    return [
        Open(made, story.arrived[value], of_customer[number])
        for (number, _), story in stories.items()
        for value, made in story.made.items()
        if value in story.arrived
    ]


def newcomers(ledgers: Mapping[Side, Sequence[Mapping[str, Any]]], named: Mapping[Place, Sequence[Call]]) -> list[Open]:
    """Every new record whose partner was made; any call for it has taken it up: who makes a partner finds it first."""
    partners = {(side, name): row["at"] for side, name, row in new_records(ledgers) if row["actor"] == "api"}
    found = []
    for side, name, row in new_records(ledgers):
        arrived = partners.get(("crm" if side == "erp" else "erp", name))
        if row["actor"] == "person" and arrived is not None:
            calls = [call._replace(by_worker=True) for call in named.get((side, row["entity"], row["key"]), ())]
            found.append(Open(row["at"], arrived, calls))
    return found

"""A link's state, cause and due time, from what is open on it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mappings.memory import Memory
from mappings.merge import Open
from sync_worker.engine.rule import LeftOut
from sync_worker.errors import TooLong
from sync_worker.events import SIDES
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save

STATE_OF = {"refused": "failing", "conflict": "conflict", "waiting": "waiting", "stale": "pending"}
WORST_FIRST = ("refused", "conflict", "waiting", "stale")
HELD = "sub_company_unmapped"  # the one cause by which a whole record waits outside its flow (LAY-15)
BACKOFF_BASE = 1.0
CREATE_MAX = 16.0
BACKOFF_MAX = 300.0


def leave_out(row: LinkRow, why: LeftOut) -> None:
    """A record that takes no part comes to rest; its pasts stay, so that it can catch up."""
    params = dict(why.params)
    row.opens = {}
    if why.state == "waiting":
        row.opens[""] = Open("waiting", why.cause, params, why.waiting_on)
        params = {**params, "waiting_on": why.waiting_on}
    row.state, row.cause, row.cause_params = why.state, why.cause, params
    row.attempts, row.due_at = 0, None


def was_left_out(row: LinkRow) -> bool:
    """Did the last pass end because the record takes no part?"""
    return row.state == "excluded" or (row.state == "waiting" and row.cause == HELD)


def take_in(row: LinkRow) -> None:
    """It takes part (again): what held the whole record is over."""
    if "" in row.opens and row.opens[""].cause == HELD:
        row.opens = {name: one for name, one in row.opens.items() if name}


def dead_end(row: LinkRow, reason: str, code: str) -> Save:
    """Nothing more happens until somebody changes something or retries.

    What is too long is told once: it is not kept, so that every sweep finds it changed and has it looked at again.
    """
    before = row.state, row.cause, (row.cause_params or {}).get("reason")
    row.state, row.cause, row.cause_params = "failing", code, {"reason": reason}
    row.attempts, row.due_at, row.klass = 0, None, "bulk"
    told = code == TooLong.code and before == (row.state, code, reason)
    return Save(row, journal=[] if told else [{"what": "dead_end", "why": reason}])


def worst(opens: Mapping[str, Open]) -> tuple[str, str, dict[str, Any]] | None:
    """State, cause and parameters of the worst open field, as ordered above; None = all at rest."""
    for why in WORST_FIRST:
        names = sorted(name for name, o in opens.items() if o.why == why)
        if names:
            first = opens[names[0]]
            params: dict[str, Any] = {"fields": names, **first.params}
            if first.waiting_on:
                params["waiting_on"] = first.waiting_on
            return STATE_OF[why], first.cause, params
    return None


def settle_state(row: LinkRow, memory: Memory, unfinished: set[str]) -> None:
    """Set state and cause of a linked row at the end of a pass."""
    found = worst(row.opens)
    if found is not None:
        row.state, row.cause, row.cause_params = found
    elif unfinished:
        row.state, row.cause, row.cause_params = "pending", "retrying", {"fields": sorted(unfinished)}
    elif memory.apart:
        row.state, row.cause = "in_sync", "differs"
        row.cause_params = {"fields": dict(sorted(memory.apart.items()))}
    else:
        row.state, row.cause, row.cause_params = "in_sync", "", None


def next_due(row: LinkRow, retry_at: float | None = None) -> float | None:
    """The earliest reason to come back: a retry, a stale window that ends, a trailing look."""
    times = [retry_at, *(row.look_at(side) for side in SIDES), *(o.until for o in row.opens.values())]
    return min((t for t in times if t is not None), default=None)


def due_next(row: LinkRow, now: float) -> None:
    """The next pass follows at once. Bulk work stays bulk: live edits go before it."""
    row.due_at = now
    row.klass = "bulk" if row.klass == "bulk" else "live"


def look_time(read_at: float, stale_seconds: float) -> float | None:
    """When to look once more (E7): the end of the stale window, rounded up so that looks fall due together."""
    if stale_seconds <= 0:
        return None
    step = max(stale_seconds / 8, 0.05)
    return math.ceil((read_at + stale_seconds) / step) * step


def until_created(attempts: int) -> float:
    """Seconds until a record is looked at again that waits for another's create; most are absorbed by it meanwhile."""
    return min(CREATE_MAX, 2.0 ** min(attempts, 12))


def backoff(attempts: int, jitter: float, after: float | None = None) -> float:
    """Seconds to wait before try ``attempts + 1``; ``jitter`` in [0, 1). A vendor's own wait is never shortened."""
    ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(attempts, 12))
    return max(after or 0.0, ceiling * (0.5 + jitter / 2))

"""What is remembered of a write before it is sent, and what is told of one that was found applied (E11, ADR 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings.fields import FieldMap
from mappings.merge import Plan
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.events import Side, other


def note(p: Pass, flow: Flow, plan: Plan, now: float) -> bool:
    """Remember what is about to be written, so that a crash before the save is understood; False: nothing to write."""
    any_write = False
    for step in plan.steps:
        for side, value in step.writes.items():
            held, stamp = p.now[side].get(step.name), _stamp(p, flow, side, step.name)
            p.memory.note_try(side, step.name, value, step.past.get(other(side)), now, held=held, stamp=stamp)
            any_write = True
    return any_write


def _stamp(p: Pass, flow: Flow, side: Side, name: str) -> list[str] | None:
    """What the row of a field says of when it was last changed; None where an older version of it was read (E7)."""
    fmap, stamps = flow.maps[side], p.records[side].stamps
    row = fmap.stamped_row(name, stamps)
    if any(fmap.stamped_row(stale, stamps) == row for stale in p.stale.keys() - p.now[side].keys()):
        return None
    return fmap.stamp_of(name, stamps)


def moved(p: Pass, fmap: FieldMap, side: Side, names: Iterable[str]) -> None:
    """These fields were written: what was said of their rows, and of the main one, tells of nobody else any more."""
    stamps = p.records[side].stamps
    rows = {fmap.main, *(fmap.stamped_row(name, stamps) for name in names)}
    p.memory.stamps[side] = {n: stamp for n, stamp in p.memory.stamps.get(side, {}).items() if stamp[0] not in rows}


def landed(p: Pass, now: float) -> list[dict[str, Any]]:
    """One entry per side for writes of an earlier pass that ended before it could say so: they were applied."""
    return [
        {
            "what": "update",
            "side": side,
            "key": p.row.key(side),
            "before": dict(held),
            "after": {name: p.was[side].get(name) for name in held},
            "why": "written by a pass that was interrupted",
            "at": now,
        }
        for side, held in p.landed.items()
    ]

"""What is remembered of a write before it is sent, and what is told of one that was found applied (E11, ADR 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings.belief import Look, changed_fields, stood
from mappings.fields import FieldMap
from mappings.merge import Plan
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.events import SIDES, Side, other


def note(p: Pass, flow: Flow, plan: Plan, now: float) -> bool:
    """Remember what is about to be written, so that a crash before the save is understood; False: nothing to write."""
    any_write = False
    for side in SIDES:
        steps = {step.name: step for step in plan.steps if side in step.writes}
        stands = _stood(p, flow, side, steps) if steps else {}
        for name, step in steps.items():
            held, source = p.now[side].get(name), step.past.get(other(side))
            p.memory.note_try(side, name, step.writes[side], source, now, held=held, stood=stands.get(name))
            any_write = True
    return any_write


def _stood(p: Pass, flow: Flow, side: Side, names: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """How the rows of these fields stand; left out where an older version of the row was read (E7)."""
    fmap, stamps, now = flow.maps[side], p.records[side].stamps, p.now[side]
    look = Look(p.row.was(side), now, p.read_at[side], flow.stale(side), stamps)
    edited = changed_fields(look.was, now, fmap)
    old = {fmap.stamped_row(name, stamps) for name in p.stale.keys() - now.keys()}
    return {n: stood(n, look, fmap, edited) for n in names if fmap.stamped_row(n, stamps) not in old}


def moved(p: Pass, fmap: FieldMap, side: Side, names: Iterable[str]) -> None:
    """These fields were written: what was said of their rows, and of the main one, tells of nobody else any more."""
    stamps = p.records[side].stamps
    rows = {fmap.main, *(fmap.stamped_row(name, stamps) for name in names)}
    per_field = p.memory.stood.get(side, {})
    p.memory.stood[side] = {name: one for name, one in per_field.items() if one["row"] not in rows}


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

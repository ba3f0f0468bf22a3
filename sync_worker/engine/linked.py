"""A pass over links that have both sides: read, stop or merge, write, and the row to save (E6 to E15)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mappings.belief import Look
from mappings.canonical import NOT_SHARED
from mappings.merge import Plan, Sides, merge
from mappings.settle import settle
from sync_worker.engine import reading, states, tries, writing
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, Side
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Gone, Save


def sync(desk: Desk, flow: Flow, rule: Rule, rows: Sequence[LinkRow]) -> list[Save]:
    """Bring linked records in step. Raises SyncError when a whole batch failed (the caller retries or pauses)."""
    passes = [reading.begin(row) for row in rows]
    now = desk.clock()
    reading.read(flow, [(p, reading.first_asks(p, flow, now)) for p in passes], desk.clock)
    saves: list[Save] = []
    moved: list[Pass] = []
    for p in passes:
        early = _ends_early(p, flow, rule, desk)
        if early is not None:
            saves.append(early)
        elif reading.moved_fields(p, flow) or _first_pass(p):
            moved.append(p)
        else:
            saves.append(_rest(p, flow, desk))
    for target in SIDES:
        _in_windows(desk, flow, rule, target, [p for p in moved if _written_side(p) == target], saves)
    return saves


def _written_side(p: Pass) -> Side:
    """Where this pass will write, as far as can be told before the other side is read."""
    return "erp" if p.noticed["crm"] and not p.noticed["erp"] else "crm"


def _in_windows(desk: Desk, flow: Flow, rule: Rule, target: Side, moved: list[Pass], saves: list[Save]) -> None:
    """Read and write in portions that stay within the window of E22, each stored before the next is read."""
    rest = moved
    while rest:
        size = desk.portion(target)
        some, rest = rest[:size], rest[size:]
        began = time.monotonic()
        wanted = [(p, reading.more_asks(p, flow, reading.moved_fields(p, flow))) for p in some]
        reading.read(flow, [(p, asks) for p, asks in wanted if asks], desk.clock, decide=True)
        ended = _merge_and_write(desk, flow, rule, some)
        desk.note_portion(target, time.monotonic() - began, len(some))
        if rest:
            desk.finish(*ended)
        else:
            saves.extend(ended)


def _first_pass(p: Pass) -> bool:
    """The link begins, or has just become its CRM record's default (E21)."""
    return p.row.first_synced_at is None or bool(p.memory.ids_due)


def _ends_early(p: Pass, flow: Flow, rule: Rule, desk: Desk) -> Save | None:
    """A record that is not there (E8), is left out by the filter, or cannot be kept (E4), is not compared at all."""
    for side in SIDES:
        if side in p.absent:
            return _gone(p, flow, side, desk.clock())
        if side in p.records:
            p.row.put(side, gone_at=None)
    return _excluded(p, flow, rule) or _failed(p, desk.clock())


def _failed(p: Pass, now: float) -> Save | None:
    """What either side has told meanwhile, or was kept from, is looked at once the record can be read again."""
    if p.failed is None:
        return None
    for side in SIDES:
        if p.noticed[side] or states.was_left_out(p.row):
            p.row.put(side, look_at=now)
    return states.dead_end(p.row, str(p.failed[1]), p.failed[1].code)


def _gone(p: Pass, flow: Flow, side: Side, now: float) -> Save:
    """E8: one 404 is no deletion; the second, a stale window later, unlinks."""
    row = p.row
    since = row.gone_at(side)
    window = flow.stale(side)
    if since is None or now < since + window:
        row.put(side, gone_at=since if since is not None else now)
        row.state, row.cause, row.cause_params = "pending", "not_found", {"side": side}
        row.due_at, row.klass = (since if since is not None else now) + window, "retry"
        return Save(row, seen=False)
    row.put(side, gone_at=since)
    entry = {"what": "unlinked", "side": side, "key": row.key(side), "why": "removed on this side"}
    return Save(row, gone=Gone(side, "removed", {"side": side}), journal=[entry])


def _excluded(p: Pass, flow: Flow, rule: Rule) -> Save | None:
    """The end of a pass over a record that a side's main row leaves out."""
    verdicts = (rule.takes_part(flow, side, record) for side, record in p.records.items() if record.parts & 1)
    left_out = next((verdict for verdict in verdicts if verdict is not None), None)
    if left_out is None:
        states.take_in(p.row)
        return None
    states.leave_out(p.row, left_out)
    return Save(p.row)


def _rest(p: Pass, flow: Flow, desk: Desk) -> Save:
    """Everything read equals its past: the echo of our own write, a repeated notice, a trailing look (E6, E7)."""
    row = p.row
    shown = [(row.ref(side), row.children(side)) for side in SIDES]
    _finish(p, flow, desk)
    same = shown == [(row.ref(side), row.children(side)) for side in SIDES]
    light = same and not p.relearned and not p.stale and not row.opens and row.state == "in_sync"
    if light:
        return Save(row, light=True)
    row.opens = {**row.opens, **p.stale}
    for side in SIDES:
        row.put(side, was=p.was[side])
    states.settle_state(row, p.memory, set())
    row.due_at = states.next_due(row)
    row.klass = "bulk" if row.due_at is not None else row.klass
    return Save(row, journal=tries.landed(p, desk.clock()))


def _merge_and_write(desk: Desk, flow: Flow, rule: Rule, moved: list[Pass]) -> list[Save]:
    translate, in_step = flow.translator()
    saves: list[Save] = []
    plans: list[tuple[Pass, Sides, Plan]] = []
    for p in moved:
        gone = next((side for side in SIDES if side in p.absent), None)
        if gone is not None:
            saves.append(_gone(p, flow, gone, desk.clock()))
            continue
        ended = _excluded(p, flow, rule) or _failed(p, desk.clock())
        if ended is not None:
            saves.append(ended)
            continue
        looks: dict[Side, Look] = {side: p.look(side, flow.stale(side)) for side in SIDES}
        opens = {n: o for n, o in p.row.opens.items() if o.why != "stale"}
        policy = flow.policy if p.row.is_default else replace(flow.policy, only=NOT_SHARED)
        policy = replace(policy, initial=p.memory.first.get("initial", policy.initial))
        sides = Sides(looks["erp"], looks["crm"], flow.maps, policy, translate, in_step, opens)
        plan = merge(sides, p.memory)
        desk.planned(p, sides, plan)
        plans.append((p, sides, plan))
    _perform(desk, flow, plans)
    for p, sides, plan in plans:
        if p.cause != "lost":
            saves.append(_settled(desk, flow, p, sides, plan))
    return saves


def _perform(desk: Desk, flow: Flow, plans: list[tuple[Pass, Sides, Plan]]) -> None:
    """Write what the plans say, ERP first, under leases that still count."""
    jobs: dict[Side, list[writing.Job]] = {"erp": [], "crm": []}
    writers: list[Pass] = []
    now = desk.clock()
    for p, _, plan in plans:
        extra = _keys_on_link(p, flow)
        if tries.note(p, flow, plan, now) or extra:
            writers.append(p)
        for side in SIDES:
            values = plan.writes(side)
            if values or (side == "crm" and extra):
                p.targets.add(side)
                jobs[side].append(writing.Job(p, values, extra if side == "crm" else {}))
    if not writers:
        return
    held = {id(p) for p in desk.hold(writers)}
    for p in writers:
        if id(p) not in held:
            p.cause = "lost"
    for side in SIDES:
        alive = desk.alive()  # a write of the first side may have outlasted a lease: its link's other write is dropped
        ready = [job for job in jobs[side] if id(job.p) in held and job.p.row.id in alive]
        writing.write(flow, side, ready, desk.clock)


def _keys_on_link(p: Pass, flow: Flow) -> dict[str, Any]:
    """The ERP's key and number in the CRM's own columns, filled once when a link begins: they find it again."""
    row = p.row
    record = p.records.get("crm")
    if not _first_pass(p) or record is None or flow.policy.direction in ("none", "to_erp"):
        return {}
    if not row.is_default:
        return {}
    columns = flow.connectors["crm"].correlation_columns(str(row.erp_key), row.erp_ref)
    return {c: v for c, v in columns.items() if c in record.native and str(record.native[c] or "") != str(v or "")}


def _settled(desk: Desk, flow: Flow, p: Pass, sides: Sides, plan: Plan) -> Save:
    row = p.row
    now = desk.clock()
    settled = settle(sides, plan, p.results, p.memory)
    entries = [*tries.landed(p, now), *writing.journal_of(p, plan, now), *settled.journal]
    for side in SIDES:
        row.put(side, was=settled.was[side])
    row.opens = {**p.stale, **settled.opens}
    _finish(p, flow, desk)
    retry_at = None
    if settled.unfinished or p.retry_after is not None:
        retry_at = now + states.backoff(row.attempts, desk.jitter(), p.retry_after)
        row.attempts += 1
        row.klass = "retry"
    else:
        row.attempts = 0
        p.memory.ids_due.clear()
        p.memory.first.clear()
        row.first_synced_at = row.first_synced_at or now
        row.last_synced_at = now
    states.settle_state(row, p.memory, settled.unfinished)
    if settled.unfinished and row.cause == "retrying":
        row.cause_params = {**(row.cause_params or {}), "error": p.cause}
    row.memory = p.memory.dump()
    row.due_at = states.next_due(row, retry_at)
    return Save(row, seen=retry_at is None, journal=entries)


def _finish(p: Pass, flow: Flow, desk: Desk) -> None:
    """Children, refs, trailing looks and the memory of a pass that read something."""
    row = p.row
    now = desk.clock()
    for side in SIDES:
        record = p.records.get(side)
        if record is None:
            continue
        row.put(side, ref=record.ref or row.ref(side))
        if record.children:
            row.put(side, children={**row.children(side), **record.children})
        unsure = any(not entry.get("sure") for entry in p.memory.wrote.get(side, {}).values())
        wrote = bool(p.results.done.get(side))
        look_at = row.look_at(side)
        if p.noticed[side] or (wrote and unsure):
            row.put(side, look_at=states.look_time(p.read_at[side] if not wrote else now, flow.stale(side)))
        elif look_at is not None and look_at <= p.read_at[side]:
            row.put(side, look_at=None)
    p.memory.forget(now, {side: flow.stale(side) for side in SIDES}, p.read_at, p.now)
    row.memory = p.memory.dump()
    row.due_at = states.next_due(row)
    row.attempts = 0
    row.klass = "bulk"

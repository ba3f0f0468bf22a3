"""The writing half of a pass: one batch per side, only changed columns, refusals narrowed (E3, E12, E15, E18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.fields import Value
from mappings.merge import Plan
from mappings.settle import Written
from sync_worker.connectors.base import Outcome, Write
from sync_worker.engine import tries
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.errors import AuthFailed, NotFound, PermanentError, Rejected, RetryableError
from sync_worker.events import SIDES, Side

NARROWING_CALLS = 5


@dataclass
class Job:
    """The write of one link on one side: fields with their values, and columns that are no field (keys on link)."""

    p: Pass
    values: dict[str, Value]
    extra: dict[str, Any]

    def columns(self, flow: Flow, side: Side, names: Sequence[str] | None = None) -> dict[str, Any]:
        values = self.values if names is None else {n: self.values[n] for n in names}
        extra = self.extra if names is None or len(names) == len(self.values) else {}
        return {**flow.maps[side].put(values, self.p.records[side].native), **extra}


def write(flow: Flow, side: Side, jobs: Sequence[Job], clock: Callable[[], float]) -> None:
    """Perform the writes of many links on one side; results go to each pass. Raises AuthFailed for the whole batch."""
    now = clock()
    sent: list[tuple[Job, Write]] = []
    for job in jobs:
        columns = job.columns(flow, side)
        if columns:
            sent.append((job, _write(flow, side, job, columns)))
        else:  # the vendor already stores it so
            _done(flow, side, job, Outcome(), {}, now, list(job.values))
    if not sent:
        return
    outcomes = flow.connectors[side].write_many(flow.entity, [w for _, w in sent])
    now = clock()
    for (job, one), outcome in zip(sent, outcomes, strict=True):
        _take(flow, side, job, one, outcome, now)


def _write(flow: Flow, side: Side, job: Job, columns: Mapping[str, Any]) -> Write:
    record = job.p.records[side]
    return Write(
        record.key,
        columns,
        record,
        new_person=_is_new_person(flow, side, job),
        link_id=job.p.row.id,
        repeated=any(len(job.p.memory.tried.get(side, {}).get(name, ())) > 1 for name in job.values),
    )


def _is_new_person(flow: Flow, side: Side, job: Job) -> bool:
    """E12: first and last name both change: that is another person, never a renamed one."""
    if "contact" not in job.values or not flow.connectors[side].capabilities.has_persons:
        return False
    new, old = job.values["contact"], job.p.now[side].get("contact")
    if not isinstance(new, dict) or not isinstance(old, dict):
        return isinstance(new, dict) and old is None
    return all((new.get(part) or "").casefold() != (old.get(part) or "").casefold() for part in ("first", "last"))


def _take(flow: Flow, side: Side, job: Job, one: Write, outcome: Outcome, now: float) -> None:
    error = outcome.error
    p = job.p
    if outcome.children:
        p.row.put(side, children={**p.row.children(side), **outcome.children})
    if error is None:
        _done(flow, side, job, outcome, one.columns, now, list(job.values))
        return
    _partly_done(flow, side, job, outcome, one.columns, now)
    if isinstance(error, AuthFailed):
        raise error
    if isinstance(error, RetryableError):
        p.retry_after, p.cause = error.after or 0.0, error.code
    elif isinstance(error, NotFound):
        p.absent.add(side)
        p.retry_after, p.cause = 0.0, error.code
    elif isinstance(error, PermanentError):
        _refused(flow, side, job, error, now)
    else:
        raise error


def _done(
    flow: Flow,
    side: Side,
    job: Job,
    outcome: Outcome,
    columns: Mapping[str, Any],
    now: float,
    names: Sequence[str],
) -> None:
    """These fields were written. What the answer shows of them is their past where it is our value or a known loss."""
    fmap = flow.maps[side]
    tries.moved(job.p, fmap, side, names)
    native = {**job.p.records[side].native, **columns, **outcome.stored}
    shown = fmap.get(native)
    done = job.p.results.done.setdefault(side, {})
    for name in names:
        fitted = fmap.fit(name, job.values[name])
        value, sure = fitted, not columns
        if name in shown and all(c in outcome.stored for c in fmap.fields[name].columns if c in columns):
            stored = shown[name]
            if outcome.stored and (fmap.same(name, fitted, stored) or fmap.loss(name, fitted, stored)):
                value, sure = stored, True
        done[name] = Written(value, sure, now)


def _partly_done(flow: Flow, side: Side, job: Job, outcome: Outcome, columns: Mapping[str, Any], now: float) -> None:
    """Some tables of the record were written before the call failed: their fields are done."""
    if not outcome.stored:
        return
    fmap = flow.maps[side]
    names = [
        name
        for name in job.values
        if all(c in outcome.stored for c in fmap.fields[name].columns if c in columns)
        and any(c in columns for c in fmap.fields[name].columns)
    ]
    _done(flow, side, job, outcome, columns, now, names)


def _refused(flow: Flow, side: Side, job: Job, error: PermanentError, now: float) -> None:
    """E15: leave the refused field out and write the rest; where none is named, find it by halving."""
    open_names = [n for n in job.values if n not in job.p.results.done.get(side, {})]
    column = error.column if isinstance(error, Rejected) else None
    named = flow.maps[side].field_of_column(column) if column else None
    if named in open_names:
        _refuse(side, job, [str(named)], error)
        rest = [n for n in open_names if n != named]
        _try_rest(flow, side, job, rest, now, calls=NARROWING_CALLS - 1)
    else:
        _halve(flow, side, job, open_names, error, now)


def _halve(flow: Flow, side: Side, job: Job, names: list[str], error: PermanentError, now: float) -> None:
    calls = NARROWING_CALLS - 1
    todo = [names]
    while todo:
        group = todo.pop()
        if len(group) <= 1 or calls <= 0:
            _refuse(side, job, group, error)
            continue
        half = len(group) // 2
        for part in (group[:half], group[half:]):
            if calls <= 0:
                _refuse(side, job, part, error)
                continue
            calls -= 1
            failed = _send(flow, side, job, part, now)
            if failed is not None:
                todo.append(part) if len(part) > 1 else _refuse(side, job, part, failed)


def _try_rest(flow: Flow, side: Side, job: Job, names: list[str], now: float, calls: int) -> None:
    while names and calls > 0:
        calls -= 1
        failed = _send(flow, side, job, names, now)
        if failed is None:
            return
        column = failed.column if isinstance(failed, Rejected) else None
        named = flow.maps[side].field_of_column(column) if column else None
        if named not in names:
            _refuse(side, job, names, failed)
            return
        _refuse(side, job, [str(named)], failed)
        names = [n for n in names if n != named]
    _refuse(side, job, names, Rejected("not tried: too many fields refused"))


def _send(flow: Flow, side: Side, job: Job, names: list[str], now: float) -> PermanentError | None:
    """Write some of the fields; returns the refusal, if it was one. Anything retryable is left for the next pass."""
    columns = job.columns(flow, side, names)
    if not columns:
        _done(flow, side, job, Outcome(), {}, now, names)
        return None
    (outcome,) = flow.connectors[side].write_many(flow.entity, [_write(flow, side, job, columns)])
    if outcome.error is None:
        _done(flow, side, job, outcome, columns, now, names)
        return None
    if isinstance(outcome.error, PermanentError) and not isinstance(outcome.error, AuthFailed | NotFound):
        return outcome.error
    if isinstance(outcome.error, RetryableError):
        job.p.retry_after, job.p.cause = outcome.error.after or 0.0, outcome.error.code
        return None
    raise outcome.error


def _refuse(side: Side, job: Job, names: Sequence[str], error: PermanentError) -> None:
    refused = job.p.results.refused.setdefault(side, {})
    for name in names:
        refused[name] = error.in_words


def journal_of(p: Pass, plan: Plan, now: float) -> list[dict[str, Any]]:
    """One entry per side written: what stood there, what stands there now, and when it was read (E22)."""
    entries = []
    for side in SIDES:
        done = p.results.done.get(side, {})
        names = [s.name for s in plan.steps if side in s.writes and s.name in done]
        if names:
            codes = sorted({s.code for s in plan.steps if s.name in names})
            entries.append(
                {
                    "what": "update",
                    "side": side,
                    "key": p.row.key(side),
                    "before": {n: p.now[side].get(n) for n in names},
                    "after": {n: done[n].stored for n in names},
                    "why": ", ".join(codes),
                    "read_at": p.read_at.get(side),
                    "at": now,
                }
            )
    return entries

"""The dangerous step: creating a partner (E18). Applied, refused or unknown; what is unknown is looked for first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mappings.account_managers import LONGEST_WAIT
from mappings.fields import Value
from mappings.memory import Memory
from mappings.merge import Missing, Open, Translate
from sync_worker.connectors.base import Outcome, Record, Write
from sync_worker.connectors.phases import CALL_DEADLINE
from sync_worker.engine import states
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.engine.ladder import offered_record
from sync_worker.errors import AlreadyExists, AuthFailed, RetryableError
from sync_worker.events import Side, other
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save

WAVE = 25  # creates whose intents are open at the same time
GIVE_UP = 5  # creates refused as "exists already" without anything to be found


@dataclass(frozen=True, slots=True)
class Wanted:
    """A create that was decided; its intent stands on the row and is not stored yet. ``columns``: of the new record."""

    row: LinkRow
    record: Record
    columns: dict[str, Any]


def want(desk: Desk, flow: Flow, side: Side, row: LinkRow, record: Record, translate: Translate) -> Wanted | Save:
    """Open the intent of a create on the other side; its payload is both sides' past on adoption (E10).

    A ``Save`` where it has to wait for another create that is still open (E17).
    """
    into = other(side)
    names_nobody = (
        flow.connectors[side].capabilities.correlation and flow.connectors[side].correlated_key(record) is None
    )
    if not names_nobody and desk.open_intents(row, side):
        row.attempts += 1
        return _later(row, desk.clock() + states.until_created(row.attempts), "intent_open", {"side": side})
    values = flow.maps[side].get(record.native)
    translated, waiting = _translate(flow, side, into, values, translate)
    if waiting and into == "erp" and not flow.create_without_manager:
        return _held(row, waiting)
    row.writes += 1
    now = desk.clock()
    row.intent = {
        "key": hashlib.sha256(f"{flow.name}/{row.id}/{row.writes}".encode()).hexdigest(),
        "payload": {side: values, into: {n: flow.maps[into].fit(n, v) for n, v in translated.items()}},
        "opened_at": now,
        "find_after": now + CALL_DEADLINE + flow.stale(into),
    }
    row.intent_at, row.intent_side = now, into
    row.opens = waiting
    row.state, row.cause, row.cause_params = "pending", "creating", {"side": into}
    return Wanted(row, record, _columns(flow, side, into, row, record, translated))


def create_all(desk: Desk, flow: Flow, side: Side, wanted: Sequence[Wanted]) -> list[Save]:
    """Creates in waves: a wave's intents are stored together, each is a call of its own, and so are its ends.

    A wave is what a crash leaves to be looked for: where no key column tells what is ours, each create is one.
    """
    size = WAVE if flow.connectors[other(side)].capabilities.correlation else 1
    saves: list[Save] = []
    for start in range(0, len(wanted), size):
        saves.extend(_wave(desk, flow, side, wanted[start : start + size]))
    return saves


def _wave(desk: Desk, flow: Flow, side: Side, wanted: Sequence[Wanted]) -> list[Save]:
    """Links that ended without a partner; what was made is stored before the next wave. Raises AuthFailed."""
    into = other(side)
    held = desk.commit([Save(one.row, seen=False, keep_lease=True) for one in wanted])
    sent = [one for one in wanted if one.row.id in held]
    saves = [Save(one.row, seen=False) for one in wanted if one.row.id not in held]
    writes = [
        Write(None, one.columns, idempotency_key=(one.row.intent or {})["key"], link_id=one.row.id) for one in sent
    ]
    outcomes = flow.connectors[into].write_many(flow.entity, writes) if writes else []
    failed: AuthFailed | None = None
    for one, outcome in zip(sent, outcomes, strict=True):
        if isinstance(outcome.error, AuthFailed) and outcome.key is None:
            failed = outcome.error
        else:
            saves.append(_created(desk, flow, side, one.row, one.record, outcome))
    made = saves if failed is not None else [one for one in saves if one.brings is not None]
    if made:
        desk.finish(*made)
    if failed is not None:
        raise failed
    return [one for one in saves if one.brings is None]


def _held(row: LinkRow, waiting: dict[str, Open]) -> Save:
    """AM-9, where the flow says so: nothing is made before its manager has a row. The permission to create stays."""
    row.opens = waiting
    found = states.worst(row.opens)
    if found is not None:
        row.state, row.cause, row.cause_params = found
    row.due_at, row.klass, row.attempts = states.next_due(row), "bulk", 0
    return Save(row)


def _translate(
    flow: Flow, side: Side, into: Side, values: dict[str, Value], translate: Translate
) -> tuple[dict[str, Value], dict[str, Open]]:
    """Values for the new record in the target's terms; what cannot be translated yet is left out and waits (E16)."""
    out: dict[str, Value] = {}
    waiting: dict[str, Open] = {}
    for name in sorted(values.keys() & flow.maps[into].fields.keys()):
        if name != "name" and not flow.policy.may_write(into, name):
            continue  # no system makes a record without a name: the owner counts from its second value on
        value = translate(name, side, values[name])
        if isinstance(value, Missing):
            seen: dict[str, Value] = {"erp_seen": None, "crm_seen": None, f"{side}_seen": values[name]}
            waiting[name] = Open("waiting", value.cause, waiting_on=value.key, **seen)  # type: ignore[arg-type]
        else:
            out[name] = value
    return out, waiting


def _columns(
    flow: Flow, side: Side, into: Side, row: LinkRow, record: Record, translated: dict[str, Value]
) -> dict[str, Any]:
    """Native columns of the new record: values, defaults, and the key by which it can be found again."""
    fmap = flow.maps[into]
    given = fmap.put({n: v for n, v in translated.items() if v is not None}, {})
    keys = flow.connectors[into].correlation_columns(str(row.key(side)), record.ref)
    extra = fmap.create_extra(translated)
    return {**extra, **{c: v for c, v in given.items() if v is not None}, **keys}


def _created(desk: Desk, flow: Flow, side: Side, row: LinkRow, record: Record, outcome: Outcome) -> Save:
    into = other(side)
    error = outcome.error
    if outcome.key is not None:
        if error is not None:
            _forget_unwritten(flow, into, row, outcome)
        made = Record(outcome.key, outcome.ref or outcome.key, outcome.stored, outcome.children)
        return adopt(row, into, made, "created", desk.clock())
    if isinstance(error, RetryableError):
        if error.code != "outcome_unknown":
            _end_intent(row)  # surely not applied: a new decision may create at once
        row.attempts += 1
        wait = states.backoff(row.attempts, desk.jitter(), error.after)
        return _later(row, desk.clock() + wait, error.code, {"side": into})
    if isinstance(error, AlreadyExists) and row.writes < GIVE_UP:
        row.attempts += 1
        again = desk.clock() + states.backoff(row.attempts, desk.jitter())
        return _later(row, again, error.code, {"side": into, "reason": error.in_words})
    _end_intent(row)
    reason = error.in_words if error is not None else ""
    params = {"fields": "", "reason": reason, "side": into}
    row.opens = {"": Open("refused", "refused", params, side=into)}
    row.state, row.cause, row.cause_params = "failing", "refused", params
    row.attempts, row.due_at, row.klass = 0, states.next_due(row), "bulk"
    entry = {"what": "refused", "side": into, "key": record.key, "why": reason}
    return Save(row, journal=[entry])


def resume_intent(desk: Desk, flow: Flow, side: Side, row: LinkRow, candidates: list[Record]) -> Save:
    """A create whose end is unknown: adopt what it made, or decide anew once a find that finds nothing counts."""
    into = other(side)
    now = desk.clock()
    intent = row.intent or {}
    linked = desk.linked_keys(flow.name, flow.entity, into, [c.key for c in candidates])
    free = [c for c in candidates if c.key not in linked and _is_ours(flow, into, row, c, intent)]
    if len(free) == 1:
        return adopt(row, into, free[0], "found after an unknown outcome", now)
    if len(free) > 1:
        waiting_on = f"match:{flow.systems[side]}:{row.key(side)}"[:LONGEST_WAIT]
        listed = [offered_record(flow, into, c, "same name, made since") for c in free]
        params = {"candidates": listed, "system": flow.systems[into]}
        row.opens = {"": Open("waiting", "several_made", params, waiting_on)}
        row.state, row.cause, row.cause_params = "waiting", "several_made", {**params, "waiting_on": waiting_on}
        row.due_at, row.attempts = states.next_due(row), 0
        return Save(row)
    if now < float(intent["find_after"]):
        row.attempts += 1
        again = min(float(intent["find_after"]), now + states.backoff(row.attempts, desk.jitter()))
        return _later(row, max(again, now + 0.05), "outcome_unknown", {"side": into})
    _end_intent(row)
    return _later(row, now, "creating", {"side": into})  # the ladder first: somebody may have made it by hand since


def _is_ours(flow: Flow, into: Side, row: LinkRow, candidate: Record, intent: dict[str, Any]) -> bool:
    """By our own key column where there is one; else by exactly its name, made since the intent was opened."""
    if flow.connectors[into].capabilities.correlation:
        return flow.connectors[into].correlated_key(candidate) == row.key(other(into))
    payload = (intent.get("payload") or {}).get(into, {})
    fmap = flow.maps[into]
    name = fmap.get(candidate.native).get("name")
    made_since = candidate.created_at is None or candidate.created_at >= float(intent["opened_at"]) - 60.0
    return made_since and fmap.same("name", payload.get("name"), name)


def adopt(row: LinkRow, into: Side, partner: Record, why: str, now: float) -> Save:
    """Link what we made: the intent's payload is both sides' past, so an edit made since is seen as one (E10)."""
    payload = (row.intent or {}).get("payload", {})
    memory = Memory()
    memory.wrote[into] = {name: {"old": None, "sure": False} for name in payload.get(into, {})}
    row.put(into, key=partner.key, ref=partner.ref, children=dict(partner.children) or None)
    row.put(into, was=payload.get(into, {}))
    row.put(other(into), was={n: v for n, v in payload.get(other(into), {}).items() if n not in row.opens})
    row.memory = memory.dump()
    row.opens = {name: o for name, o in row.opens.items() if name}
    _end_intent(row)
    row.may_create = row.was_linked_to = None
    row.first_synced_at, row.attempts = None, 0
    row.state, row.cause, row.cause_params = "pending", "linking", {"step": why}
    states.due_next(row, now)
    entry = {
        "what": "create",
        "side": into,
        "key": partner.key,
        "after": payload.get(into),
        "why": why,
    }
    return Save(row, brings=into, journal=[entry])


def _forget_unwritten(flow: Flow, into: Side, row: LinkRow, outcome: Outcome) -> None:
    """The record was made, but not all of its children: what was not stored has no past there, and is filled next."""
    fmap = flow.maps[into]
    intent = row.intent or {}
    past = intent["payload"][into]
    kept = {n: v for n, v in past.items() if v is None or all(c in outcome.stored for c in fmap.fields[n].columns)}
    row.intent = {**intent, "payload": {**intent["payload"], into: kept}}


def _end_intent(row: LinkRow) -> None:
    row.intent = row.intent_at = row.intent_side = None


def _later(row: LinkRow, due_at: float, cause: str, params: dict[str, Any]) -> Save:
    row.state, row.cause, row.cause_params = "pending", cause, params
    row.due_at, row.klass = due_at, "retry"
    return Save(row, seen=False)

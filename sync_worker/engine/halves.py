"""A pass over half rows, records known on one side only: find the partner, link it, create it, or say what would.

Rules E17 to E20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mappings.account_managers import LONGEST_WAIT
from mappings.fields import Value
from mappings.memory import Memory
from mappings.merge import Open, Translate
from sync_worker.connectors.base import Ask, Criteria, Record
from sync_worker.engine import companies, states
from sync_worker.engine.creating import Wanted, create_all, resume_intent, want
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.engine.ladder import offered, offered_record, partner_of
from sync_worker.engine.lengths import too_long
from sync_worker.engine.rule import INSISTED, TO_ONE, Rule
from sync_worker.events import Side, other
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save


def sync(desk: Desk, flow: Flow, rule: Rule, rows: Sequence[LinkRow]) -> list[Save]:
    """Deal with records that have no partner yet. Raises SyncError when a whole batch failed."""
    saves: list[Save] = []
    for side in ("erp", "crm"):
        mine = [row for row in rows if row.known_side == side]
        if mine:
            saves.extend(_one_side(desk, flow, rule, side, mine))
    return saves


def _one_side(desk: Desk, flow: Flow, rule: Rule, side: Side, rows: list[LinkRow]) -> list[Save]:
    at = desk.clock()
    found = flow.connectors[side].read_many(flow.entity, [Ask(str(row.key(side))) for row in rows])
    saves: list[Save] = []
    searching: list[tuple[LinkRow, Record]] = []
    unlinked: list[tuple[LinkRow, Record]] = []
    for row in rows:
        record = found.get(str(row.key(side)))
        if record is None:
            saves.append(_gone(row, side, flow.stale(side), at))
            continue
        row.put(side, ref=record.ref, gone_at=None, look_at=None)
        values = flow.maps[side].get(record.native)
        failed = too_long(values, flow.systems[side])
        if failed is None:
            _remember(row, flow, side, record, values, at)
        left_out = rule.takes_part(flow, side, record)
        if left_out is not None and row.intent is None:
            states.leave_out(row, left_out)
            row.due_at, row.klass = states.next_due(row), "bulk"
            saves.append(Save(row))
        elif row.was_linked_to is not None and row.may_create not in TO_ONE and row.intent is None:
            unlinked.append((row, record))
        elif failed is not None and row.intent is None:  # what a create may have made is looked for all the same
            saves.append(states.dead_end(row, str(failed), failed.code))
        else:
            searching.append((row, record))
    saves.extend(_offer(desk, flow, side, unlinked))
    saves.extend(_search(desk, flow, rule, side, searching))
    return saves


def _remember(row: LinkRow, flow: Flow, side: Side, record: Record, values: dict[str, Value], at: float) -> None:
    """What was read is this half's past for the feeds; it is forgotten when the link begins (no past, E9)."""
    row.put(side, was=values, children=dict(record.children))
    if row.noticed(side):
        row.put(side, look_at=states.look_time(at, flow.stale(side)))


def _gone(row: LinkRow, side: Side, window: float, now: float) -> Save:
    """E8, for a record that was never linked: it stays as a row that says so."""
    since = row.gone_at(side)
    if since is None or now < since + window:
        since = now if since is None else since
        row.put(side, gone_at=since)
        row.state, row.cause, row.cause_params = "pending", "not_found", {"side": side}
        row.due_at, row.klass = since + window, "retry"
        return Save(row, seen=False)
    return _state(row, "unlinked", "removed", {"side": side})


def _state(row: LinkRow, state: str, cause: str, params: dict[str, Any] | None = None) -> Save:
    row.state, row.cause, row.cause_params = state, cause, params
    row.opens, row.attempts = {}, 0
    row.due_at, row.klass = states.next_due(row), "bulk"
    return Save(row)


def _offer(desk: Desk, flow: Flow, side: Side, unlinked: list[tuple[LinkRow, Record]]) -> list[Save]:
    """E20: a removed partner may have been merged into another record; who that may be is offered to a person."""
    into = other(side)
    saves = [_state(row, "unlinked", row.cause or "unlinked", row.cause_params) for row, _ in unlinked]
    bereft = [(row, record) for row, record in unlinked if row.cause == "removed"]
    if not bereft:
        return saves
    found = flow.connectors[into].find_many(flow.entity, [_criteria(flow, side, row, record) for row, record in bereft])
    for (row, record), candidates in zip(bereft, found, strict=True):
        match = partner_of(desk, flow, side, row, record, candidates)
        listed = offered(match.candidates)
        if match.key is not None:
            listed = [offered_record(flow, into, c, match.step) for c in candidates if c.key == match.key]
        if listed:
            row.opens = {"": Open("waiting", "removed", {"candidates": listed, "system": flow.systems[into]})}
    return saves


def _search(desk: Desk, flow: Flow, rule: Rule, side: Side, searching: list[tuple[LinkRow, Record]]) -> list[Save]:
    """Look for partners in one batch per kind of look-up, decide one by one, and create what has none (E18)."""
    if not searching:
        return []
    into = other(side)
    criteria = [_criteria(flow, side, row, record) for row, record in searching]
    found = flow.connectors[into].find_many(flow.entity, criteria)
    named = _named(flow, side, [record for _, record in searching])
    saves: list[Save] = []
    wanted: list[Wanted] = []
    translate, _ = flow.translator()
    for (row, record), candidates in zip(searching, found, strict=True):
        key = flow.connectors[side].correlated_key(record)
        partner = named.get(key) if key is not None else None
        fresh = [partner] if partner is not None and all(c.key != key for c in candidates) else []
        ended = _decide(desk, flow, rule, side, row, record, [*fresh, *candidates], translate)
        if isinstance(ended, Wanted):
            wanted.append(ended)
        elif ended.brings is not None:
            desk.finish(ended)  # linked: for those that follow it is nobody's candidate any more
        else:
            saves.append(ended)
    return saves + create_all(desk, flow, side, wanted)


def _criteria(flow: Flow, side: Side, row: LinkRow, record: Record) -> Criteria:
    values = row.was(side)
    intent = row.intent
    since = float(intent["opened_at"]) - 60.0 if intent else None
    if intent is not None:
        by_key = flow.connectors[other(side)].capabilities.correlation
        return Criteria(
            correlation=str(row.key(side)), name=None if by_key else values.get("name"), created_since=since
        )
    email, tax = values.get("email"), values.get("tax_number")
    ref = record.ref if side == "erp" else flow.linked_ref(record)
    return Criteria(str(row.key(side)), ref or None, values.get("name"), email, tax)


def _named(flow: Flow, side: Side, records: Sequence[Record]) -> dict[str, Record | None]:
    """Partners that the records themselves name in their own key columns."""
    keys = {key for r in records if (key := flow.connectors[side].correlated_key(r)) is not None}
    if not keys:
        return {}
    return flow.connectors[other(side)].read_many(flow.entity, [Ask(key) for key in sorted(keys)])


def _decide(
    desk: Desk,
    flow: Flow,
    rule: Rule,
    side: Side,
    row: LinkRow,
    record: Record,
    candidates: list[Record],
    translate: Translate,
) -> Save | Wanted:
    into = other(side)
    if row.intent is not None:
        return resume_intent(desk, flow, side, row, candidates)
    match = partner_of(desk, flow, side, row, record, candidates)
    if match.kind == "link":
        partner = next(c for c in candidates if c.key == match.key)
        return link_to(row, into, partner, match.step, desk.clock())
    asked_for = match.kind == "candidates" and row.may_create == INSISTED  # a person wants one of its own
    if match.kind in ("candidates", "conflict") and not asked_for:
        waiting_on = f"match:{flow.systems[side]}:{row.key(side)}"[:LONGEST_WAIT]
        listed = offered(match.candidates)
        why: Literal["waiting", "conflict"] = "waiting" if match.kind == "candidates" else "conflict"
        params = {"candidates": listed, "system": flow.systems[into], "why": match.why}
        row.opens = {"": Open(why, "match" if why == "waiting" else "ids_disagree", params, waiting_on)}
        row.state, row.cause, row.cause_params = why, row.opens[""].cause, {**params, "waiting_on": waiting_on}
        row.due_at, row.klass, row.attempts = states.next_due(row), "bulk", 0
        return Save(row)
    permission = rule.may_create(flow, row, record, into)
    if permission.allowed:
        permission = companies.permission(desk, flow, row, record, into)
    if not permission.allowed:
        state = "unlinked" if row.was_linked_to is not None else "not_synced"
        return _state(row, state, permission.cause, dict(permission.params or {"side": into}))
    return want(desk, flow, side, row, record, translate)


def link_to(row: LinkRow, into: Side, partner: Record, step: str, now: float) -> Save:
    """Bring the partner's key. The next pass merges: a first link-up has no past (E9)."""
    row.put(into, key=partner.key, ref=partner.ref, children=dict(partner.children))
    row.erp_was = row.crm_was = None
    erp_wins = {"initial": "erp"} if row.may_create == "import" else {}  # an import brings the ERP's values to the CRM
    row.memory, row.opens = Memory(first=erp_wins).dump(), {}
    row.may_create = row.intent = row.intent_at = row.intent_side = row.was_linked_to = None
    row.state, row.cause, row.cause_params = "pending", "linking", {"step": step}
    row.first_synced_at, row.attempts = None, 0
    states.due_next(row, now)
    entry = {"what": "linked", "side": into, "key": partner.key, "why": step}
    return Save(row, brings=into, journal=[entry])

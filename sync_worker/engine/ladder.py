"""The matching ladder, fed from records: facts of the record and of its candidates (mappings/matching.py decides)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings.matching import Candidate, Facts, Match, decide
from mappings.names import same_name
from sync_worker.connectors.base import Record
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import LONGEST_NAME
from sync_worker.events import Side, other
from sync_worker.store.rows import LinkRow


def partner_of(desk: Desk, flow: Flow, side: Side, row: LinkRow, record: Record, candidates: list[Record]) -> Match:
    """Which of the candidates is this record's partner, if any."""
    into = other(side)
    linked = desk.linked_keys(flow.name, flow.entity, into, [c.key for c in candidates])
    made_by_us = [c for c in candidates if c.key not in linked and _own_id(flow, side, record, c)]
    mine = facts(flow, side, record, linked=row.linked)
    if len(made_by_us) == 1:
        theirs = facts(flow, into, made_by_us[0], linked=False)
        if same_name(mine.name or "", theirs.name or ""):
            return Match("link", theirs.key, "own_id", "the customer id was given by us to this record")
        if mine.erp_key is None and theirs.erp_key is None:
            # somebody may have given such an id to a stranger, or renamed one of the two: a person knows
            listed = (Candidate(theirs.key, theirs.ref, theirs.name, "customer id"),)
            return Match("candidates", None, "suggested", "the customer id would be ours, the name is another", listed)
    others = [facts(flow, into, c, linked=c.key in linked) for c in candidates]
    return decide(side, mine, others, flow.match_policy, flow.company, shared=bool(flow.shared_crm))


def offered(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """Records that a person may choose, as they are stored and shown. The name is what people tell them apart by."""
    return [{"key": c.key, "ref": c.ref, "name": c.name and c.name[:LONGEST_NAME], "why": c.why} for c in candidates]


def offered_record(flow: Flow, side: Side, record: Record, why: str) -> dict[str, Any]:
    """The same of one record, for another reason than the ladder's."""
    return offered([Candidate(record.key, record.ref, facts(flow, side, record, linked=False).name, why)])[0]


def _own_id(flow: Flow, side: Side, record: Record, candidate: Record) -> bool:
    """Does the ERP's id say that we made that customer for that CRM record, and does the CRM not say otherwise?"""
    erp, crm = (record, candidate) if side == "erp" else (candidate, record)
    named = flow.connectors["crm"].correlated_key(crm)
    return flow.connectors["erp"].correlated_key(erp) == crm.key and named in (None, erp.key)


def facts(flow: Flow, side: Side, record: Record, *, linked: bool) -> Facts:
    """What the ladder looks at. The CRM's own columns name the ERP's record; in the ERP the record is its own name."""
    values = flow.maps[side].get(record.native)

    def text(name: str) -> str | None:
        value = values.get(name)
        return value if isinstance(value, str) else None

    own = side == "crm"  # the CRM's own columns name an ERP record; in the ERP they stay blank
    return Facts(
        key=record.key,
        ref=record.ref,
        name=text("name"),
        erp_key=flow.connectors["crm"].correlated_key(record) if own else None,
        erp_ref=flow.linked_ref(record) if own else None,
        erp_company=flow.linked_company(record) if own else None,
        email=text("email"),
        tax_number=text("tax_number"),
        linked=linked,
    )

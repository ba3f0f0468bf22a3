"""The matching ladder, fed from records: facts of the record and of its candidates (mappings/matching.py decides)."""

from __future__ import annotations

from mappings.matching import Facts, Match, decide
from sync_worker.connectors.base import Record
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.events import Side, other
from sync_worker.store.rows import LinkRow


def partner_of(
    desk: Desk, flow: Flow, side: Side, row: LinkRow, record: Record, candidates: list[Record]
) -> Match:
    """Which of the candidates is this record's partner, if any."""
    into = other(side)
    linked = desk.linked_keys(flow.name, flow.entity, into, [c.key for c in candidates])
    mine = facts(flow, side, record, linked=row.linked)
    theirs = [facts(flow, into, c, linked=c.key in linked) for c in candidates]
    return decide(side, mine, theirs, flow.match_policy, flow.company)


def facts(flow: Flow, side: Side, record: Record, *, linked: bool) -> Facts:
    """What the ladder looks at. The CRM's own columns name the ERP's record; in the ERP the record is its own name."""
    values = flow.maps[side].get(record.native)

    def text(name: str) -> str | None:
        value = values.get(name)
        return value if isinstance(value, str) else None

    if side == "erp":
        erp_key, erp_ref, company = record.key, record.ref, flow.company
    else:
        erp_key = flow.connectors["crm"].correlated_key(record) or ""
        erp_ref, company = flow.linked_ref(record) or "", flow.linked_company(record) or ""
    return Facts(
        key=record.key,
        ref=record.ref,
        name=text("name"),
        erp_key=erp_key or None,
        erp_ref=erp_ref or None,
        erp_company=company or None,
        email=text("email"),
        tax_number=text("tax_number"),
        linked=linked,
    )

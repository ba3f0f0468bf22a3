"""Several ERP companies over one CRM: which of them a CRM record without a partner belongs to (GUMU-8, E21)."""

from __future__ import annotations

from sync_worker.connectors.base import Record
from sync_worker.engine.desk import Desk
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import BY_A_PERSON, LONGEST_NAME, Permission
from sync_worker.events import Side
from sync_worker.store.rows import LinkRow


def permission(desk: Desk, flow: Flow, row: LinkRow, record: Record, into: Side) -> Permission:
    """May this flow make a customer for it without being asked? Never for a record of another company.

    Where several flows would, the record has to name its company in ``columns.erp_company``; a person may ask for a
    customer in any of them.
    """
    if into != "erp" or not flow.shared_crm or row.may_create in BY_A_PERSON:
        return Permission(True)
    named = flow.linked_company(record)
    if named is not None:
        own = flow.is_own_company(named)
        return Permission(True) if own else Permission(False, "other_company", {"company": named[:LONGEST_NAME]})
    holder = desk.linked_elsewhere(flow, row)
    if holder is not None:
        return Permission(False, "other_company", {"company": holder})
    return Permission(False, "needs_company") if flow.others_create else Permission(True)

"""Customers: which of them take part, and when the other system gets one of its own.

on_create          a record made after the flow was switched on, and its direction opened, gets its partner at once
on_change          any change of an unlinked record makes its partner
on_first_invoice   the first finalised invoice makes it (the invoice leaves the permission on the record)
manual             only a person's "sync now" makes it
never              nobody does

A person may always ask, except where it says never; where others resemble the record, twice. What was unlinked or
deleted stays so until a person links or syncs it.
"""

from __future__ import annotations

from mappings.codecs import collapse, fold
from sync_worker.connectors.base import Record
from sync_worker.engine import sub_companies
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import BY_A_PERSON, LONGEST_NAME, TO_ONE, LeftOut, Permission
from sync_worker.events import Side
from sync_worker.routing import handles
from sync_worker.store.rows import LinkRow

NEEDS = {"on_first_invoice": "needs_invoice", "manual": "needs_manual", "on_create": "older_than_flow"}


class Customers:
    """The rule of customers. Nothing has to exist before a customer does."""

    def takes_part(self, flow: Flow, side: Side, record: Record) -> LeftOut | None:
        for column, allowed in flow.filters.get(side, {}).items():
            if column in record.native and str(record.native[column] or "") not in allowed:
                return LeftOut("excluded", "filter", {"filter": f"{side}.{column}"})
        return _of_another_sub_company(flow, record) if side == "crm" else None

    def may_create(self, flow: Flow, row: LinkRow, record: Record, into: Side) -> Permission:
        when = flow.create[into]
        if flow.policy.direction not in ("both", f"to_{into}"):
            return Permission(False, "direction", {"direction": flow.policy.direction})
        if when == "never":
            return Permission(False, "never")
        if row.was_linked_to is not None and row.may_create not in TO_ONE:
            return Permission(False, "unlinked")
        if row.may_create in BY_A_PERSON:
            return Permission(True)
        if when == "on_change" or (when == "on_first_invoice" and row.may_create == "invoice"):
            return Permission(True)
        if when == "on_create" and (record.created_at or 0.0) >= flow.opened_at(into):
            return Permission(True)
        return Permission(False, NEEDS[when])


def _of_another_sub_company(flow: Flow, record: Record) -> LeftOut | None:
    """LAY-15: the record's sub-company decides which flow takes it; one that no flow takes waits to be mapped."""
    taken = flow.sub_companies
    if taken is None or taken.column not in record.native:
        return None
    named = collapse(str(record.native[taken.column] or ""))
    key = fold(named)
    if key in taken.mine:
        return None
    by = {"filter": f"crm.{taken.column}"}
    if key in taken.mapped or not taken.tells:
        return LeftOut("excluded", "filter", by)
    waiting_on = sub_companies.waiting_key(flow.systems["crm"], named)
    return LeftOut("waiting", "sub_company_unmapped", {**by, "sub_company": named[:LONGEST_NAME] or "none"}, waiting_on)


@handles("customer")
def customers() -> Customers:
    return Customers()

"""A customer put together from the rows that were read."""

from __future__ import annotations

from typing import Any

from sync_worker.connectors.base import Ask, Record
from sync_worker.connectors.sage_crm.known import LINKED, Known, ticked
from sync_worker.connectors.sage_crm.tables import BIT, COMPANY, PRIMARY, TICKED, Linked, Row, Shape, Table

NONE_TICKED, SEVERAL_TICKED = "no_address_ticked", "several_addresses_ticked"


def record_of(shape: Shape, ask: Ask, known: Known) -> Record | None:
    """What was asked, as far as it was read; None where the vendor shows no such company."""
    companies = known.rows["company"]
    if ask.key in companies and companies[ask.key] is None:
        return None
    return _Assembly(shape, ask, known).record()


class _Assembly:
    """One customer."""

    def __init__(self, shape: Shape, ask: Ask, known: Known) -> None:
        self._shape = shape
        self._ask = ask
        self._known = known
        self._company = known.rows["company"].get(ask.key)
        self._native: dict[str, Any] = {}
        self._children: dict[str, str] = {}
        self._stamps: dict[str, str] = {}
        self._withheld: dict[str, str] = {}

    def record(self) -> Record:
        ask, company, zone, parts = self._ask, self._company, self._shape.zone, 0
        if company is not None:
            self._native |= self._shape.company(company)
            self._stamps["company"] = company.stamp(COMPANY)
            parts |= BIT["company"]
        for part in PRIMARY:
            by_tick = part == TICKED.part and self._shape.address_type
            shown = self._add_ticked() if by_tick else self._add_primary(part)
            parts |= BIT[part] if shown else 0
        for of in LINKED:
            if ask.parts & BIT[of.part]:
                self._add_linked(of)
                parts |= BIT[of.part]
        created = company.created_at(COMPANY, zone) if company else None
        changed = company.changed_at(COMPANY, zone) if company else None
        found = (self._native, self._children, parts, created, changed, self._withheld, self._stamps)
        return Record(ask.key, ask.key, *found)

    def _add_child(self, part: str, table: Table, row: Row | None, kind: str = "") -> None:
        self._native |= self._shape.child(part, row, kind)
        self._stamps[f"{part}@{kind}" if kind else part] = row.stamp(table) if row else ""

    def _add_primary(self, part: str) -> bool:
        ask, known = self._ask, self._known
        key = known.primary(part, ask)
        if key is None or not known.shows(part, key, ask):
            if key is not None and self._company is not None:
                self._children[part] = key
            return False
        row = known.rows[part].get(key) if key else None
        if key and row is None and part == "person":
            # documented: a security profile hides persons by territory, so an unseen one is unknown, not empty
            return False
        self._children[part] = key if row else ""
        self._add_child(part, PRIMARY[part][0], row)
        return True

    def _add_ticked(self) -> bool:
        """GUMU-12: the address that is ticked; of several the primary one. Else it is unknown, and why is said (E8)."""
        part, company = TICKED.part, self._company
        named = self._shape.primaries(company).get(self._shape.primary_name(part)) if company else None
        if named is not None:
            self._children[self._shape.primary_name(part)] = named
        ties = self._known.ties[part].get(self._ask.key)
        if ties is None:
            return False
        rows = self._known.rows[part]
        live = [key for key in ticked(self._shape, ties) if rows.get(key)]
        shown = named if named in live else live[0] if len(live) == 1 else ""
        self._children[part] = shown
        if shown or (named == "" and not ties):
            self._add_child(part, TICKED.table, rows.get(shown))
        else:
            self._withheld[part] = SEVERAL_TICKED if live else NONE_TICKED
        return True

    def _add_linked(self, of: Linked) -> None:
        ask, rows, ties = self._ask, self._known.rows[of.part], self._known.ties[of.part].get(self._ask.key)
        for kind in self._shape.types[of.part]:
            name = f"{of.part}@{kind}"
            if ties is None and not ask.children.get(name):
                self._children[name] = ""  # as it was known; not looked at, so not said to be empty (E8)
                continue
            if ties is None:
                candidates = [ask.children[name]]
            else:
                candidates = [tie.child for tie in ties if tie.kind == kind.casefold()]
            key = next((child for child in candidates if rows.get(child)), "")
            self._children[name] = key
            self._add_child(of.part, of.table, rows.get(key), kind)

"""Finding companies that might be the one we look for: few reads for all criteria together, exact tests locally."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mappings.codecs import collapse, email_key, fold
from mappings.names import search_names, stems
from sync_worker.connectors.base import Criteria, Record
from sync_worker.connectors.evidence import MOST, Marked, marks, same_name, same_tax, same_text, tax_forms
from sync_worker.connectors.fanout import Fanout
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.settings import SageCrmSettings
from sync_worker.connectors.sage_crm.tables import BIT, COMPANY, EMAIL, Row, Shape
from sync_worker.errors import Rejected

_SIMILAR = 100  # rows looked at, per name, that only begin alike
_RESOLUTION = 1.0  # seconds: native dates carry no fraction
_NAME = "Comp_Name"
EMAIL_COLUMN = "Emai_EmailAddress"


class Finder:
    """Searches companies. Thread-safe."""

    def __init__(self, rest: Rest, shape: Shape, fanout: Fanout, settings: SageCrmSettings) -> None:
        self._rest = rest
        self._shape = shape
        self._fanout = fanout
        self._columns = settings.columns
        self._erp_company = fold(collapse(settings.erp_company))
        self._shared = settings.shared

    def find(self, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Per criteria the companies that match any of its parts, best evidence first, at most 20."""
        jobs: list[Callable[[], list[Row]]] = [
            lambda: self._by_column("erp_key", [c.correlation for c in criteria], optional=False),
            lambda: self._by_column("erp_ref", [c.ref for c in criteria]),
            lambda: self._by_column("tax_number", [form for c in criteria for form in tax_forms(c.tax_number)]),
            lambda: self._by_name(criteria),
        ]
        *by_column, by_email = self._fanout.run([*jobs, lambda: self._by_email(criteria)])
        rows = {row.key(COMPANY): row for found in (*by_column, by_email) for row in found}
        rows = {key: row for key, row in rows.items() if where.is_id(key)}
        records = {key: self._record(row) for key, row in rows.items()}
        marked = Marked()
        for key, row in rows.items():
            ids = self._own(row, "erp_key"), self._own(row, "erp_ref"), self._own(row, "tax_number")
            marked.add(key, marks(*ids, self._emails(row), str(row.cell(_NAME) or "")))
        return [self._matching(one, marked, rows, records) for one in criteria]

    def named_key(self, record: Record) -> str | None:
        """The ERP key that a company names in its key column, if that speaks about our ERP company."""
        row = Row(record.native)
        return (self._own(row, "erp_key").strip() or None) if self._ours(row) else None

    # --- reads -------------------------------------------------------------------------------------------------------

    def _by_column(self, name: str, values: Iterable[str | None], *, optional: bool = True) -> list[Row]:
        """Companies by one of the installation's own columns.

        ``optional``: a column that the vendor does not have matches nobody, and is doctor's to report. The key
        column is not: without it a search before a create would wrongly find nothing.
        """
        column, wanted = self._columns.get(name), [value for value in values if value]
        if not column or not wanted:
            return []
        try:
            return self._rest.rows(COMPANY, where.lists(column, map(where.text, wanted)), most=len(wanted) * MOST)
        except Rejected:
            if optional:
                return []
            raise

    def _by_name(self, criteria: Sequence[Criteria]) -> list[Row]:
        """Companies whose names begin alike, whatever their spelling; by their exact names where that may not do."""
        named = [(c.name, stems(c.name) if c.created_since is None else ()) for c in criteria if c.name]
        most = len(named) * _SIMILAR
        found = self._rest.rows(COMPANY, where.patterns(_NAME, [pieces for _, pieces in named]), most=most)
        crowded = len(found) >= most  # so many begin alike that the very name may be among those not shown
        exact = [form for name, pieces in named if crowded or not pieces for form in search_names(name)]
        return found + self._rest.rows(COMPANY, where.lists(_NAME, map(where.text, exact)), most=len(exact) * _SIMILAR)

    def _by_email(self, criteria: Sequence[Criteria]) -> list[Row]:
        """E-mail -> link -> company; the address found travels along as the company's own column."""
        wanted = [where.text(c.email.strip()) for c in criteria if c.email and c.email.strip()]
        emails = {row.key(EMAIL.table): row for row in self._rest.rows(EMAIL.table, where.lists(EMAIL_COLUMN, wanted))}
        links = self._rest.links(EMAIL, EMAIL.child, emails)
        kinds = {kind.casefold(): kind for kind in self._shape.types["email"]}
        shown: dict[str, dict[str, Any]] = {}
        for link in links:
            kind = kinds.get(EMAIL.kind_of(link))
            email = emails.get(link.id(EMAIL.child))
            if kind is not None and email is not None:
                shown[link.id(EMAIL.company)] = self._shape.child("email", email, kind)
        companies = self._rest.rows(COMPANY, where.id_lists(COMPANY.key, shown))
        return [Row({**row.raw, **shown[row.key(COMPANY)]}) for row in companies if row.key(COMPANY) in shown]

    # --- tests -------------------------------------------------------------------------------------------------------

    def _matching(
        self, one: Criteria, marked: Marked, rows: dict[str, Row], records: dict[str, Record]
    ) -> list[Record]:
        ranked = []
        for key in marked.sharing(marks(one.correlation, one.ref, one.tax_number, [one.email], one.name)):
            strength = self._strength(one, rows[key])
            born = records[key].created_at
            if strength and (one.created_since is None or born is None or born >= one.created_since - _RESOLUTION):
                ranked.append((-strength, where.as_number(key), key))
        return [records[key] for _, _, key in sorted(ranked)[:MOST]]

    def _strength(self, one: Criteria, row: Row) -> int:
        """0 = matches nothing asked for; higher = stronger evidence."""
        if self._ours(row) and same_text(one.correlation, self._own(row, "erp_key")):
            return 5
        if self._ours(row) and same_text(one.ref, self._own(row, "erp_ref")):
            return 4
        if same_tax(one.tax_number, self._own(row, "tax_number")):
            return 3
        if one.email and email_key(one.email) in map(email_key, self._emails(row)):
            return 2
        name = str(row.cell(_NAME) or "")
        return 1 if same_name(one.name, name) else 0

    def _emails(self, row: Row) -> list[str]:
        return [str(row.cell(f"{EMAIL_COLUMN}@{kind}") or "") for kind in self._shape.types["email"]]

    def _own(self, row: Row, name: str) -> str:
        column = self._columns.get(name)
        value = row.cell(column) if column else None
        return "" if value is None else str(value)

    def _ours(self, row: Row) -> bool:
        """Do its key columns speak about our ERP company? Where it is the only one, no company named means ours."""
        named = fold(collapse(self._own(row, "erp_company")))
        if not named:
            return not self._shared
        return not self._erp_company or named == self._erp_company

    def _record(self, row: Row) -> Record:
        key, zone = row.key(COMPANY), self._shape.zone
        return Record(
            key,
            key,
            self._shape.company(row),
            self._shape.primaries(row),
            BIT["company"],
            row.created_at(COMPANY, zone),
            row.changed_at(COMPANY, zone),
        )

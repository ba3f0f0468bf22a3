"""Finding companies that might be the one we look for: few reads for all criteria together, exact tests locally."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to look for: values by the installation's own columns, the key column first; names with their pieces."""

    columns: dict[str, list[str]]
    names: list[tuple[str, tuple[str, ...]]]

    @classmethod
    def of(cls, criteria: Sequence[Criteria]) -> _Asked:
        columns = {
            "erp_key": [c.correlation for c in criteria if c.correlation],
            "erp_ref": [c.ref for c in criteria if c.ref],
            "tax_number": [form for c in criteria for form in tax_forms(c.tax_number) if form],
        }
        return cls(columns, [(c.name, stems(c.name) if c.created_since is None else ()) for c in criteria if c.name])


class Finder:
    """Searches companies. Thread-safe; remembers whether the server takes questions about several columns at once."""

    def __init__(self, rest: Rest, shape: Shape, fanout: Fanout, settings: SageCrmSettings) -> None:
        self._rest = rest
        self._shape = shape
        self._fanout = fanout
        self._columns = settings.columns
        self._erp_company = fold(collapse(settings.erp_company))
        self._shared = settings.shared
        self._together = True

    def find(self, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Per criteria the companies that match any of its parts, best evidence first, at most 20."""
        by_company, by_email = self._fanout.run([lambda: self._by_company(criteria), lambda: self._by_email(criteria)])
        rows = {row.key(COMPANY): row for row in (*by_company, *by_email)}
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

    def _by_company(self, criteria: Sequence[Criteria]) -> list[Row]:
        """All that companies say themselves, in as few reads as addresses allow; apart where that does not do."""
        if self._together:
            asked = _Asked.of(criteria)
            terms = [t for n, values in asked.columns.items() for t in self._among(n, values)]
            most = sum(map(len, asked.columns.values())) * MOST + len(asked.names) * _SIMILAR
            wheres = where.either([*terms, *where.alike(_NAME, (pieces for _, pieces in asked.names))])
            try:
                found = self._rest.rows(COMPANY, wheres, most=most)
            except Rejected:
                self._together = False  # a column is missing, or the server takes no such mixture
            else:
                if len(found) < most:
                    return found + self._named_exactly([name for name, pieces in asked.names if not pieces])
        return self._apart(_Asked.of(criteria))

    def _apart(self, asked: _Asked) -> list[Row]:
        """Column by column. The key column is a must: without it a search before a create would wrongly find nothing.

        Another that the vendor does not have matches nobody, and is doctor's to report.
        """
        found: list[Row] = []
        for name, values in asked.columns.items():
            wheres = where.either(self._among(name, values))
            try:
                found += self._rest.rows(COMPANY, wheres, most=len(values) * MOST)
            except Rejected:
                if name == "erp_key":
                    raise
        return found + self._by_name(asked)

    def _among(self, name: str, values: Iterable[str]) -> Iterable[where.Term]:
        """By one of the installation's own columns; nothing where it has none."""
        column = self._columns.get(name)
        return where.among(column, map(where.text, values)) if column else ()

    def _by_name(self, asked: _Asked) -> list[Row]:
        """Companies whose names begin alike, whatever their spelling; by their exact names where that may not do."""
        most = len(asked.names) * _SIMILAR
        wheres = where.either(where.alike(_NAME, (pieces for _, pieces in asked.names)))
        found = self._rest.rows(COMPANY, wheres, most=most)
        crowded = len(found) >= most  # so many begin alike that the very name may be among those not shown
        return found + self._named_exactly([name for name, pieces in asked.names if crowded or not pieces])

    def _named_exactly(self, names: Iterable[str]) -> list[Row]:
        exact = [form for name in names for form in search_names(name)]
        return self._rest.rows(COMPANY, where.lists(_NAME, map(where.text, exact)), most=len(exact) * _SIMILAR)

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

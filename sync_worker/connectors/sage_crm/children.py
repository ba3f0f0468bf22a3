"""Writing child rows: change the one that is shown, find a lost one on its company, only then create it (E18).

Order of creation as observed in server-side code: the row, its link to the company, and last the company's pointer
to its primary person and address. Nothing is ever deleted: clearing empties the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_worker.connectors.base import Record
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.known import LINKED
from sync_worker.connectors.sage_crm.reading import Reader
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.tables import (
    ADDRESS,
    ADDRESS_LINK,
    COMPANY,
    PERSON,
    PERSON_LINK,
    PRIMARY,
    TICKED,
    Linked,
    Row,
    Shape,
    Table,
    part_of,
)
from sync_worker.errors import NotFound, Rejected

Cells = dict[str, Any]
_MOST_ALIKE = 100  # rows of the same number or address that are looked at
ADDRESS_TYPE = "Business"  # of a new address, where the installation names none
_LINKED = {of.part: of for of in LINKED}


@dataclass
class Groups:
    """A write's columns by the row they belong to: ``company``, ``person``, ``address``, ``phone@Business``, …"""

    company: Cells = field(default_factory=dict)
    children: dict[str, Cells] = field(default_factory=dict)


def grouped(columns: Mapping[str, Any]) -> Groups:
    """Split native columns by row; the type stays in the group's name and leaves the columns."""
    groups = Groups()
    for column, value in columns.items():
        base, _, kind = column.partition("@")
        part = part_of(base)
        if part == "company":
            groups.company[column] = value
        else:
            groups.children.setdefault(f"{part}@{kind}" if kind else part, {})[base] = value
    return groups


def filled(cells: Mapping[str, Any]) -> Cells:
    """Only what holds a value: a new row needs no nulls."""
    return {column: value for column, value in cells.items() if value not in (None, "")}


@dataclass
class Progress:
    """What one write has achieved so far; becomes its outcome."""

    stored: Cells = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)
    primary: Cells = field(default_factory=dict)  # columns of Company to set at the end

    def note(self, name: str, cells: Mapping[str, Any], row: Row) -> None:
        """Take over what the answer shows of the written columns."""
        kind = name.partition("@")[2]
        for column in cells:
            if row.has(column):
                self.stored[f"{column}@{kind}" if kind else column] = row.cell(column)

    def forget_unshown(self) -> None:
        """A row that was made, but that the company does not point to yet, counts as not written."""
        unshown = {part for part, (_, column) in PRIMARY.items() if column in self.primary}
        self.stored = {c: value for c, value in self.stored.items() if part_of(c.partition("@")[0]) not in unshown}
        self.children = {name: key for name, key in self.children.items() if name not in unshown}


class ChildWriter:
    """Writes one company's child rows. Thread-safe; all state is in ``Progress``."""

    def __init__(self, rest: Rest, shape: Shape, reader: Reader, address_type: str) -> None:
        self._rest = rest
        self._shape = shape
        self._reader = reader
        self._address_type = address_type

    def write(
        self,
        company: str,
        name: str,
        cells: Cells,
        baseline: Record,
        done: Progress,
        *,
        new_person: bool = False,
        repeated: bool = False,
    ) -> None:
        """Make child ``name`` of a company hold ``cells``. Raises SyncError; a refused column carries its type.

        ``repeated``: an earlier try may have made the row and ended before it was tied to the company (E18).
        """
        part, _, kind = name.partition("@")
        try:
            if part in _LINKED:
                self._write_linked(_LINKED[part], kind, company, cells, baseline, done, repeated=repeated)
            elif new_person and part == "person" and (somebody := _somebody(cells, baseline)):
                self._write_new(part, company, somebody, done)
            else:
                self._write_primary(part, company, cells, baseline, done)
        except Rejected as error:
            names = {column.lower(): column for column in cells}
            column = names.get((error.column or "").lower(), error.column)
            error.column = f"{column}@{kind}" if column and kind else column
            raise

    def finish(self, company: str, done: Progress) -> None:
        """Point the company to the primary person and address that were found or made."""
        if done.primary:
            self._rest.update(COMPANY, company, done.primary)

    # --- person and address ------------------------------------------------------------------------------------------

    def _write_primary(self, part: str, company: str, cells: Cells, baseline: Record, done: Progress) -> None:
        if self._change(PRIMARY[part][0], part, part, baseline.children.get(part, ""), cells, done):
            return
        whole = self._whole(part, cells, baseline)
        if filled(whole):
            self._write_new(part, company, whole, done)
        else:
            done.stored |= dict.fromkeys(cells)

    def _write_new(self, part: str, company: str, cells: Cells, done: Progress) -> None:
        """Find the row on its company, or make it, and have it become the primary one."""
        find, make = {
            "person": (self._find_person, self._make_person),
            "address": (self._find_address, self._make_address),
        }[part]
        row = find(company, cells)
        table, column = PRIMARY[part]
        if row is None:
            row = make(company, filled(cells), done)
        elif other := {c: value for c, value in cells.items() if _fold(row.cell(c)) != _fold(value)}:
            row = Row({**row.raw, **self._rest.update(table, row.key(table), other).raw})
        key = row.key(table)
        done.note(part, cells, row)
        done.children[part] = key
        done.primary[column] = int(key)

    def _find_person(self, company: str, cells: Cells) -> Row | None:
        """A live person of that first and last name; the last name is asked for, both are compared."""
        first, last = (cells.get(column) or "" for column in ("Pers_FirstName", "Pers_LastName"))
        asked, value = ("pers_lastname", last) if last else ("pers_firstname", first)
        predicate = f"{where.equals('pers_companyid', company)} and {where.equals(asked, where.text(value))}"
        wanted = (_fold(first), _fold(last))
        for row in self._rest.rows(PERSON, [predicate]):
            names = _fold(row.cell("Pers_FirstName")), _fold(row.cell("Pers_LastName"))
            if names == wanted and where.is_id(row.key(PERSON)):
                return row
        return None

    def _make_person(self, company: str, cells: Cells, done: Progress) -> Row:
        row = self._rest.create(PERSON, {**cells, "Pers_CompanyId": int(company)})
        self._rest.create(PERSON_LINK, {"PeLi_PersonId": int(row.key(PERSON)), "PeLi_CompanyID": int(company)})
        return row

    def _find_address(self, company: str, cells: Cells) -> Row | None:
        """An address of the company that already says exactly this."""
        keys = {tie.child for tie in self._reader.ties(TICKED, [company])[company]}
        for row in self._rest.rows(ADDRESS, where.id_lists(ADDRESS.key, sorted(keys, key=int))):
            same = all(_fold(row.cell(column)) == _fold(value) for column, value in cells.items())
            if same and where.is_id(row.key(ADDRESS)):
                return row
        return None

    def _make_address(self, company: str, cells: Cells, done: Progress) -> Row:
        row = self._rest.create(ADDRESS, cells)
        key = int(row.key(ADDRESS))
        link = {"AdLi_AddressId": key, "AdLi_Type": self._address_type}
        self._rest.create(ADDRESS_LINK, {**link, "AdLi_CompanyID": int(company)})
        person = done.children.get("person")
        if person:  # made or chosen in this write: it has no address of its own yet
            self._rest.create(ADDRESS_LINK, {**link, "AdLi_PersonID": int(person)})
            self._rest.update(PERSON, person, {"Pers_PrimaryAddressId": key})
        return row

    # --- phones and e-mails ------------------------------------------------------------------------------------------

    def _write_linked(
        self,
        of: Linked,
        kind: str,
        company: str,
        cells: Cells,
        baseline: Record,
        done: Progress,
        *,
        repeated: bool,
    ) -> None:
        name = f"{of.part}@{kind}"
        known = baseline.children.get(name, "")
        if self._change(of.table, of.part, name, known, cells, done):
            return
        whole = self._whole(name, cells, baseline)
        if not filled(whole):
            done.stored |= {f"{column}@{kind}": None for column in cells}
            return
        for tie in self._reader.ties(of, [company])[company]:
            same_kind = tie.kind == kind.casefold() and tie.child != known
            if same_kind and self._change(of.table, of.part, name, tie.child, whole, done):
                return
        row = (self._untied(of, filled(whole)) if repeated else None) or self._rest.create(of.table, filled(whole))
        key = row.key(of.table)
        self._rest.create(
            of.link,
            {
                **of.of_companies,
                of.company: int(company),
                of.child: int(key),
                of.link_column("Type"): kind,
            },
        )
        done.note(name, whole, row)
        done.children[name] = key

    def _untied(self, of: Linked, cells: Cells) -> Row | None:
        """The oldest row that says exactly this and belongs to nobody, of any entity: what a cut-off try left."""
        column = "Phon_Number" if "Phon_Number" in cells else next(iter(cells))
        asked = where.equals(column, where.text(str(cells[column])))
        rows = {
            row.key(of.table): row
            for row in self._rest.rows(of.table, [asked], most=_MOST_ALIKE)
            if all(_fold(row.cell(c)) == _fold(value) for c, value in cells.items())
        }
        tied = {row.id(of.child) for row in self._rest.rows(of.link, where.id_lists(of.child, rows))}
        return rows[min(rows.keys() - tied, key=int)] if rows.keys() - tied else None

    # --- shared ------------------------------------------------------------------------------------------------------

    def _change(self, table: Table, part: str, name: str, key: str, cells: Cells, done: Progress) -> bool:
        """Update a row by its id; False when there is none (any more)."""
        if not where.is_id(key):
            return False
        try:
            row = self._rest.update(table, key, cells)
        except NotFound:
            return False  # the child is gone, not the company
        done.note(name, cells, row)
        done.children[name] = key
        return True

    def _whole(self, name: str, cells: Cells, baseline: Record) -> Cells:
        """All columns of a child that has to be made anew: what is written over what it held."""
        part, _, kind = name.partition("@")
        tail = f"@{kind}" if kind else ""
        held = {c: baseline.native.get(f"{c}{tail}") for c in self._shape.children[part]}
        return {**held, **cells}


def _somebody(cells: Cells, baseline: Record) -> Cells:
    """Who the contact becomes: the new name, completed from the old one. Empty when it becomes nobody."""
    names = {c: cells.get(c, baseline.native.get(c)) for c in ("Pers_FirstName", "Pers_LastName")}
    return {**cells, **names} if filled(names) else {}


def _fold(value: Any) -> str:
    return str(value or "").strip().casefold()

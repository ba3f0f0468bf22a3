"""Writing customers: updates table by table, creates in one nested POST where that is taken, else step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_worker.connectors.base import Outcome, Record, Write
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.children import ADDRESS_TYPE, Cells, ChildWriter, Groups, Progress, filled, grouped
from sync_worker.connectors.sage_crm.reading import Reader
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.settings import SageCrmSettings
from sync_worker.connectors.sage_crm.tables import COMPANY, PRIMARY, Row, Shape
from sync_worker.errors import NotFound, Rejected, SyncError

# as they stand in the one observed nested create
_NESTED_NAME = {"person": "person", "address": "Address", "email": "email", "phone": "phone"}
_ORDER = ("person", "address", "phone", "email")  # link order: the address is also tied to the person


class Writer:
    """Performs single writes. Thread-safe; remembers whether nested creates work here."""

    def __init__(self, rest: Rest, shape: Shape, reader: Reader, settings: SageCrmSettings) -> None:
        self._rest = rest
        self._reader = reader
        self._erp_key = settings.columns.get("erp_key")
        self._address_type = settings.address_type or ADDRESS_TYPE
        self._children = ChildWriter(rest, shape, reader, self._address_type)
        self._nested = True

    def write(self, write: Write) -> Outcome:
        """One write; vendor errors become its outcome."""
        groups = grouped(write.columns)
        if write.key is None:
            return self._create(groups)
        done = Progress()
        try:
            if not where.is_id(write.key):
                raise NotFound("not a company's id")
            if groups.company:
                done.note("", groups.company, self._rest.update(COMPANY, write.key, groups.company))
        except SyncError as error:
            return Outcome(key=write.key, error=error)
        baseline = write.baseline or Record(write.key, write.key, {})
        failure = self._write_children(
            write.key, groups, baseline, done, new_person=write.new_person, repeated=write.repeated
        )
        return Outcome(write.key, write.key, done.stored, done.children, failure)

    def _write_children(
        self,
        company: str,
        groups: Groups,
        baseline: Record,
        done: Progress,
        *,
        new_person: bool = False,
        repeated: bool = False,
    ) -> SyncError | None:
        """All child rows; a refused one does not hold up the others, any other error ends the write."""
        refused: SyncError | None = None
        try:
            for name in sorted(groups.children, key=lambda n: _ORDER.index(n.partition("@")[0])):
                try:
                    cells = groups.children[name]
                    self._children.write(company, name, cells, baseline, done, new_person=new_person, repeated=repeated)
                except Rejected as error:
                    refused = refused or error
            self._children.finish(company, done)
        except SyncError as error:
            done.forget_unshown()
            return error
        return refused

    # --- creates -----------------------------------------------------------------------------------------------------

    def _create(self, groups: Groups) -> Outcome:
        company = filled(groups.company)
        children = {name: filled(cells) for name, cells in groups.children.items() if filled(cells)}
        wanted = Groups(company, children)
        # only a primary row shows in the answer whether nested rows were taken: without one they are written singly
        nested = self._nested and any(part in children for part in PRIMARY)
        if nested:
            outcome = self._create_nested(wanted)
            if outcome is not None:
                return outcome
        try:
            row = (self._existing(company) if nested else None) or self._rest.create(COMPANY, company)
        except SyncError as error:
            return Outcome(error=error)
        outcome = self._fill(wanted, row)
        if nested and outcome.error is None:
            self._nested = False  # the same values went through one by one: it was the form that was refused
        return outcome

    def _create_nested(self, wanted: Groups) -> Outcome | None:
        """One POST with everything; None when the server refuses the form of it, so that nothing was made."""
        body: dict[str, Any] = dict(wanted.company)
        for name, cells in wanted.children.items():
            part, _, kind = name.partition("@")
            child = {**({"$isDefault": True} if part in PRIMARY else {}), **_type(part, kind, self._address_type)}
            body.setdefault(_NESTED_NAME[part], []).append({**child, **cells})
        try:
            row = self._rest.create(COMPANY, body)
        except Rejected as error:
            if _about_a_value(error, wanted):
                return Outcome(error=_with_type(error, wanted))
            return None
        except SyncError as error:
            return Outcome(error=error)
        return self._nested_outcome(wanted, row)

    def _nested_outcome(self, wanted: Groups, row: Row) -> Outcome:
        """Which children were made: primary ones stand in the answer; the read that follows shows the others."""
        key = row.key(COMPANY)
        done = Progress()
        try:
            if not all(row.has(PRIMARY[part][1]) for part in PRIMARY if part in wanted.children):
                row = self._reader.by_id(COMPANY, [key])[key] or row
            for part, (_, column) in PRIMARY.items():
                child = row.id(column)
                if part in wanted.children and row.has(column) and (not child or where.is_id(child)):
                    done.children[part] = child
            if any(child == "" for child in done.children.values()):
                self._nested = False  # taken without a word and not done
                return self._fill(wanted, row)
        except SyncError as error:
            return Outcome(key, key, done.stored, done.children, error)
        done.note("", wanted.company, row)
        return Outcome(key, key, done.stored, done.children)

    def _fill(self, wanted: Groups, row: Row) -> Outcome:
        """A company without its children: add them one by one."""
        key, done = row.key(COMPANY), Progress()
        done.note("", wanted.company, row)
        error = self._write_children(key, wanted, Record(key, key, {}), done)
        return Outcome(key, key, done.stored, done.children, error)

    def _existing(self, company: Mapping[str, Any]) -> Row | None:
        """What a refused nested create may have left behind, by the key column."""
        column = self._erp_key
        value = next((v for name, v in company.items() if column and name.lower() == column.lower()), None)
        if column is None or value is None:
            return None
        rows = self._rest.rows(COMPANY, [where.equals(column, where.text(str(value)))], most=1)
        return rows[0] if rows else None


def _type(part: str, kind: str, address_type: str) -> Cells:
    kind = address_type if part == "address" else kind
    return {"$type": kind} if kind else {}


def _about_a_value(error: Rejected, wanted: Groups) -> bool:
    """Does the refusal name a column that we sent? Else it may be the nested form that is not taken."""
    named = (error.column or "").lower()
    sent = [wanted.company, *wanted.children.values()]
    return any(named == column.lower() for cells in sent for column in cells)


def _with_type(error: Rejected, wanted: Groups) -> Rejected:
    """The refused column with its type, as the mapping knows it; the first type that sent it."""
    for name, cells in wanted.children.items():
        kind = name.partition("@")[2]
        for column in cells:
            if kind and column.lower() == (error.column or "").lower():
                error.column = f"{column}@{kind}"
                return error
    return error

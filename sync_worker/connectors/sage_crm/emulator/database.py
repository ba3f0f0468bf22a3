"""Writes: what is refused, what a table script makes of a value, what a nested create consists of.

Every write is checked as a whole before anything is stored, so a refusal leaves nothing behind. Our assumption:
foreign keys must exist (Sage CRM may be laxer; a client should not rely on it), a deleted phone keeps its link rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sync_worker.connectors.emulation import Actor, ValueRefused, WriteOp
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.schema import (
    COMPANY_ENTITY,
    PERSON_ENTITY,
    ColumnType,
    Row,
    TableSpec,
)
from sync_worker.connectors.sage_crm.emulator.store import Table


class Refused(Exception):
    """The server does not accept a write. ``column``: the one it is about, where there is one."""

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


@dataclass(frozen=True, slots=True)
class Hand:
    """Who writes, when (seconds since 1970), and under which switches."""

    actor: Actor
    user: int
    now: float
    rules: SageCrmFaults

    @property
    def stamp(self) -> str:
        return iso(int(self.now))

    @property
    def bumps(self) -> bool:
        """Observed: an API write often leaves the updated date as it was; a person's edit always moves it."""
        return self.actor == "person" or self.rules.bump_updated_on_api_write


@dataclass(frozen=True, slots=True)
class Written:
    """One applied write, with the written columns before and after."""

    table: str
    key: int
    op: WriteOp
    before: Row
    after: Row


@dataclass(slots=True)
class Draft:
    """A checked row to insert. ``linked``: columns to fill with the key that another draft (by position) receives."""

    table: str
    columns: Row
    linked: dict[str, int] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def iso(second: int) -> str:
    """Seconds since 1970 as the server shows them: UTC, whole seconds, ``Z`` (observed)."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _date(value: str) -> str:
    moment = datetime.fromisoformat(value)
    return iso(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def coerce(column: str, kind: ColumnType, value: Any) -> Any:
    """A JSON value as the column stores it. Raises ``Refused`` where it cannot be converted."""
    if value is None or (value == "" and kind != "str"):
        return None
    try:
        if kind == "int" and not isinstance(value, bool | float):
            return int(value)
        if kind == "str" and isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        if kind == "bool":
            return {"true": True, "y": True, "false": False, "n": False}[str(value).lower()]
        if kind == "date":
            return _date(value)
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"Invalid value for {column}", column) from error
    raise Refused(f"Invalid value for {column}", column)


def full_number(row: Mapping[str, Any]) -> str | None:
    """Documented as computed: our assumption is the parts joined by blanks."""
    parts = (row.get("Phon_CountryCode"), row.get("Phon_AreaCode"), row.get("Phon_Number"))
    return " ".join(str(part) for part in parts if part) or None


def scripted(row: Row, rules: SageCrmFaults) -> Row:
    """What column widths and a table-level script make of the written values. Raises ``Refused``."""
    if not rules.touches_values:
        return row
    try:
        return {column: rules.store(column, value) for column, value in row.items()}
    except ValueRefused as error:
        raise Refused(f"Validation failed: {error.reason}", error.column) from error


class Database:
    """The tables and the writes on them. Not thread-safe: its owner holds the lock.

    ``retire(table, key, old row)`` is told each version that a write replaces.
    """

    def __init__(self, specs: Mapping[str, TableSpec], retire: Callable[[str, str, Row | None], None]) -> None:
        self.retire = retire
        self.tables = {name: Table(spec) for name, spec in specs.items()}
        self.by_lower = {name.lower(): table for name, table in self.tables.items()}

    def check(self, table: Table, body: Mapping[str, Any], hand: Hand, *, creating: bool) -> Row:
        """The columns of a body in the database's spelling and types. Raises ``Refused``; ``$`` names are notes."""
        spec, out = table.spec, {}
        for name, value in body.items():
            if name.startswith("$"):
                continue
            column = spec.spelled(name)
            if column is None:
                raise Refused(f"Invalid column name {name[:60]}", name[:60])
            if column in spec.read_only:
                raise Refused(f"Column {column} is read-only", column)
            out[column] = coerce(column, spec.columns[column], value)
        for column in spec.required:
            if (creating or column in out) and out.get(column) in (None, ""):
                raise Refused(f"{column} is required", column)
        self._check_parents(spec, out)
        scripted(out, hand.rules)
        return out

    def _check_parents(self, spec: TableSpec, row: Row) -> None:
        parents = dict(spec.parents)
        entity = f"{spec.prefix}_EntityID"
        if entity in row:
            owner = {COMPANY_ENTITY: "Company", PERSON_ENTITY: "Person"}.get(row[entity])
            if owner is None:
                raise Refused(f"Invalid value for {entity}", entity)
            parents[f"{spec.prefix}_RecordID"] = owner
        for column, parent in parents.items():
            if row.get(column) is not None and self.tables[parent].live(row[column]) is None:
                raise Refused(f"{column} names no {parent}", column)

    def drafts(self, table: Table, body: Mapping[str, Any], hand: Hand) -> list[Draft]:
        """The rows a POST body asks for, all checked; the first is the record itself. Raises ``Refused``."""
        nested = table.spec.name == "Company" and (hand.rules.nested_create or hand.actor == "person")
        own = {n: v for n, v in body.items() if not (nested and n.lower() in _CHILDREN and isinstance(v, dict | list))}
        main = Draft(table.spec.name, self.check(table, own, hand, creating=True))
        out = [main]
        for name, value in body.items():
            if name not in own:
                for child in value if isinstance(value, list) else [value]:
                    self._draft_child(name.lower(), child, main, out, hand)
        return out

    def _draft_child(self, kind: str, child: Any, main: Draft, out: list[Draft], hand: Hand) -> None:
        if not isinstance(child, dict):
            raise Refused(f"Invalid value for {kind}", kind)
        table, link, link_column, owner, primary = _CHILDREN[kind]
        row = Draft(table, self.check(self.tables[table], child, hand, creating=True))
        position = len(out)
        if table == "Person":
            row.linked["Pers_CompanyId"] = 0
        out.append(row)
        fixed: Row = {owner[0]: owner[1]} if owner[1] is not None else {}
        record = owner[0] if owner[1] is None else owner[0].replace("EntityID", "RecordID")
        prefix = self.tables[link].spec.prefix
        kind_of_link = child.get("$type")
        if kind_of_link is not None:
            fixed[f"{prefix}_Type"] = str(kind_of_link)
        out.append(Draft(link, fixed, {link_column: position, record: 0}))
        if primary and child.get("$isDefault") is True:
            main.linked[primary] = position

    def insert(self, drafts: Sequence[Draft], hand: Hand) -> list[Written]:
        """Store checked drafts in order and tell each write; cannot fail."""
        written: list[Written] = []
        keys = [self.tables[draft.table].new_key() for draft in drafts]
        for key, draft in zip(keys, drafts, strict=True):
            table = self.tables[draft.table]
            sent = {**draft.columns, **{column: keys[position] for column, position in draft.linked.items()}}
            stored = scripted(sent, hand.rules)
            spec, audit = table.spec, f"{table.spec.prefix}_"
            row = {spec.key: key, **spec.defaults, **stored}
            row |= {f"{audit}CreatedBy": hand.user, f"{audit}UpdatedBy": hand.user}
            row |= dict.fromkeys((spec.created_date, spec.updated_date, f"{audit}TimeStamp"), hand.stamp)
            self._save(table, key, _finished(spec, row))
            written.append(Written(spec.name, key, "create", {}, {**spec.defaults, **stored}))
        return written

    def update(self, table: Table, key: int, columns: Row, hand: Hand) -> Written:
        """Merge checked columns into a live row."""
        old = table.rows[key]
        stored = scripted(columns, hand.rules)
        self._save(table, key, _finished(table.spec, {**old, **stored, **_bump(table.spec, hand)}))
        return Written(table.spec.name, key, "update", {c: old.get(c) for c in stored}, stored)

    def delete(self, table: Table, key: int, hand: Hand) -> Written:
        """Observed: a delete is soft; the row stays with its ``Deleted`` column at 1."""
        old, column = table.rows[key], table.spec.deleted
        self._save(table, key, {**old, column: 1, **_bump(table.spec, hand)})
        return Written(table.spec.name, key, "delete", {column: None}, {column: 1})

    def _save(self, table: Table, key: int, row: Row) -> None:
        self.retire(table.spec.name, str(key), table.live(key))
        table.save(key, row)


def _bump(spec: TableSpec, hand: Hand) -> Row:
    if not hand.bumps:
        return {}
    prefix = spec.prefix
    return {spec.updated_date: hand.stamp, f"{prefix}_TimeStamp": hand.stamp, f"{prefix}_UpdatedBy": hand.user}


def _finished(spec: TableSpec, row: Row) -> Row:
    if spec.name == "Phone":
        row["Phon_FullNumber"] = full_number(row)
    return {column: value for column, value in row.items() if value is not None}


# child property of a nested Company create -> table, link table, its column for the child, its owner column (and the
# entity id that goes with it), the company's column for the default child
_CHILDREN: Mapping[str, tuple[str, str, str, tuple[str, int | None], str | None]] = {
    "person": ("Person", "Person_Link", "PeLi_PersonId", ("PeLi_CompanyID", None), "Comp_PrimaryPersonId"),
    "address": ("Address", "Address_Link", "AdLi_AddressId", ("AdLi_CompanyID", None), "Comp_PrimaryAddressId"),
    "phone": ("Phone", "PhoneLink", "PLink_PhoneId", ("PLink_EntityID", COMPANY_ENTITY), None),
    "email": ("Email", "EmailLink", "ELink_EmailId", ("ELink_EntityID", COMPANY_ENTITY), None),
}

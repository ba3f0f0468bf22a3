"""Field and FieldMap: one line says how a canonical field lives in one system.

A *native* record is a flat mapping of the vendor's columns; a missing column is unknown. A *canonical* record is a
dict of field name -> ``Value``; a missing name is unknown, ``None`` is empty. A unit (address, contact) is one Value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Value = str | dict[str, str | None] | None
Native = Mapping[str, Any]


def size_of(value: Value) -> int:
    """Characters of a value, of all parts of a unit together."""
    if isinstance(value, dict):
        return sum(len(part or "") for part in value.values())
    return len(value or "")


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of a field compare. ``normal`` is idempotent and for comparing only: what was typed travels as typed.

    ``loss(written, found)``: may ``found`` be what a store made of ``written`` by cutting, re-casing, re-spacing or
    re-formatting (E11)? Never true for a different value.
    """

    name: str
    normal: Callable[[Value], Value]
    loss: Callable[[Value, Value], bool]


@dataclass(frozen=True, slots=True)
class Field:
    """A canonical field in one system.

    ``columns``: every native column it reads. ``get(native)``: value; only called when all columns are present.
    ``put(value, baseline)``: columns to write for it (all of them; FieldMap drops unchanged ones).
    ``part``: the table it lives in, one of the connector's parts. ``row``: the row of it, where a record has several.
    """

    name: str
    kind: Kind
    part: str
    columns: tuple[str, ...]
    get: Callable[[Native], Value]
    put: Callable[[Value, Native], dict[str, Any]]
    row: str = ""


@dataclass(frozen=True)
class FieldMap:
    """All fields of one entity in one system. Pure: no network, clock, randomness.

    ``extra_columns``: of the main table, that must be read too (filters, correlation, stamps).
    ``create_extra(values)``: native columns of a new record, defaults included, beyond what ``put`` gives.
    ``main``: the row of the main table. Writes of other rows may move it, too, since it names them.
    """

    entity: str
    fields: Mapping[str, Field]
    extra_columns: tuple[str, ...] = ()
    create_extra: Callable[[Mapping[str, Value]], dict[str, Any]] = field(default=lambda _values: {})
    main: str = ""

    def get(self, native: Native) -> dict[str, Value]:
        """Canonical values of what was read; fields with an absent column are left out (E8)."""
        shown = native.keys()
        return {name: get(native) for name, get, columns in self._readers if shown >= columns}

    @cached_property
    def _readers(self) -> list[tuple[str, Callable[[Native], Value], frozenset[str]]]:
        return [(name, f.get, frozenset(f.columns)) for name, f in self.fields.items()]

    def put(self, values: Mapping[str, Value], baseline: Native) -> dict[str, Any]:
        """Native columns to write so that the record holds ``values``: only those that differ from ``baseline``."""
        out: dict[str, Any] = {}
        for name, value in values.items():
            for column, new in self.fields[name].put(value, baseline).items():
                if column not in baseline or not _same_cell(baseline[column], new):
                    out[column] = new
        return out

    def fit(self, name: str, value: Value) -> Value:
        """What this system would hold of ``value`` (idea 5): ``get(put(value))``."""
        f = self.fields[name]
        written = f.put(value, {})
        return f.get({**dict.fromkeys(f.columns), **written})

    def normal(self, name: str, value: Value) -> Value:
        return self.fields[name].kind.normal(value)

    def same(self, name: str, a: Value, b: Value) -> bool:
        kind = self.fields[name].kind
        return a == b or kind.normal(a) == kind.normal(b)

    def loss(self, name: str, written: Value, found: Value) -> bool:
        return self.fields[name].kind.loss(written, found)

    def parts_of(self, names: Iterable[str]) -> set[str]:
        return {self.fields[n].part for n in names if n in self.fields}

    def row_of(self, name: str) -> str:
        """The row a field lives in, as ``Record.children`` names it; the main table's by its part."""
        return self.fields[name].row or self.fields[name].part

    def stamped_row(self, name: str, stamps: Mapping[str, str]) -> str:
        """The row whose stamp tells of a field: its own where that has one, else the main one."""
        row = self.row_of(name)
        return row if row in stamps else self.main

    def field_of_column(self, column: str) -> str | None:
        """The field that a refused column belongs to, compared without case."""
        wanted = column.lower()
        for name, f in self.fields.items():
            if any(c.lower() == wanted or c.lower().endswith("." + wanted) for c in f.columns):
                return name
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        seen = dict.fromkeys(c for f in self.fields.values() for c in f.columns)
        return (*seen, *(c for c in self.extra_columns if c not in seen))


def _same_cell(a: Any, b: Any) -> bool:
    """Empty is null or "" alike."""
    return (None if a == "" else a) == (None if b == "" else b)

"""Many rows in one statement: they travel as one JSON parameter, so the statement is built and parsed once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, Text, bindparam, cast, func, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from sync_worker.store.session import dumps

CHUNK = 1000


def json_rows(*types: TypeEngine[Any], sqlite: bool) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """A FROM clause over the bind parameter ``rows`` (see ``packed``), and its columns in order."""
    given = bindparam("rows", type_=Text)
    if sqlite:
        listed = func.json_each(given).table_valued("value", name="given")
        cells = [func.json_extract(listed.c.value, literal_column(f"'$[{i}]'")) for i in range(len(types))]
        return listed, [cast(cell, kind) for cell, kind in zip(cells, types, strict=True)]
    elements = func.jsonb_array_elements(cast(given, JSONB)).table_valued("value", name="given")
    texts = [elements.c.value.op("->>")(literal_column(str(i))) for i in range(len(types))]
    return elements, [cast(cell, kind) for cell, kind in zip(texts, types, strict=True)]


def inserter(table: Table, *, sqlite: bool) -> sqlite_dialect.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both databases spell alike."""
    return sqlite_dialect.insert(table) if sqlite else postgresql.insert(table)


def packed(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """The parameter ``rows``, in chunks that keep one statement short."""
    for start in range(0, len(rows), CHUNK):
        yield dumps(rows[start : start + CHUNK])


def finite(at: float | None) -> float | None:
    """A time a vendor said, unless it is none."""
    return at if at is not None and math.isfinite(at) else None


def storable(value: str, longest: int = 255) -> bool:
    """Whether both databases can hold this as a key: not empty, not too long, no NUL, no lone surrogate."""
    if not value or len(value) > longest or "\x00" in value:
        return False
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)

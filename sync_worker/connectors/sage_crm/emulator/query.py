"""Which rows a feed holds, and in which order: an index answers where it can, a predicate filters the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync_worker.connectors.sage_crm.emulator.predicate import (
    Options,
    Predicate,
    build,
    column_of,
    fold,
    literal_as,
)
from sync_worker.connectors.sage_crm.emulator.schema import Row
from sync_worker.connectors.sage_crm.emulator.store import Table
from sync_worker.connectors.sage_crm.emulator.where import (
    BadWhere,
    Between,
    Column,
    Compare,
    In,
    Junction,
    Literal,
    Node,
)

Order = Sequence[tuple[str, bool]]  # (spelled column, descending)

_PATTERN = re.compile(r"[%_\[]")
_RANGES = frozenset({"gt", "ge", "lt", "le"})


@dataclass(frozen=True, slots=True)
class _Candidates:
    """``exact``: every key satisfies the node. ``order``: the column they already stand in ascending order of."""

    keys: Sequence[int]
    exact: bool
    order: str | None = None


def select_keys(
    table: Table, node: Node | None, order: Order, options: Options, older: Mapping[int, Row | None] | None = None
) -> Sequence[int]:
    """Keys of the live rows that satisfy ``node``, ordered; by key when no order is asked for. Raises ``BadWhere``.

    ``older``: versions that this read is shown instead of the present ones (None: not there yet, or deleted).
    """
    holds = build(node, table.spec, options) if node is not None else None
    found = _found(table, node, holds, options)
    if older:
        keys = [key for key in found.keys if key not in older]
        keys += [key for key, row in older.items() if row is not None and (holds is None or holds(row))]
        return _ordered({**table.rows, **older} if order else table.rows, keys, order)
    if len(order) <= 1 and found.order == (order[0][0] if order else table.spec.key):
        return found.keys[::-1] if order and order[0][1] else found.keys
    return _ordered(table.rows, found.keys, order)


def _found(table: Table, node: Node | None, holds: Predicate | None, options: Options) -> _Candidates:
    if node is None or holds is None:
        return _Candidates(table.ids, exact=True, order=table.spec.key)
    planned = _plan(table, node, options) or _Candidates(table.ids, exact=False, order=table.spec.key)
    if planned.exact:
        return planned
    rows = table.rows
    return _Candidates([key for key in planned.keys if holds(rows[key])], exact=True, order=planned.order)


def _ordered(rows: Mapping[int, Row | None], found: Sequence[int], order: Order) -> Sequence[int]:
    keys = sorted(found)
    for column, descending in reversed(order):

        def rank(key: int, column: str = column) -> tuple[bool, Any]:
            value = (rows[key] or {}).get(column)
            return (value is not None, fold(value) if isinstance(value, str) else value or 0)

        keys.sort(key=rank, reverse=descending)
    return keys


def _plan(table: Table, node: Node, options: Options) -> _Candidates | None:
    """Candidates from an index, or None when only a scan helps."""
    if isinstance(node, Junction):
        parts = [_plan(table, part, options) for part in node.parts]
        known = [part for part in parts if part is not None]
        if node.op == "and":
            best = min(known, key=lambda part: len(part.keys), default=None)
            return None if best is None else _Candidates(best.keys, exact=False, order=best.order)
        if len(known) < len(parts):
            return None
        return _Candidates(_union([part.keys for part in known]), exact=all(part.exact for part in known))
    if not isinstance(node.left, Column):
        return None
    column, kind = column_of(node.left.name, table.spec, options)
    if isinstance(node, In):
        return _plan_equal(table, column, kind, node.items, options)
    if isinstance(node, Between):
        low = _plan_range(table, column, kind, Compare("ge", node.left, node.low), options)
        return None if low is None else _Candidates(low.keys, exact=False, order=low.order)
    if node.op == "eq":
        return _plan_equal(table, column, kind, (node.right,), options)
    if node.op == "like":
        return _plan_like(table, column, node)
    return _plan_range(table, column, kind, node, options)


def _plan_equal(table: Table, column: str, kind: str, items: Sequence[Any], options: Options) -> _Candidates | None:
    if column != table.spec.key and column not in table.indexes:
        return None
    found: list[Sequence[int]] = []
    for item in items:
        keys = table.equal(column, literal_as(item, kind, options)) if isinstance(item, Literal) else None
        if keys is None:
            return None
        found.append(keys)
    return _Candidates(found[0] if len(found) == 1 else _union(found), exact=True)


def _plan_like(table: Table, column: str, node: Compare) -> _Candidates | None:
    """By what stands before the first sign of a pattern; the predicate looks at the rest."""
    if not isinstance(node.right, Literal) or node.right.kind != "str":
        return None
    start = _PATTERN.split(node.right.value, maxsplit=1)[0]
    keys = table.beginning(column, fold(start)) if start.strip() else None
    return None if keys is None else _Candidates(keys, exact=False)


def _plan_range(table: Table, column: str, kind: str, node: Compare, options: Options) -> _Candidates | None:
    if node.op not in _RANGES or not isinstance(node.right, Literal):
        return None
    if column == table.spec.key:
        return _Candidates(table.key_range(node.op, literal_as(node.right, kind, options)), exact=True, order=column)
    if column == table.spec.updated_date:
        day = literal_as(node.right, kind, options)
        bound = day.last if node.op in ("gt", "le") else day.first
        return _Candidates(table.stamp_range(node.op, bound), exact=True, order=column)
    return None


def _union(groups: Sequence[Sequence[int]]) -> Sequence[int]:
    return list(dict.fromkeys(key for group in groups for key in group))


def parse_order(text: str, table: Table, options: Options) -> Order:
    """``Comp_UpdatedDate desc, Comp_Name`` -> columns and directions. Raises ``BadWhere`` for anything else."""
    out: list[tuple[str, bool]] = []
    for item in text.split(","):
        words = item.split()
        if not words or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
            raise BadWhere("Invalid orderBy")
        out.append((column_of(words[0].lower(), table.spec, options)[0], words[1:] == ["desc"]))
    return out

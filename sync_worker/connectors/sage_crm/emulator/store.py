"""Rows in memory with the indexes that keep a request from scanning a table.

Rows are sparse (an absent column is null), times are ISO text in UTC at whole seconds, so text order is time order.
Rows are never changed in place: a write replaces the dict, so an older version can be handed out as a stale read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sync_worker.connectors.sage_crm.emulator.predicate import fold
from sync_worker.connectors.sage_crm.emulator.schema import Row, TableSpec

_LOWEST = -(2**62)
_HIGHEST = 2**62


@dataclass
class Table:
    """One table. ``ids`` and ``stamps`` hold live rows only, in key order and in (updated date, key) order."""

    spec: TableSpec
    rows: dict[int, Row] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)
    stamps: list[tuple[str, int]] = field(default_factory=list)
    indexes: dict[str, dict[Any, dict[int, None]]] = field(default_factory=dict)
    next_id: int = 1
    _begun: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.indexes = {column: {} for column in self.spec.indexed}

    def live(self, key: int) -> Row | None:
        """The row, unless it is unknown or deleted."""
        row = self.rows.get(key)
        return row if row is not None and not row.get(self.spec.deleted) else None

    def new_key(self) -> int:
        key = self.next_id
        self.next_id += 1
        return key

    def save(self, key: int, row: Row) -> None:
        """Put a row in the place of its former version."""
        old_live, new_live = self.live(key), None if row.get(self.spec.deleted) else row
        self.rows[key] = row
        self._reindex(key, old_live, new_live)
        if (old_live is None) != (new_live is None):
            if new_live is None:
                _remove(self.ids, key)
            else:
                insort(self.ids, key)
        stamp = self.spec.updated_date
        if old_live is not None:
            _remove(self.stamps, (old_live.get(stamp, ""), key))
        if new_live is not None:
            insort(self.stamps, (new_live.get(stamp, ""), key))

    def load(self, rows: Iterable[Row]) -> None:
        """Add many new live rows, keys ascending and above all present ones."""
        key_column, stamp = self.spec.key, self.spec.updated_date
        for row in rows:
            key = row[key_column]
            self.rows[key] = row
            self.ids.append(key)
            self.stamps.append((row.get(stamp, ""), key))
            self._reindex(key, None, row)
            self.next_id = key + 1
        self.stamps.sort()

    def equal(self, column: str, value: Any) -> Sequence[int] | None:
        """Keys of live rows whose column equals a folded value; None when the column has no index."""
        if column == self.spec.key:
            return (int(value),) if self.live(value) is not None else ()
        index = self.indexes.get(column)
        return None if index is None else tuple(index.get(value, ()))

    def beginning(self, column: str, prefix: str) -> Sequence[int] | None:
        """Keys of live rows whose text begins with a folded prefix; None when the column has no index."""
        index = self.indexes.get(column)
        if index is None:
            return None
        texts = self._begun.get(column)
        if texts is None:
            texts = self._begun[column] = [mark for mark in index if isinstance(mark, str)]
        texts.sort()  # what came since the last time stands at the end, what is gone is in no index any more
        found: list[int] = []
        for at in range(bisect_left(texts, prefix), len(texts)):
            if not texts[at].startswith(prefix):
                break
            found.extend(index.get(texts[at], ()))
        return list(dict.fromkeys(found))

    def key_range(self, op: str, bound: int) -> Sequence[int]:
        """Live keys ``gt ge lt le`` a bound, in order."""
        at = (bisect_right if op in ("gt", "le") else bisect_left)(self.ids, bound)
        return self.ids[at:] if op in ("gt", "ge") else self.ids[:at]

    def stamp_range(self, op: str, bound: str) -> Sequence[int]:
        """Live keys whose updated date is ``gt ge lt le`` a bound, by (updated date, key); null matches nothing."""
        edge = (bound, _HIGHEST if op in ("gt", "le") else _LOWEST)
        at = bisect_left(self.stamps, edge)
        first = bisect_left(self.stamps, ("0", _LOWEST))
        return [key for _, key in (self.stamps[at:] if op in ("gt", "ge") else self.stamps[first:at])]

    def _reindex(self, key: int, old: Row | None, new: Row | None) -> None:
        for column, index in self.indexes.items():
            was = None if old is None else old.get(column)
            now = None if new is None else new.get(column)
            if was == now:
                continue
            if was is not None:
                mark = fold(was) if isinstance(was, str) else was
                del index[mark][key]
                if not index[mark]:
                    del index[mark]
            if now is not None:
                mark = fold(now) if isinstance(now, str) else now
                if mark not in index and column in self._begun and isinstance(mark, str):
                    self._begun[column].append(mark)
                index.setdefault(mark, {})[key] = None


def _remove(ordered: list[Any], item: Any) -> None:
    at = bisect_left(ordered, item)
    if at < len(ordered) and ordered[at] == item:
        del ordered[at]

"""Where the emulator keeps its records: one dictionary per object and the indexes that keep requests fast."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Any

from sync_worker.connectors.intacct.emulator.schema import ObjectType

Version = dict[str, Any]
"""A record as it is at one moment: column -> value, references as the target's key. Never changed in place."""

_CREATED = "audit.createdDateTime"
_MODIFIED = "audit.modifiedDateTime"


class Table:
    """The records of one object by key, with equality indexes (text compared without case) and one on modified time."""

    def __init__(self, kind: ObjectType) -> None:
        self.kind = kind
        self.rows: dict[str, Version] = {}
        self.by_id: dict[str, str] = {}
        self._keys: list[int] = []
        self._equal: dict[str, dict[Any, dict[str, None]]] = {c: {} for c in ("id", *kind.indexed)}
        self._seconds: list[str] = []
        self._by_second: dict[str, dict[str, None]] = {}

    def put(self, new: Version) -> None:
        """Insert or replace the record of ``new["key"]``."""
        key = new["key"]
        old = self.rows.get(key)
        if old is None:
            insort(self._keys, int(key))
        self.rows[key] = new
        self._index(key, old, new)

    def drop(self, key: str) -> None:
        old = self.rows.pop(key)
        del self._keys[bisect_left(self._keys, int(key))]
        self._index(key, old, None)

    def _index(self, key: str, old: Version | None, new: Version | None) -> None:
        for column, index in self._equal.items():
            before = _norm(old.get(column)) if old is not None else None
            after = _norm(new.get(column)) if new is not None else None
            if before == after:
                continue
            if before is not None:
                _discard(index, before, key)
            if after is not None:
                index.setdefault(after, {})[key] = None
        self._index_id(key, old, new)
        self._index_second(key, old, new)

    def _index_id(self, key: str, old: Version | None, new: Version | None) -> None:
        if old is not None and (new is None or new["id"] != old["id"]):
            del self.by_id[old["id"]]
        if new is not None:
            self.by_id[new["id"]] = key

    def _index_second(self, key: str, old: Version | None, new: Version | None) -> None:
        before = (old[_MODIFIED] or old[_CREATED]) if old is not None else None
        after = (new[_MODIFIED] or new[_CREATED]) if new is not None else None
        if before == after:
            return
        if before is not None:
            _discard(self._by_second, before, key)
            if before not in self._by_second:
                del self._seconds[bisect_left(self._seconds, before)]
        if after is not None:
            if after not in self._by_second:
                insort(self._seconds, after)
                self._by_second[after] = {}
            self._by_second[after][key] = None

    def is_indexed(self, column: str) -> bool:
        return column == "key" or column in self._equal

    def equal_to(self, column: str, values: Iterable[Any]) -> dict[str, None]:
        """Keys of records whose ``column`` may equal one of ``values`` (a superset: text is compared without case)."""
        if column == "key":
            return {str(v): None for v in values if str(v) in self.rows}
        index = self._equal[column]
        found: dict[str, None] = {}
        for value in values:
            found.update(index.get(_norm(value), ()))
        return found

    def keys_from(self, low: int) -> Iterator[str]:
        """Keys at or above a number, in order."""
        return map(str, self._keys[bisect_left(self._keys, low) :])

    def modified_between(self, low: str | None, high: str | None) -> Iterator[str]:
        """Keys modified (or created and never modified) from ``low`` to ``high``, both included; None is open."""
        first = bisect_left(self._seconds, low) if low is not None else 0
        last = bisect_right(self._seconds, high) if high is not None else len(self._seconds)
        for second in self._seconds[first:last]:
            yield from self._by_second[second]

    def is_used(self, column: str, key: str) -> bool:
        """Whether any record's reference ``column`` points at ``key``."""
        return bool(self._equal[column].get(key))


def _norm(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _discard(index: dict[Any, dict[str, None]], value: Any, key: str) -> None:
    keys = index[value]
    del keys[key]
    if not keys:
        del index[value]

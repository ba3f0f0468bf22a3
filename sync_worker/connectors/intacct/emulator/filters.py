"""The query service's filters: from JSON to a test of one record, and to the indexes that narrow the search."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from sync_worker.connectors.intacct.emulator.company import Column, Company, UnknownColumn
from sync_worker.connectors.intacct.emulator.envelope import ApiError, bad_value, payload_error
from sync_worker.connectors.intacct.emulator.relative_dates import RELATIVE, date_range
from sync_worker.connectors.intacct.emulator.schema import Type
from sync_worker.connectors.intacct.emulator.tables import Version

Test = Callable[[Version], bool]
Find = Callable[[], Iterable[str]]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_NEGATED = {
    "$notIn": "$in",
    "$notBetween": "$between",
    "$notContains": "$contains",
    "$notStartsWith": "$startsWith",
    "$notEndsWith": "$endsWith",
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
}
_TEXT: dict[str, Callable[[str, str], bool]] = {
    "$contains": lambda a, b: b in a,
    "$startsWith": lambda a, b: a.startswith(b),
    "$endsWith": lambda a, b: a.endswith(b),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """``test`` decides; ``find`` gives a superset of what passes, or is None when no index helps.

    ``in_key_order``: ``find`` gives exactly what passes, ordered by key.
    """

    test: Test
    find: Find | None = None
    in_key_order: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns ``{"$op": {"field": value}}`` into a ``Filter``. Raises ``ApiError`` 400 with the field it is about.

    As in SQL, an empty value passes no comparison but ``$eq: null`` (our assumption for the negated operators).
    """

    company: Company
    path: str
    match_case: bool
    today: date

    def read(self, spec: Any) -> Filter:
        operator, body = _only_item(spec, "a filter")
        name, value = _only_item(body, operator)
        if name == "href":
            raise payload_error([bad_value(name, "cannot be filtered")])
        try:
            column = self.company.column(self.path, name)
        except UnknownColumn as error:
            raise payload_error([bad_value(name, "is not a valid field")]) from error
        try:
            return self._filter(operator, name, column, value)
        except (TypeError, ValueError, InvalidOperation) as error:
            raise payload_error([bad_value(name, f"cannot be compared with this value by {operator}")]) from error

    def _filter(self, operator: str, name: str, column: Column, value: Any) -> Filter:
        if operator in ("$eq", "$ne") and value is None:
            empty = operator == "$eq"
            return Filter(lambda row: (column.get(row) is None) is empty)
        if operator in _NEGATED:
            positive = self._filter(_NEGATED[operator], name, column, value).test
            return Filter(lambda row: column.get(row) is not None and not positive(row))
        if column.type in ("date", "datetime") and isinstance(value, str) and value in RELATIVE:
            return self._relative(operator, name, column, value)
        if operator == "$ne":
            equal = self._filter("$eq", name, column, value).test
            return Filter(lambda row: column.get(row) is not None and not equal(row))
        if operator in ("$eq", "$in"):
            return self._equal(column, [value] if operator == "$eq" else _list(value))
        if operator == "$between":
            low, high = _list(value, 2)
            return self._between(name, column, low, high)
        if operator in _COMPARE:
            return self._compare(operator, name, column, value)
        if operator in _TEXT:
            return self._text(operator, column, value)
        raise payload_error([bad_value(name, f"has an unknown operator {operator}")])

    def _equal(self, column: Column, values: list[Any]) -> Filter:
        normal, get, find = self._normal(column.type), column.get, column.find
        wanted = {normal(v) for v in values}

        def test(row: Version) -> bool:
            found = get(row)
            return found is not None and normal(found) in wanted

        return Filter(test, (lambda: find(values)) if find is not None else None)

    def _compare(self, operator: str, name: str, column: Column, value: Any) -> Filter:
        normal, get, compare = self._normal(column.type), column.get, _COMPARE[operator]
        limit = normal(value)

        def test(row: Version) -> bool:
            found = get(row)
            return found is not None and compare(normal(found), limit)

        if name == "key" and operator in ("$gt", "$gte"):
            table = self.company.tables[self.path]
            first = limit + 1 if operator == "$gt" else limit
            return Filter(test, lambda: table.keys_from(first), in_key_order=True)
        low, high = (value, None) if operator in ("$gt", "$gte") else (None, value)
        return Filter(test, self._stamps(name, low, high))

    def _between(self, name: str, column: Column, low: Any, high: Any) -> Filter:
        normal, get = self._normal(column.type), column.get
        first, last = normal(low), normal(high)

        def test(row: Version) -> bool:
            found = get(row)
            return found is not None and first <= normal(found) <= last

        return Filter(test, self._stamps(name, low, high))

    def _stamps(self, name: str, low: str | None, high: str | None) -> Find | None:
        """The index on modified time; what was created since X was modified since X, too."""
        table = self.company.tables[self.path]
        if name == "audit.modifiedDateTime":
            return lambda: table.modified_between(low, high)
        if name == "audit.createdDateTime" and low is not None:
            return lambda: table.modified_between(low, None)
        return None

    def _text(self, operator: str, column: Column, value: Any) -> Filter:
        if column.type in ("date", "datetime") or not isinstance(value, str):
            raise ValueError(operator)
        get, compare = column.get, _TEXT[operator]
        if self.match_case:
            return Filter(lambda row: isinstance(found := get(row), str) and compare(found, value))
        wanted = value.casefold()
        return Filter(lambda row: isinstance(found := get(row), str) and compare(found.casefold(), wanted))

    def _relative(self, operator: str, name: str, column: Column, value: str) -> Filter:
        first, last = (d.isoformat() for d in date_range(value, self.today))
        if column.type == "datetime":
            first, last = f"{first}T00:00:00Z", f"{last}T23:59:59Z"
        if operator == "$eq":
            return self._between(name, column, first, last)
        if operator == "$ne":
            inside = self._between(name, column, first, last).test
            return Filter(lambda row: column.get(row) is not None and not inside(row))
        if operator not in _COMPARE:
            raise ValueError(operator)
        return self._compare(operator, name, column, last if operator in ("$lte", "$gt") else first)

    def _normal(self, kind: Type) -> Callable[[Any], Any]:
        """How values of a type compare; keys and amounts as numbers (keys: our assumption)."""
        match kind:
            case "key":
                return _as_key
            case "number":
                return _as_number
            case "decimal":
                return lambda v: Decimal(str(v))
            case "boolean":
                return _as_flag
            case "date":
                return lambda v: _as_pattern(v, _DATE)
            case "datetime":
                return lambda v: _as_pattern(v, _DATETIME)
        return _as_text if self.match_case else lambda v: _as_text(v).casefold()


def _as_key(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError(value)
    return int(value)


def _as_number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _as_flag(value: Any) -> bool:
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _as_pattern(value: Any, pattern: re.Pattern[str]) -> str:
    text = _as_text(value)
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _list(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or not value or (length is not None and len(value) != length):
        raise ValueError("a list is needed")
    return value


def _only_item(value: Any, what: str) -> tuple[str, Any]:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ApiError(400, "invalidRequest", f"{what} must be an object with one member", "REST-1064")
    return next(iter(value.items()))

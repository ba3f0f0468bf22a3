"""``POST /services/core/query``: fields, filters, filterExpression, orderBy, paging; flat rows with dotted names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sync_worker.connectors.emulation import Response
from sync_worker.connectors.intacct.emulator.company import Column, Company, UnknownColumn
from sync_worker.connectors.intacct.emulator.envelope import (
    ApiError,
    bad_value,
    not_a_field,
    page_response,
    payload_error,
)
from sync_worker.connectors.intacct.emulator.filters import Filter, Reader
from sync_worker.connectors.intacct.emulator.tables import Version

MAX_SIZE = 4000
DEFAULT_SIZE = 100

_MEMBERS = frozenset(
    {"object", "fields", "filters", "filterExpression", "filterParameters", "orderBy", "start", "size"}
)
_PARAMETERS = frozenset({"asOfDate", "includeHierarchyFields", "caseSensitiveComparison", "includePrivate"})
_TOKEN = re.compile(r"\s*(\d+|and\b|or\b|[()])", re.IGNORECASE)


def answer_query(company: Company, body: Any, entity_key: str | None, now: float) -> Response:
    """Answer a query in an entity (None: the top level, which skips entity-private records unless asked)."""
    if not isinstance(body, Mapping) or not body.keys() <= _MEMBERS or body.get("object") not in company.tables:
        raise ApiError(400, "invalidRequest", "object or a member of the query is unknown", "REST-1064")
    path = body["object"]
    columns = _fields(company, path, body.get("fields"))
    parameters = body.get("filterParameters") or {}
    if not parameters.keys() <= _PARAMETERS:
        raise ApiError(400, "invalidRequest", "unknown filter parameter", "REST-1064")
    today = datetime.fromtimestamp(now, UTC).date()
    reader = Reader(company, path, parameters.get("caseSensitiveComparison", True) is not False, today)
    filters = [reader.read(spec) for spec in body.get("filters") or ()]
    wanted = combine(filters, body.get("filterExpression"))
    start, size = _paging(body)
    visible = _visibility(entity_key, parameters.get("includePrivate") is True)
    order = body.get("orderBy") or [{"key": "asc"}]
    if wanted.in_key_order and not company.stale_keys(path) and order == [{"key": "asc"}]:
        rows = [row for row in _candidates(company, path, wanted) if visible(row)]  # a walk: found, and in order
    else:
        rows = [row for row in _candidates(company, path, wanted) if visible(row) and wanted.test(row)]
        _sort(company, path, rows, order)
    page = rows[start - 1 : start - 1 + size]
    out = [{name: column.get(row) for name, column in columns} for row in page]
    return page_response(out, len(rows), start, size)


def keys_asked_for(body: Any) -> list[str]:
    """Keys that a query lists in its filters; none for a range, or for what is no query."""
    filters = body.get("filters") if isinstance(body, Mapping) else None
    listed = [spec.get("$in") for spec in filters or () if isinstance(spec, Mapping)]
    return [key for one in listed if isinstance(one, Mapping) for key in one.get("key", ())]


def _fields(company: Company, path: str, names: Any) -> list[tuple[str, Column]]:
    if not isinstance(names, list) or not names:
        raise ApiError(400, "invalidRequest", "fields must be a list of names", "REST-1064")
    out = []
    errors = []
    for name in names:
        try:
            out.append((name, company.column(path, str(name))))
        except UnknownColumn:
            errors.append(not_a_field("/" + str(name)))
    if errors:
        raise payload_error(errors)
    return out


def _paging(body: Mapping[str, Any]) -> tuple[int, int]:
    start, size = body.get("start", 1), body.get("size", DEFAULT_SIZE)
    for name, value, most in (("start", start, None), ("size", size, MAX_SIZE)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
            raise payload_error([bad_value(name, f"must be a number from 1 to {most or 'any'}")])
    return start, size


def _visibility(entity_key: str | None, private: bool) -> Callable[[Version], bool]:
    if entity_key is not None:
        return lambda row: row.get("entity") in (None, entity_key)
    return _everything if private else (lambda row: row.get("entity") is None)


def _everything(_row: Version) -> bool:
    return True


def _candidates(company: Company, path: str, wanted: Filter) -> Iterable[Version]:
    """What an index finds, else everything; and what a stale read could still show."""
    rows = company.tables[path].rows
    keys: Iterable[str] = wanted.find() if wanted.find is not None else list(rows)
    stale = company.stale_keys(path)
    for key in dict.fromkeys(itertools.chain(keys, stale)) if stale else keys:
        row = company.look(path, key)
        if row is not None:
            yield row


def _sort(company: Company, path: str, rows: list[Version], order: Sequence[Any]) -> None:
    """In place; by key where the query does not say."""
    steps = [("key", "asc")]
    for spec in order:
        if not isinstance(spec, Mapping) or len(spec) != 1 or next(iter(spec.values())) not in ("asc", "desc"):
            raise ApiError(400, "invalidRequest", "orderBy must hold objects like {field: asc}", "REST-1064")
    if order:
        steps = [next(iter(spec.items())) for spec in order]
    for name, direction in reversed(steps):
        try:
            column = company.column(path, name)
        except UnknownColumn as error:
            raise payload_error([not_a_field("/" + name)]) from error
        rows.sort(key=_sort_key(column), reverse=direction == "desc")


def _sort_key(column: Column) -> Callable[[Version], Any]:
    get = column.get
    if column.type == "key":
        return lambda row: int(get(row) or 0)

    def key(row: Version) -> tuple[bool, Any]:
        value = get(row)
        return (value is not None, value if value is not None else 0)

    return key


# --- filterExpression ------------------------------------------------------------------------------------------------


def combine(filters: Sequence[Filter], expression: Any) -> Filter:
    """One filter of all: by expression of 1-based numbers, ``and``, ``or`` and parentheses, or just one word."""
    if not filters:
        return Filter(_everything)
    text = (expression or "and").strip() if isinstance(expression or "and", str) else ""
    if text.lower() in ("and", "or"):
        join = _and if text.lower() == "and" else _or
        return filters[0] if len(filters) == 1 else join(list(filters))
    tokens = _tokens(text)
    result, rest = _either(tokens, filters)
    if rest:
        raise _bad_expression()
    return result


def _bad_expression() -> ApiError:
    return payload_error([bad_value("filterExpression", "cannot be understood")])


def _tokens(text: str) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _bad_expression()
        out.append(match[1].lower())
        at = match.end()
    return out


def _either(tokens: list[str], filters: Sequence[Filter]) -> tuple[Filter, list[str]]:
    first, tokens = _both(tokens, filters)
    parts = [first]
    while tokens and tokens[0] == "or":
        part, tokens = _both(tokens[1:], filters)
        parts.append(part)
    return (_or(parts) if len(parts) > 1 else first), tokens


def _both(tokens: list[str], filters: Sequence[Filter]) -> tuple[Filter, list[str]]:
    first, tokens = _one(tokens, filters)
    parts = [first]
    while tokens and tokens[0] == "and":
        part, tokens = _one(tokens[1:], filters)
        parts.append(part)
    return (_and(parts) if len(parts) > 1 else first), tokens


def _one(tokens: list[str], filters: Sequence[Filter]) -> tuple[Filter, list[str]]:
    if not tokens:
        raise _bad_expression()
    head, *rest = tokens
    if head == "(":
        inner, rest = _either(rest, filters)
        if not rest or rest[0] != ")":
            raise _bad_expression()
        return inner, rest[1:]
    if not head.isdigit() or not 1 <= int(head) <= len(filters):
        raise _bad_expression()
    return filters[int(head) - 1], rest


def _and(parts: list[Filter]) -> Filter:
    tests = [p.test for p in parts]
    find = next((p.find for p in parts if p.find is not None), None)
    return Filter(lambda row: all(test(row) for test in tests), find)


def _or(parts: list[Filter]) -> Filter:
    tests = [p.test for p in parts]
    finds = [p.find for p in parts if p.find is not None]

    def find() -> Iterable[str]:
        return dict.fromkeys(itertools.chain.from_iterable(f() for f in finds))

    return Filter(lambda row: any(test(row) for test in tests), find if len(finds) == len(parts) else None)

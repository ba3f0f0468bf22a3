"""What a ``where`` tree means: the predicate over one table's rows. Pure.

Our assumption: comparison is SQL Server's (no case, no trailing blanks, null matches nothing), and a day literal
means its midnight. A value the database could not convert to the column's type is refused, never guessed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sync_worker.connectors.sage_crm.emulator.schema import ColumnType, Row, TableSpec
from sync_worker.connectors.sage_crm.emulator.where import (
    BadWhere,
    Between,
    Call,
    Column,
    Compare,
    In,
    Junction,
    Literal,
    Node,
    Operand,
)

Predicate = Callable[[Row], bool]

_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?\Z")


@dataclass(frozen=True, slots=True)
class Options:
    """``timestamps``: a time of day is allowed inside ``@…@`` (shown nowhere, so refused unless switched on).

    ``day_is_whole``: a day literal stands for the whole day (``gt`` starts the day after) instead of its midnight.
    ``hidden``: lower-case columns that field security takes away.
    """

    timestamps: bool = False
    day_is_whole: bool = False
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Day:
    """A date literal as the span of stored time texts it stands for; a moment is a span of one."""

    first: str
    last: str


def day_span(text: str, options: Options) -> Day:
    """``2014-03-14`` -> its span; raises ``BadWhere`` for anything the server would not read as a date."""
    if _DAY.match(text):
        return Day(f"{text}T00:00:00Z", f"{text}T23:59:59Z" if options.day_is_whole else f"{text}T00:00:00Z")
    if options.timestamps and _MOMENT.match(text):
        moment = text if text.endswith("Z") else f"{text}Z"
        return Day(moment, moment)
    raise BadWhere("Invalid query syntax: a date is expected between @ signs")


def fold(text: str) -> str:
    """SQL Server's default comparison: no case, no trailing blanks."""
    return text.rstrip(" ").casefold()


def column_of(name: str, spec: TableSpec, options: Options) -> tuple[str, ColumnType]:
    """Spelling and type of a column; unknown and hidden ones raise ``BadWhere``."""
    spelled = spec.by_lower.get(name)
    if spelled is None or name in options.hidden:
        raise BadWhere(f"Invalid column name {name[:60]}")
    return spelled, spec.columns[spelled]


def literal_as(node: Literal, kind: str, options: Options) -> Any:
    """A literal as the type it is compared with; raises ``BadWhere`` where the database could not convert it."""
    if kind == "date" and node.kind == "date":
        return day_span(node.value, options)
    if kind == "str" and node.kind == "str":
        return fold(node.value)
    if kind == "int" and node.kind == "num":
        return node.value
    if kind == "int" and node.kind == "str" and re.fullmatch(r"-?\d{1,18}", node.value):
        return int(node.value)
    if kind == "bool" and node.kind == "str" and node.value.lower() in ("y", "n", "true", "false"):
        return node.value.lower() in ("y", "true")
    raise BadWhere(f"A {node.kind} value cannot be compared with a {kind} column")


def build(node: Node, spec: TableSpec, options: Options) -> Predicate:
    """The predicate of a tree over rows of one table. Raises ``BadWhere`` for unknown columns and wrong types."""
    if isinstance(node, Junction):
        parts = [build(part, spec, options) for part in node.parts]
        if node.op == "and":
            return lambda row: all(part(row) for part in parts)
        return lambda row: any(part(row) for part in parts)
    kind = _kind((node.left, *_others(node)), spec, options)
    left = _getter(node.left, kind, spec, options)
    if isinstance(node, In) and kind != "date" and all(isinstance(item, Literal) for item in node.items):
        wanted = {literal_as(item, kind, options) for item in node.items if isinstance(item, Literal)}
        return lambda row: left(row) in wanted
    rights = [_getter(other, kind, spec, options) for other in _others(node)]
    if isinstance(node, In):
        return lambda row: any(_holds("eq", left(row), right(row)) for right in rights)
    if isinstance(node, Between):
        low, high = rights
        return lambda row: _holds("ge", left(row), low(row)) and _holds("le", left(row), high(row))
    op, right = node.op, rights[0]
    if op != "like":
        return lambda row: _holds(op, left(row), right(row))
    if not (isinstance(node.right, Literal) and node.right.kind == "str" and kind == "str"):
        raise BadWhere("like needs a text column and a quoted pattern")
    pattern = _like(node.right.value)
    return lambda row: (value := left(row)) is not None and pattern.match(value) is not None


def _others(node: Compare | In | Between) -> Sequence[Operand]:
    if isinstance(node, In):
        return node.items
    return (node.low, node.high) if isinstance(node, Between) else (node.right,)


def _kind(operands: Sequence[Operand], spec: TableSpec, options: Options) -> str:
    """The type everything in one comparison is brought to: that of its columns and functions, which must agree."""
    kinds = set()
    for operand in operands:
        if isinstance(operand, Column):
            kinds.add(column_of(operand.name, spec, options)[1])
        elif isinstance(operand, Call):
            kinds.add("str" if operand.name == "concat" else "int")
    if len(kinds) != 1:
        raise BadWhere("Values that cannot be compared")
    return str(kinds.pop())


def _getter(node: Operand, kind: str, spec: TableSpec, options: Options) -> Callable[[Row], Any]:
    if isinstance(node, Literal):
        value = literal_as(node, kind, options)
        return lambda _: value
    if isinstance(node, Column):
        spelled = column_of(node.name, spec, options)[0]
        if kind == "str":
            return lambda row: None if (text := row.get(spelled)) is None else fold(text)
        return lambda row: row.get(spelled)
    if node.name == "concat":
        texts = [_raw(arg, spec, options) for arg in node.args]
        return lambda row: fold("".join(str(text(row) or "") for text in texts))
    inner, function = _getter(node.args[0], "int", spec, options), _FUNCTION[node.name]
    return lambda row: None if (number := inner(row)) is None else function(number)


def _raw(node: Operand, spec: TableSpec, options: Options) -> Callable[[Row], Any]:
    """A part of ``concat``, unfolded: blanks at its end count."""
    if isinstance(node, Literal):
        return lambda _: node.value
    if isinstance(node, Column):
        spelled = column_of(node.name, spec, options)[0]
        return lambda row: row.get(spelled)
    return _getter(node, "str", spec, options)


_FUNCTION: dict[str, Callable[[Any], Any]] = {"abs": abs, "sign": lambda n: (n > 0) - (n < 0)}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


def _holds(op: str, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return False
    if isinstance(right, Day):
        inside = right.first <= left <= right.last
        if op in ("eq", "ne"):
            return bool(inside == (op == "eq"))
        right = right.last if op in ("gt", "le") else right.first
    holds: bool = _OPERATORS[op](left, right)
    return holds


@lru_cache(maxsize=512)
def _like(pattern: str) -> re.Pattern[str]:
    """``%`` any run, ``_`` one character, ``[…]`` a set, as SQL Server reads them; folded like the values.

    What stands between two ``%`` is looked for once, at the first place it has: any later one would do no better.
    """
    pieces, at, text = [""], 0, pattern.casefold()
    while at < len(text):
        sign = text[at]
        close = text.find("]", at + 2) if sign == "[" else -1
        if close > 0:
            body = text[at + 1 : close].replace("\\", "\\\\").replace("[", "\\[")
            pieces[-1] += f"[{body}]"
            at = close
        elif sign == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if sign == "_" else re.escape(sign)
        at += 1
    first, *between = pieces
    last = f".*{between.pop()}" if between else ""
    try:
        return re.compile(first + "".join(f"(?>.*?{piece})" for piece in between) + last + r"\Z", re.DOTALL)
    except re.error as error:
        raise BadWhere("Invalid pattern for like") from error

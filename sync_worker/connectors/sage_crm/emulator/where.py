"""The ``where`` language: text -> tree. What a tree means for a row stands in ``predicate``. Pure.

Documented or observed: ``eq ne gt lt le like in between and or``, ``concat() abs() sign()``, ``@2014-03-14@`` for a
day. From the SData language: ``ge``, parentheses. Our assumption: quotes are doubled inside a literal.
Everything else (``not``, ``null``, double quotes, a value on the left of an operator) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


class BadWhere(Exception):
    """The text is no valid ``where``; the message says what stands wrong, without quoting literals."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """``kind``: ``str``, ``num`` or ``date`` (the text between the ``@`` signs)."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    args: tuple[Operand, ...]


Operand = Column | Literal | Call


@dataclass(frozen=True, slots=True)
class Compare:
    op: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class In:
    left: Operand
    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Between:
    left: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class Junction:
    """``op``: ``and`` or ``or``."""

    op: str
    parts: tuple[Node, ...]


Node = Compare | In | Between | Junction

_ITEM = r"(?:'(?:[^']|'')*'|-?\d+)"
_LIST = re.compile(rf"\s*\(\s*({_ITEM}(?:\s*,\s*{_ITEM})*)\s*\)")
_ITEMS = re.compile(_ITEM)
_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(@[^@]*@)|(-?\d+(?:\.\d+)?)(?![\w.])|([A-Za-z_]\w*)|([(),]))")
_COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "like"})
_WORDS = _COMPARISONS | {"in", "between", "and", "or"}
_FUNCTIONS = {"concat": (1, 99), "abs": (1, 1), "sign": (1, 1)}
_MAX_DEPTH = 40


class _Parser:
    """Recursive descent over the tokens; ``or`` binds weaker than ``and``."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        names = ("str", "date", "num", "word", "sign")
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None or found.lastindex is None:
                raise BadWhere(f"Invalid query syntax at position {at}")
            kind, token = names[found.lastindex - 1], found.group(found.lastindex)
            self.tokens.append((kind, token))
            at = found.end()
            # plain lists, which may be long, are read in one go
            if kind == "word" and token.lower() == "in" and (plain := _LIST.match(text, at)):
                self.tokens.append(("list", plain.group(1)))
                at = plain.end()
        self.tokens.append(("end", ""))
        self.at = 0
        self.depth = 0

    def parse(self) -> Node:
        node = self.junction("or")
        if self.tokens[self.at][0] != "end":
            raise BadWhere("Invalid query syntax: text after the end of the expression")
        return node

    def junction(self, op: str) -> Node:
        parts = [self.junction("and") if op == "or" else self.term()]
        while self.accept_word(op):
            parts.append(self.junction("and") if op == "or" else self.term())
        return parts[0] if len(parts) == 1 else Junction(op, tuple(parts))

    def term(self) -> Node:
        if self.accept_sign("("):
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise BadWhere("Invalid query syntax: nested too deeply")
            node = self.junction("or")
            self.expect(")")
            self.depth -= 1
            return node
        left = self.operand()
        if isinstance(left, Literal):
            raise BadWhere("Invalid query syntax: a comparison starts with a column or a function")
        kind, text = self.tokens[self.at]
        word = text.lower() if kind == "word" else ""
        self.at += 1
        if word in _COMPARISONS:
            return Compare(word, left, self.operand())
        if word == "in":
            return In(left, self.listed())
        if word == "between":
            low = self.operand()
            if not self.accept_word("and"):
                raise BadWhere("Invalid query syntax: between needs and")
            return Between(left, low, self.operand())
        raise BadWhere("Invalid query syntax: a comparison is expected")

    def operand(self) -> Operand:
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind in ("str", "num"):
            return _literal(text)
        if kind == "date":
            return Literal("date", text[1:-1])
        if kind == "word" and text.lower() not in _WORDS:
            return self.call(text.lower()) if self.tokens[self.at] == ("sign", "(") else Column(text.lower())
        raise BadWhere("Invalid query syntax: a column or a value is expected")

    def call(self, name: str) -> Call:
        if name not in _FUNCTIONS:
            raise BadWhere(f"Unknown function {name}")
        args = self.arguments()
        least, most = _FUNCTIONS[name]
        if not least <= len(args) <= most:
            raise BadWhere(f"Wrong number of arguments for {name}")
        return Call(name, args)

    def listed(self) -> tuple[Operand, ...]:
        kind, text = self.tokens[self.at]
        if kind != "list":
            return self.arguments()
        self.at += 1
        return tuple(_literal(item) for item in _ITEMS.findall(text))

    def arguments(self) -> tuple[Operand, ...]:
        self.expect("(")
        items = [self.operand()]
        while self.accept_sign(","):
            items.append(self.operand())
        self.expect(")")
        return tuple(items)

    def accept_word(self, word: str) -> bool:
        kind, text = self.tokens[self.at]
        if kind != "word" or text.lower() != word:
            return False
        self.at += 1
        return True

    def accept_sign(self, sign: str) -> bool:
        if self.tokens[self.at] != ("sign", sign):
            return False
        self.at += 1
        return True

    def expect(self, sign: str) -> None:
        if not self.accept_sign(sign):
            raise BadWhere(f"Invalid query syntax: {sign} is expected")


def _literal(text: str) -> Literal:
    if text[0] == "'":
        return Literal("str", text[1:-1].replace("''", "'"))
    return Literal("num", float(text) if "." in text else int(text))


@lru_cache(maxsize=1024)
def parse(text: str) -> Node:
    """The tree of a ``where`` text. Raises ``BadWhere``. Cached, as polls repeat their text."""
    return _Parser(text).parse()

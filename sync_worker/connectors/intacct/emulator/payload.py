"""Reads a request's body against the schema: unknown and read-only fields, types, enums, references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_worker.connectors.intacct.emulator.envelope import bad_value, not_a_field
from sync_worker.connectors.intacct.emulator.schema import EMBEDDED_CONTACT, Leaf, Node, Ref

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DECIMAL = re.compile(r"-?\d+(\.\d+)?")

RefValue = tuple[str | None, str | None]
"""(key, id) of the record a reference is to point at; both None empties it."""


@dataclass(slots=True)
class Payload:
    """A well-formed body: values and references by dotted column, and what is to be written through a reference."""

    values: dict[str, Any] = field(default_factory=dict)
    refs: dict[str, RefValue] = field(default_factory=dict)
    through: dict[str, Payload] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)


class PayloadReader:
    """``screen``: read-only fields are writable (a person's screen, bulk data). ``null_reference``: see the switch."""

    def __init__(self, *, screen: bool = False, null_reference: bool = False) -> None:
        self._screen = screen
        self._null_reference = null_reference

    def read(self, tree: Mapping[str, Node], body: Any) -> Payload:
        """Everything that is wrong is in ``errors``, with the field each is about."""
        out = Payload()
        if isinstance(body, Mapping):
            self._group(tree, body, "", out, out.errors, "")
        else:
            out.errors.append(bad_value("", "must be an object"))
        return out

    def _group(
        self, tree: Mapping[str, Node], body: Mapping[str, Any], prefix: str, out: Payload, errors: list[Any], base: str
    ) -> None:
        for name, value in body.items():
            column = prefix + name
            node = tree.get(name)
            if node is None:
                errors.append(not_a_field("/" + (base + column).replace(".", "/")))
            elif isinstance(node, Leaf):
                wrong = self._check(node, value)
                if wrong:
                    errors.append(bad_value(base + column, wrong))
                else:
                    out.values[column] = value or None if isinstance(value, str) else value
            elif isinstance(node, Ref):
                self._reference(node, value, column, out, errors, base)
            elif isinstance(value, Mapping):
                self._group(node, value, column + ".", out, errors, base)
            else:
                errors.append(bad_value(base + column, "must be an object"))

    def _check(self, leaf: Leaf, value: Any) -> str | None:
        if leaf.read_only and not self._screen:
            return "is read-only"
        if value is None or value == "":
            return "must not be empty" if leaf.required else None
        if leaf.enum is not None and value not in leaf.enum:
            return "is not one of the allowed values"
        return None if _CHECKS.get(leaf.type, _is_text)(value) else f"must be a {leaf.type}"

    def _reference(self, ref: Ref, value: Any, column: str, out: Payload, errors: list[Any], base: str) -> None:
        name = base + column
        if ref.read_only and not self._screen:
            errors.append(bad_value(name, "is read-only"))
        elif value is None and self._null_reference:
            out.refs[column] = (None, None)
        elif not isinstance(value, Mapping) or not value:
            errors.append(bad_value(name, "must be an object with key or id"))
        elif ref.through and not value.keys() <= {"key", "id"}:
            inner = out.through[column] = Payload()
            fields = {k: v for k, v in value.items() if k != "key"}
            self._group(EMBEDDED_CONTACT, fields, "", inner, errors, name + ".")
            if "key" in value:
                inner.refs["key"] = (value["key"], None)
        else:
            self._plain_reference(value, name, column, out, errors)

    @staticmethod
    def _plain_reference(value: Mapping[str, Any], name: str, column: str, out: Payload, errors: list[Any]) -> None:
        for part, text in value.items():
            if part not in ("key", "id"):
                errors.append(not_a_field("/" + f"{name}.{part}".replace(".", "/")))
            elif text is not None and not isinstance(text, str):
                errors.append(bad_value(f"{name}.{part}", "must be a string"))
        out.refs[column] = (value.get("key") or None, value.get("id") or None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "date": lambda v: isinstance(v, str) and _DATE.fullmatch(v) is not None,
    "decimal": lambda v: isinstance(v, str) and _DECIMAL.fullmatch(v) is not None,
}


def nest(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted columns as a nested body: ``{"a.b": 1}`` is ``{"a": {"b": 1}}``. Custom fields carry no dots."""
    out: dict[str, Any] = {}
    for column, value in columns.items():
        *groups, last = column.split(".")
        place = out
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return out

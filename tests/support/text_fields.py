"""Fields that hold plain text, for tests of what is decided about them."""

from __future__ import annotations

from typing import Any

from mappings.fields import Field, FieldMap, Kind, Value


def text_kind() -> Kind:
    def normal(value: Value) -> Value:
        return " ".join(value.split()) if isinstance(value, str) else value

    def loss(written: Value, found: Value) -> bool:
        a, b = str(written or "").casefold(), str(found or "").casefold()
        return bool(b) and a.startswith(b)

    return Kind("text", normal, loss)


def column(name: str, limit: int | None = None) -> Field:
    def put(value: Value, baseline: Any) -> dict[str, Any]:
        return {name: value[:limit] if isinstance(value, str) else value}

    return Field(name, text_kind(), "main", (name,), lambda native: native[name], put)


def field_map(*names: str, limit: int | None = None) -> FieldMap:
    return FieldMap("customer", {n: column(n, limit) for n in names})

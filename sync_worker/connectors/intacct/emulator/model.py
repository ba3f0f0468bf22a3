"""The model service: what an object looks like, as the schema says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_worker.connectors.emulation import Response
from sync_worker.connectors.intacct.emulator.company import Company
from sync_worker.connectors.intacct.emulator.envelope import ApiError, result_response
from sync_worker.connectors.intacct.emulator.schema import Leaf, Node, Ref

_FORMATS = {"date": "date", "datetime": "date-time", "decimal": "decimal-precision-2"}
_TYPES = {"number": "number", "boolean": "boolean"}


def answer_model(company: Company, query: Mapping[str, str]) -> Response:
    """``GET /services/core/model?name=...``; 404 for an unknown object, 400 without a name."""
    name = query.get("name")
    if not name or query.get("version", "v1") != "v1":
        raise ApiError(400, "invalidRequest", "name is required", "REST-1064")
    if name not in company.kinds:
        raise ApiError(404, "notFound", "The object does not exist")
    kind = company.kinds[name]
    model = {
        **_describe(company.tree(name)),
        "lists": {},
        "httpMethods": "OPTIONS,GET,POST,DELETE,PATCH" if kind.writable else "OPTIONS,GET",
        "idempotenceSupported": kind.writable,
        "type": "object",
    }
    return result_response(200, model)


def _describe(tree: Mapping[str, Node]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    refs: dict[str, Any] = {}
    for name, node in tree.items():
        if isinstance(node, Leaf):
            fields[name] = _field(node)
        elif isinstance(node, Ref):
            inner = ("key", "id", "name", "href") if node.named else ("key", "id", "href")
            refs[name] = {"apiObject": node.target, "fields": {part: _field(Leaf()) for part in inner}}
        else:
            groups[name] = _describe(node)
    return {"fields": fields, "groups": groups, "refs": refs}


def _field(leaf: Leaf) -> dict[str, Any]:
    """``required`` is always false in the model (documented)."""
    out: dict[str, Any] = {
        "type": _TYPES.get(leaf.type, "string"),
        "mutable": not leaf.read_only,
        "nullable": not leaf.required,
        "readOnly": leaf.read_only,
        "writeOnly": False,
        "required": False,
    }
    if leaf.type in _FORMATS:
        out["format"] = _FORMATS[leaf.type]
    if leaf.enum is not None:
        out["enum"] = sorted(leaf.enum)
    return out

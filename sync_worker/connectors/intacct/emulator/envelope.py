"""The vendor's envelopes: results, lists, and errors in the four shapes they were seen in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync_worker.connectors.emulation import Response, json_response

_SUPPORT = "emulated"


class ApiError(Exception):
    """A refusal: HTTP ``status``, the vendor's ``code`` and ``errorId``, and details with the field they aim at."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        error_id: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message, "supportId": _SUPPORT}
        if error_id:
            self.body["errorId"] = error_id
        if details:
            self.body["details"] = list(details)


def detail(code: str, message: str, target: str | None = None, error_id: str | None = None) -> dict[str, Any]:
    """One entry of ``details``; ``target`` is the field as ``/contacts/default/email1``."""
    out: dict[str, Any] = {"code": code, "message": message}
    if error_id:
        out["errorId"] = error_id
    if target:
        out["target"] = target
    return out


def as_target(column: str) -> str:
    return "/" + column.replace(".", "/")


def payload_error(details: Sequence[Mapping[str, Any]]) -> ApiError:
    """Documented: REST-1064 around one detail per wrong field."""
    return ApiError(400, "invalidRequest", "Payload contains errors", "REST-1064", details)


def not_a_field(path: str) -> dict[str, Any]:
    """Documented: REST-1043."""
    out = detail("invalidRequest", f"{path} is not a valid field", path, "REST-1043")
    out["additionalInfo"] = {
        "messageId": "IA.NOT_A_VALID_FIELD",
        "placeholders": {"FIELD": path},
        "propertySet": {},
    }
    return out


def bad_value(column: str, reason: str) -> dict[str, Any]:
    target = as_target(column)
    return detail("invalidRequest", f"{target} {reason}", target)


def business_error(column: str | None, reason: str, code: str = "operationFailed") -> ApiError:
    """422: the payload is well-formed, the values are not acceptable."""
    target = as_target(column) if column else None
    return ApiError(422, "operationFailed", "Operation failed", None, [detail(code, reason, target)])


def unknown_key(key: str) -> ApiError:
    return ApiError(404, "notFound", f"Object with key {key} could not be found")


def error_response(error: ApiError, shape: str = "normal", *, details_object: bool = False) -> Response:
    """The error in one of the four shapes: normal, result, error, bare."""
    body = error.body
    if details_object and isinstance(body.get("details"), list):
        body = {**body, "details": body["details"][0]}
    meta = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
    match shape:
        case "result":
            return json_response(error.status, {"ia::result": {"ia::error": body}, "ia::meta": meta})
        case "error":
            return json_response(error.status, {"error": body})
        case "bare":
            return json_response(error.status, body)
    return json_response(error.status, {"ia::error": body, "ia::meta": meta})


def result_response(status: int, result: Any) -> Response:
    return json_response(
        status, {"ia::result": result, "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0}}
    )


def page_response(rows: Sequence[Any], total: int, start: int, size: int) -> Response:
    """A page of a list or query; ``start`` is 1-based, ``next`` and ``previous`` are record numbers or null."""
    following = start + size
    meta = {
        "totalCount": total,
        "start": start,
        "pageSize": size,
        "next": following if following <= total else None,
        "previous": max(start - size, 1) if start > 1 else None,
    }
    return json_response(200, {"ia::result": rows, "ia::meta": meta})


def batch_response(items: Sequence[tuple[int, dict[str, Any]]], good: int, *, uniform: bool) -> Response:
    """Per-item results with ``ia::status`` each: ``good`` when all went well, else 207 (or the one status of all)."""
    failed = sum(1 for status, _ in items if status >= 400)
    status = good if not failed else 207
    if uniform and failed == len(items) and len({s for s, _ in items}) == 1:
        status = items[0][0]
    result = [{**body, "ia::status": s} for s, body in items]
    meta = {"totalCount": len(items), "totalSuccess": len(items) - failed, "totalError": failed}
    return json_response(status, {"ia::result": result, "ia::meta": meta})

"""What goes over the socket, without the socket: tests hand requests in, the server does the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Close = Literal["none", "before", "mid"]
Kind = Literal["read", "write", "auth", "other"]

_JSON = "application/json"
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Request:
    """One HTTP request: ``path`` percent-decoded, ``query`` raw, header names lower-case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """One HTTP answer. ``close``: drop the connection without (``before``) or with half (``mid``) an answer.

    ``delay_ms``: how long the server holds the answer back; the request is applied before that.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    close: Close = "none"
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request asks for: ``name`` is counted ("patch customer"), ``kind`` decides which faults may strike."""

    name: str
    kind: Kind


def encode_json(obj: Any) -> bytes:
    """Compact JSON as ASCII, so that even lone surrogates travel."""
    return _encode(obj).encode("ascii")


def json_response(status: int, obj: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; ``headers`` are added to the content type."""
    return Response(status, encode_json(obj), {"content-type": _JSON, **(headers or {})})

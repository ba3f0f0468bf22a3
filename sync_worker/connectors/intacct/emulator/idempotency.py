"""The vendor's memory of Idempotency-Keys: requests and answers, failures too (documented)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from sync_worker.connectors.emulation import Request, Response
from sync_worker.connectors.intacct.emulator.envelope import ApiError

ANSWERED_SECONDS = 48 * 3600
RESERVED_SECONDS = 60 * 86_400
MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    fingerprint: bytes
    status: int
    body: bytes


class IdempotencyCache:
    """Answers repeats within 48 hours; a key stays reserved for 60 days."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def answer(self, key: str, request: Request) -> Response | None:
        """The kept answer of a repeat, None for a key never seen. 409: another body, or past the 48 hours."""
        if len(key) > MAX_LENGTH:
            raise ApiError(400, "invalidRequest", f"Idempotency-Key is longer than {MAX_LENGTH}", "REST-1064")
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.at
        if age > RESERVED_SECONDS:
            return None
        if age > ANSWERED_SECONDS or kept.fingerprint != _fingerprint(request):
            raise ApiError(409, "operationFailed", "The idempotency key is taken by another request")
        headers = {"content-type": "application/json", **_headers(key, kept.at)}
        return Response(kept.status, kept.body, headers)

    def keep(self, key: str, request: Request, response: Response) -> None:
        self._kept[key] = _Kept(self._clock(), _fingerprint(request), response.status, response.body)
        response.headers["Idempotency-Key"] = key


def _headers(key: str, at: float) -> dict[str, str]:
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return {"Idempotency-Key": key, "x-ia-idempotency-cached-date": date}


def _fingerprint(request: Request) -> bytes:
    return hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).digest()

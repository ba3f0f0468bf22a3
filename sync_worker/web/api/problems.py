"""What went wrong, as problem documents (RFC 9457): what, why, what to do. Never a value that was sent, nor a trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sync_worker.desk import refusals
from sync_worker.errors import PermanentError
from sync_worker.store.managers import AmbiguousMapping

MEDIA_TYPE = "application/problem+json"
DOCS = "/api/docs"
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)
RETRY_AFTER_SECONDS = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem. ``meaning``: for the page that its type leads to."""

    name: str
    status: int
    title: str
    meaning: str

    @property
    def type(self) -> str:
        return f"{DOCS}#{self.name}"


UNAUTHORIZED = Kind("unauthorized", 401, "No valid token", "The token is missing, mistyped or removed.")
FORBIDDEN = Kind("forbidden", 403, "This token may only look", "Changing something needs a token of role operate.")
NOT_FOUND = Kind("not-found", 404, "Not found", "There is no such address, link, run, flow, system or mapping row.")
NOT_ALLOWED = Kind("method-not-allowed", 405, "Wrong method", "The header Allow names those that this address takes.")
AMBIGUOUS = Kind("ambiguous", 409, "Several answers fit", "Name the one that is meant; the detail lists them.")
NOT_OPEN = Kind("not-open", 409, "Nothing to settle", "The field is at rest, or it was settled meanwhile.")
REFUSED = Kind("refused", 409, "Not possible as things are", "The detail says why, and what would help.")
TOO_LARGE = Kind("too-large", 413, "Body too large", "A body may have 64 KiB.")
INVALID = Kind("invalid", 422, "The request is not right", "Every error is listed: where it is, and what is allowed.")
INTERNAL = Kind("internal", 500, "An error of ours", "It stands in the log, with the place in the code.")
UNAVAILABLE = Kind("unavailable", 503, "The database cannot be used", "Try again; the header Retry-After says when.")
KINDS = (
    UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED, AMBIGUOUS, NOT_OPEN, REFUSED, TOO_LARGE, INVALID, INTERNAL,
    UNAVAILABLE,
)  # fmt: skip


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    place: str = Field(description="path, query or body, and the name there", examples=["query limit"])
    what: str = Field(description="what is wrong, or allowed")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="which kind of problem: a place on the page of the API", examples=[INVALID.type])
    title: str = Field(description="that kind in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what happened here, why, and what to do")
    errors: list[Wrong] | None = Field(default=None, description="all that is wrong with the request, at once")


class Refused(Exception):
    """Ends a request with a problem."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def answer(
    kind: Kind, detail: str, *, errors: Sequence[Wrong] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document. Plain ASCII: names that came with the request may be no text that UTF-8 can hold."""
    document: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail}
    if errors:
        document["errors"] = [one.model_dump() for one in errors]
    return Response(json.dumps(document), kind.status, dict(headers or {}), media_type=MEDIA_TYPE)


def database_away(error: Exception) -> Response:
    """The answer to a database that cannot be used now."""
    log.error("api.database", error=type(error).__name__)
    detail = "The database did not answer, so nothing was read or changed. Try again in a few seconds."
    return answer(UNAVAILABLE, detail, headers={"retry-after": str(RETRY_AFTER_SECONDS)})


def handle(api: FastAPI) -> None:
    """Have every error of the API answered as a problem."""
    api.exception_handler(Refused)(_refused)
    api.exception_handler(PermanentError)(_permanent)
    api.exception_handler(RequestValidationError)(_invalid)
    api.exception_handler(HTTPException)(_http)
    for kind in DATABASE_AWAY:
        api.exception_handler(kind)(_database)
    api.exception_handler(Exception)(_bug)


async def _refused(_request: Request, error: Refused) -> Response:
    return answer(error.kind, str(error))


_OF_ERROR: Mapping[type[PermanentError], Kind] = {
    refusals.NotKnown: NOT_FOUND,
    refusals.Ambiguous: AMBIGUOUS,
    AmbiguousMapping: AMBIGUOUS,
    refusals.NotOpen: NOT_OPEN,
    refusals.BadChoice: INVALID,
}


async def _permanent(_request: Request, error: PermanentError) -> Response:
    kind = next((kind for known, kind in _OF_ERROR.items() if isinstance(error, known)), REFUSED)
    return answer(kind, str(error))


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    wrong = [_wrong(one) for one in error.errors()]
    return answer(INVALID, "; ".join(f"{one.place}: {one.what}" for one in wrong), errors=wrong)


def _wrong(error: Mapping[str, Any]) -> Wrong:
    what = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid":
        return Wrong(place="body", what="this is not JSON")
    if error["type"] == "extra_forbidden":
        what = "there is no such name here; the page of the API lists those there are"
    if error["type"] == "model_attributes_type":
        what = "send a JSON object, with content-type: application/json"
    return Wrong(place=" ".join(str(part) for part in error["loc"]), what=what)


async def _http(request: Request, error: HTTPException) -> Response:
    """What the framework refuses by itself."""
    if error.status_code == 404:
        return answer(NOT_FOUND, f"There is no such address; {DOCS} lists those there are.")
    if error.status_code == 405:
        detail = f"{request.method} is not for this address; the header Allow names what is."
        return answer(NOT_ALLOWED, detail, headers=error.headers)
    return answer(INVALID, "The body cannot be read: send a JSON object, with content-type: application/json.")


async def _database(_request: Request, error: Exception) -> Response:
    return database_away(error)


async def _bug(_request: Request, _error: Exception) -> Response:
    """The error itself goes on to the server, which logs it."""
    return answer(INTERNAL, "Something went wrong on our side. The log of the web process says where.")

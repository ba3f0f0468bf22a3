"""The one place that turns a Sage CRM response into an error.

Documented shape: ``{"$diagnoses": [{"$severity", "$sdataCode", "$message", "$applicationCode"}]}``, or a single
``$diagnosis``; older servers answer XML ``<diagnosis>``; a proxy or the web server itself answers HTML. Messages may
quote what people typed: codes and column names are taken out of them, and a refusal carries its own as ``said``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sync_worker.connectors import documents
from sync_worker.connectors.answers import Answer, retry_after, status_error
from sync_worker.errors import AuthFailed, NotFound, RateLimited, Rejected, SyncError, SystemUnavailable

_BODY_LOOK = 64 * 1024  # bytes of an answer that are looked at for an error
# only real table prefixes: a message may also quote what somebody typed
_COLUMN = re.compile(r"\b(?:comp|pers|addr|phon|emai|plink|elink|adli|peli)_[a-z0-9_]{1,75}\b", re.IGNORECASE)
_WRONG_ADDRESS = frozenset(
    {"BadUrlSyntax", "ApplicationNotFound", "ContractNotFound", "DatasetNotFound", "ResourceKindNotFound"}
)
_CODE = re.compile(r"[A-Za-z0-9]{1,40}\Z")
_CELLS = ("severity", "sdataCode", "payloadPath", "message")
_XML_CELL = r"<(?:\w+:)?{0}[^<>]*>([^<]{{0,500}})<"
_JSON_CELL = r'"\${0}"\s*:\s*"([^"\\]{{0,500}})'  # of JSON that was cut


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What an error body says. ``message``: free text, for people who look at the record only."""

    severity: str = ""
    code: str = ""
    column: str | None = None
    message: str = ""


def classify(answer: Answer) -> SyncError | None:
    """The error an answer stands for, None when it is well. A 2xx can hold a diagnosis instead of a record."""
    if 200 <= answer.status < 300:
        if b'"$diagnos' not in answer.content[:200]:
            return None
        found = read_diagnosis(answer.content[:_BODY_LOOK])
        return None if found.severity in ("", "info", "warning") else _refusal(found, answer)
    return _refusal(read_diagnosis(answer.content[:_BODY_LOOK]), answer)


def _refusal(found: Diagnosis, answer: Answer) -> SyncError | None:
    status = answer.status
    text = f"HTTP {status} {found.code}".strip()
    if status == 401:
        return AuthFailed("the login was refused (HTTP 401)", status=status)
    if status == 403:
        return AuthFailed("the login may not do this, or the entity is not exposed (HTTP 403)", status=status)
    if status == 429:
        return RateLimited(text, after=retry_after(answer.headers), status=status)
    if found.code in _WRONG_ADDRESS:
        return NotFound(text, status=status)
    if found.severity == "transient":
        return SystemUnavailable(text, after=retry_after(answer.headers), status=status)
    if status in (405, 501):
        return Rejected(f"{text}: the server does not know this verb here", status=status)
    if status in (400, 413, 415, 422) or 200 <= status < 300:
        return Rejected(text, column=found.column, status=status).saying(found.message)
    error = status_error("", answer, after=retry_after(answer.headers))
    if error is not None:
        error.system = None
    return error


def read_diagnosis(content: bytes) -> Diagnosis:
    """Severity, code and column of an error body in any of its forms; empty for a page that says nothing we know."""
    try:
        document = documents.read(content)
    except documents.Unreadable:
        return _read_text(content.decode("utf-8", "replace"))
    found = _first(document)
    if found is None:
        return Diagnosis()
    words = " ".join(str(found.get(name) or "") for name in ("$payloadPath", "$message"))
    severity, message = str(found.get("$severity") or "").lower(), str(found.get("$message") or "")
    return Diagnosis(severity, _code(found.get("$sdataCode")), _column(words), message)


def _first(document: Any) -> dict[str, Any] | None:
    if isinstance(document, list):
        return _first(document[0]) if document else None
    if not isinstance(document, dict):
        return None
    for name in ("$diagnoses", "$diagnosis"):
        if name in document:
            return _first(document[name])
    return document if "$sdataCode" in document or "$severity" in document else None


def _read_text(text: str) -> Diagnosis:
    """XML, or JSON that goes on behind what is looked at."""
    if "diagnos" not in text:
        return Diagnosis()
    form = _JSON_CELL if '"$diagnos' in text else _XML_CELL
    cells = {name: re.search(form.format(name), text) for name in _CELLS}
    said = {name: match.group(1) if match else "" for name, match in cells.items()}
    column = _column(f"{said['payloadPath']} {said['message']}")
    return Diagnosis(said["severity"].lower(), _code(said["sdataCode"]), column, said["message"])


def _code(value: Any) -> str:
    return value if isinstance(value, str) and _CODE.match(value) else ""


def _column(text: str) -> str | None:
    match = _COLUMN.search(text)
    return match.group(0) if match else None

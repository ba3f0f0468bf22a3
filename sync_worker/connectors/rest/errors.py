"""The one place that turns such an API's response into an error. Messages are never taken out of it: they may quote."""

from __future__ import annotations

import re
from typing import Any

from sync_worker.connectors import documents
from sync_worker.connectors.answers import Answer, retry_after, status_error
from sync_worker.connectors.rest import pointers
from sync_worker.errors import NotFound, RecordBusy, Rejected, SyncError, SystemUnavailable

_FIELD = re.compile(r"[A-Za-z0-9_./~-]{1,80}")


def classify(answer: Answer, refused_field: str) -> SyncError | None:
    """The error an answer stands for, None when it is well. ``refused_field``: where a refusal names its field.

    A 404 counts only when it is the API's own, in JSON: the page of a proxy must not look like removed customers.
    """
    if answer.status == 404 and not isinstance(_document(answer), dict):
        return SystemUnavailable("HTTP 404 without JSON: is base_url or the path of the profile right?")
    if answer.status == 412:
        return RecordBusy("HTTP 412: it was changed since it was read", status=412)
    error = status_error("", answer, after=retry_after(answer.headers))
    if error is None:
        return None
    error.system = None
    if isinstance(error, Rejected) and refused_field:
        error.column = _column(pointers.text(_document(answer), refused_field))
    if isinstance(error, NotFound):
        return NotFound("HTTP 404: there is no such record", status=404)
    return error


def _document(answer: Answer) -> Any:
    try:
        return documents.read(answer.content)
    except documents.Unreadable:
        return None


def _column(named: str) -> str | None:
    """A field's name as a pointer; what is no name is not repeated."""
    if not _FIELD.fullmatch(named):
        return None
    return named if named.startswith("/") else "/" + named.replace(".", "/")

"""The one place that turns an Intacct answer into an error.

Documented: four shapes of error body, ``details`` as a list or an object, gateway codes ``GW-nnnn``. What a vendor's
message says is read here, to tell cases apart, and may hold names: errors repeat codes and columns. A refusal carries
the vendor's words as ``said``, for who looks at the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sync_worker.connectors.http import Answer, retry_after, status_error
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RecordBusy,
    Rejected,
    SyncError,
    SystemUnavailable,
)

# in the order the vendor's headers are to be believed; one is printed in two spellings by the vendor
RETRY_HEADERS = (
    "retry-after",
    "x-ia-throttle-limit-retry-after",
    "x-ia-throttle-limit-retryafter",
    "x-ia-hour-rate-limit-retry-after",
    "x-ia-hour-rate-limit-retryafter",
    "x-ia-minute-rate-limit-retry-after",
    "x-ia-minute-rate-limit-retryafter",
    "x-ia-tenant-throttle-limit-retry-after",
    "x-ia-tenant-throttle-limit-retryafter",
)
_TOKEN_CODES = {"tokeninvalid", "gw-0031", "gw-0034", "rest-2102"}
_TOKEN_TEXTS = ("invalid token", "token is not valid")
_IDENTITY_CODES = {"gw-0011", "gw-0012", "gw-0032", "gw-0036", "gw-0037", "gw-0042", "unauthorizeduser"}
_MOST_NAMED = 10  # codes, and columns, of one error: they stand in one line
_ABSENT_CODES = {"notfound"}
_INVALID_FIELD = ("not_a_valid_field", "not a valid field", "read-only", "read only", "readonly", "not writable")


class TokenRejected(AuthFailed):
    """The access token is no longer accepted: worth one new token, then it is an AuthFailed like any other."""


class InvalidField(Rejected):
    """The vendor does not know a field by this name (or does not let it be written)."""


@dataclass(frozen=True, slots=True)
class VendorError:
    """An error body, whatever its shape. ``codes`` are lower-case; ``columns`` are dotted names of refused fields;
    the first ten of each.

    ``said``: its messages as they stand.
    """

    codes: tuple[str, ...]
    columns: tuple[str, ...]
    said: str

    @property
    def text(self) -> str:
        return self.said.lower()

    @property
    def label(self) -> str:
        return " ".join((*self.codes, *self.columns))


def read_error(body: Any) -> VendorError | None:
    """The error in a body, or None when it holds none."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("ia::result")
    for candidate in (
        body.get("ia::error"),
        inner.get("ia::error") if isinstance(inner, Mapping) else None,
        body.get("error"),
        body if "code" in body or "supportId" in body else None,
    ):
        if isinstance(candidate, Mapping):
            return _read(candidate)
        if isinstance(candidate, str):  # OAuth's own form: {"error": "invalid_client"}
            return VendorError((candidate.lower()[:64],), (), "")
    return None


def _read(error: Mapping[str, Any]) -> VendorError:
    details = error.get("details")
    if isinstance(details, Mapping):
        details = [details]
    levels = [error, *(d for d in details if isinstance(d, Mapping))] if isinstance(details, list) else [error]
    codes: dict[str, None] = {}
    columns: dict[str, None] = {}
    texts = []
    for level in levels:
        info = level.get("additionalInfo")
        info = info if isinstance(info, Mapping) else {}
        for name in (level.get("code"), level.get("errorId"), info.get("messageId")):
            if isinstance(name, str) and name:
                codes[name.lower()[:64]] = None
        placeholders = info.get("placeholders")
        field = placeholders.get("FIELD") if isinstance(placeholders, Mapping) else None
        for target in (level.get("target"), field):
            if isinstance(target, str) and target:
                columns[column_of(target)] = None
        texts.append(str(level.get("message") or ""))
    first_codes, first_columns = tuple(islice(codes, _MOST_NAMED)), tuple(islice(columns, _MOST_NAMED))
    return VendorError(first_codes, first_columns, ": ".join(dict.fromkeys(filter(None, texts))))


def column_of(target: str) -> str:
    """``/contacts/default/email1`` or ``/0/contacts/default/email1`` -> ``contacts.default.email1``."""
    parts = [p for p in target.strip()[:255].split("/") if p]
    if len(parts) > 1 and parts[0].isdigit():
        parts = parts[1:]
    return ".".join(parts)


def classify(answer: Answer) -> SyncError | None:
    """What a whole answer means; None when it is well (a 207 holds its errors per item: ``item_error``)."""
    if 200 <= answer.status < 300:
        return None
    try:
        body = answer.json()
    except (SystemUnavailable, OutcomeUnknown):  # an error page that is not JSON: its status says enough
        body = None
    after = retry_after(answer.headers, RETRY_HEADERS)
    return meaning(answer.status, read_error(body), after)


def item_error(item: Any) -> SyncError | None:
    """The error of one item of a mixed answer, or None when it was applied."""
    error = read_error(item)
    if error is None:
        return None
    status = item.get("ia::status")
    if isinstance(status, Mapping):
        status = status.get("status")
    known = isinstance(status, int | str) and str(status).isdigit()
    return meaning(int(status) if known else _status_of(error), error, None)


def _status_of(error: VendorError) -> int:
    """Our assumption for an item without a status: a code that says so, else a business rule."""
    if _ABSENT_CODES & set(error.codes[:1]):
        return 404
    if "gw-0001" in error.codes:
        return 500
    return 409 if "duplicate" in error.text or "already exists" in error.text else 422


def meaning(status: int, error: VendorError | None, after: float | None) -> SyncError:
    """Status and body together: what to do about it."""
    error = error or VendorError((), (), "")
    codes = set(error.codes)
    text = f"HTTP {status} {error.label}".strip()
    if codes & _TOKEN_CODES or status == 401 or (status == 400 and any(t in error.text for t in _TOKEN_TEXTS)):
        return TokenRejected(text, status=status)
    if status == 429 or "gw-0010" in codes:
        return RateLimited(text, after=after, status=status)
    if status == 408 or status >= 500:
        return SystemUnavailable(text, after=after, status=status)
    if status == 403 or codes & _IDENTITY_CODES:
        return AuthFailed(text, status=status)
    if status == 409:
        return _clash(text, error)
    if status == 404 or (error.codes and error.codes[0] in _ABSENT_CODES):
        return NotFound(text, status=status)
    words = " ".join((error.text, *error.codes))
    kind = InvalidField if any(w in words for w in _INVALID_FIELD) else Rejected
    plain = status_error("", Answer(status, {}, b""))
    if 300 <= status < 400 and plain is not None:
        return plain
    return kind(text, column=error.columns[0] if error.columns else None, status=status).saying(error.said)


def _clash(text: str, error: VendorError) -> SyncError:
    """Documented: 409 is a lock, an idempotency clash or a taken unique key; how they differ is our assumption."""
    words = " ".join((error.text, *error.codes))
    if "lock" in words or "in progress" in words or "concurrent" in words:
        return RecordBusy(text, status=409)
    if "idempot" in words:
        # this key was used before, so something may have been applied under it: find before repeating
        return OutcomeUnknown(text, status=409)
    return AlreadyExists(text, status=409).saying(error.said)

"""What a vendor answered, and what a status means where its body does not say more."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from sync_worker.connectors import documents
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SyncError,
    SystemUnavailable,
)

LONGEST_AFTER = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response; header names are found whatever their case.

    ``write``: it answers a write, so an unreadable body leaves the outcome unknown.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    write: bool = False

    def json(self) -> Any:
        """The decoded body. Raises SystemUnavailable (reads) or OutcomeUnknown (writes) when it is not JSON."""
        try:
            return documents.read(self.content)
        except documents.Unreadable as error:
            kind = OutcomeUnknown if self.write else SystemUnavailable
            raise kind(f"the answer is {error}", status=self.status) from None


@dataclass(frozen=True, slots=True)
class CallSeen:
    """One request as metrics see it. ``result``: ``ok`` or the code of the error."""

    system: str
    operation: str
    result: str
    seconds: float


def retry_after(headers: Mapping[str, str], names: Sequence[str] = ("retry-after",)) -> float | None:
    """Seconds the vendor asks to wait: the first of ``names`` that is readable as seconds or as an HTTP date.

    At most a day: longer is a slip of the vendor's, and nobody would look again.
    """
    for name in names:
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds):
            return min(max(0.0, seconds), LONGEST_AFTER)
    return None


def status_error(system: str, answer: Answer, *, after: float | None = None) -> SyncError | None:
    """The plain meaning of a status, for what a vendor's own error body does not settle."""
    status = answer.status
    text = f"HTTP {status}"
    if status < 300:
        return None
    if status == 429:
        return RateLimited(text, after=after, system=system, status=status)
    if status == 408 or status >= 500 or status < 400:
        hint = "redirected: check base_url" if status < 400 else text
        return SystemUnavailable(hint, after=after, system=system, status=status)
    if status in (401, 403):
        return AuthFailed(text, system=system, status=status)
    kinds: dict[int, type[SyncError]] = {404: NotFound, 409: AlreadyExists}
    return kinds.get(status, Rejected)(text, system=system, status=status)

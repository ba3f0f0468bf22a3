"""One signed webhook (Standard Webhooks): JSON that says the same as the mail."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlsplit

from sync_worker.alerts.message import Message
from sync_worker.connectors.http import Answer, VendorHttp
from sync_worker.connectors.standard_webhooks import signed_headers
from sync_worker.errors import Rejected, SyncError

SECONDS = 15.0


class Hook:
    """One of the targets of alerts. ``clock``: seconds since 1970, which the receiver compares with its own."""

    name = "webhook"

    def __init__(self, url: str, secret: str, clock: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = secret
        self._clock = clock

    def send(self, message: Message) -> None:
        """Post it; any 2xx counts as received. Raises SyncError."""
        body = json.dumps(message.document, ensure_ascii=False, separators=(",", ":")).encode()
        headers = signed_headers(self._secret, message.id, self._clock(), body)
        # the id makes it safe to repeat
        self._call("POST", content=body, headers=headers, write=True, keyed=True)

    def check(self) -> None:
        """Is anybody there? Posts nothing; most receivers answer HEAD with "not allowed". Raises SyncError."""
        try:
            self._call("HEAD")
        except SyncError as error:
            if error.status is None or error.status >= 500:
                raise

    def _call(
        self,
        method: str,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        write: bool = False,
        keyed: bool = False,
    ) -> None:
        http = VendorHttp("alerts.webhook", self._base, classify=_classify, deadline=SECONDS)
        try:
            http.call("alert", method, self._path, content=content, headers=headers, write=write, keyed=keyed)
        finally:
            http.close()


def _classify(answer: Answer) -> SyncError | None:
    """What is not in the general meaning of a status."""
    if 300 <= answer.status < 400:
        return Rejected(f"alerts.webhook: it answers HTTP {answer.status}, which leads elsewhere: give that address")
    return None

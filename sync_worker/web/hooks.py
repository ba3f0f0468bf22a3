"""``POST /hooks/{system}``: a change notice. Answers 2xx only after the notice is durably stored.

Checks in this order: 404 unknown system, 413 over 1 MiB, 401 signature, 400 unreadable; 503 with Retry-After when it
cannot be stored. Raw ASGI: the request is read and answered without objects made for it, since everything here is
paid once per notice and a mass edit at a vendor sends thousands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from sync_worker.connectors.base import Connector, HookRefused
from sync_worker.store.inbox_writer import InboxFull, InboxWriter
from sync_worker.web import body as body_of

PATH = "/hooks/"
BODY_LIMIT = 1024 * 1024
RETRY_AFTER = b"5"

_JSON = (b"content-type", b"application/json")
_OK = b'{"status":"ok"}'

log = structlog.get_logger(__name__)


class HookRoute:
    """The webhook endpoint of all systems, as an ASGI application."""

    def __init__(
        self, systems: Mapping[str, Connector], writer: InboxWriter, ring_parts: Callable[[str], None]
    ) -> None:
        """``ring_parts``: called with a system whose notice named children of unknown records; must not wait."""
        self._systems = systems
        self._writer = writer
        self._ring_parts = ring_parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connector = self._systems.get(scope["path"].removeprefix(PATH))
        if connector is None:
            return await _answer(send, 404, b'{"error":"unknown system"}')
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = await body_of.read(headers.get("content-length"), receive, BODY_LIMIT)
        if body is None:
            return await _answer(send, 413, b'{"error":"larger than 1 MiB"}')
        return await self._accept(connector, headers, body, send)

    async def _accept(self, connector: Connector, headers: Mapping[str, str], body: bytes, send: Send) -> None:
        try:
            changes = connector.verify_hook(headers, body, time.time())
        except HookRefused as refused:
            log.warning("hook.refused", system=connector.system, status=refused.status, reason=refused.reason)
            return await _answer(send, refused.status, _REFUSALS[refused.status])
        if changes:
            try:
                accepted = await self._writer.store(changes)
            except (SQLAlchemyError, InboxFull) as error:
                log.error("hook.not_stored", system=connector.system, error=type(error).__name__)
                return await _answer(send, 503, b'{"error":"cannot store, try again"}', (b"retry-after", RETRY_AFTER))
            if accepted.unresolved:
                self._ring_parts(connector.system)
        return await _answer(send, 200, _OK)


class HooksFirst:
    """ASGI: webhooks go straight to their route, everything else to ``site`` with its middlewares and routing."""

    def __init__(self, hooks: HookRoute, site: ASGIApp) -> None:
        self._hooks = hooks
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(PATH)
        await (self._hooks if told else self._site)(scope, receive, send)


_REFUSALS = {401: b'{"error":"signature missing, wrong or too old"}', 400: b'{"error":"unreadable body"}'}


async def _answer(send: Send, status: int, body: bytes, *extra: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *extra]})
    await send({"type": "http.response.body", "body": body})

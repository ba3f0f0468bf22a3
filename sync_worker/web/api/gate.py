"""The door of the API: who may come in, how much they may bring, and how many at once.

Every address below ``/api`` but the page and its document needs a token, and what does more than look one that may
operate: a route cannot forget to ask. Raw ASGI, so that this comes before anything of the request is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_worker.store import accounts
from sync_worker.store.accounts import Account
from sync_worker.store.session import Database
from sync_worker.web import body as body_of
from sync_worker.web.api import problems

OPEN = frozenset({problems.DOCS, "/api/openapi.json"})
LOOKING = frozenset({"GET", "HEAD"})
BODY_LIMIT = 64 * 1024
AT_ONCE = 8
"""Requests in work at once: the webhooks answer from the same process, and the database has readers for others too."""

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_REALM = 'Bearer realm="sync-worker"'

log = structlog.get_logger(__name__)


class Gate:
    """ASGI application around the API's own. Mounted at ``/api``; inside, addresses are whole (``/api/v1/links``)."""

    def __init__(self, api: ASGIApp, db: Database) -> None:
        self._api = api
        self._db = db
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, "root_path": scope.get("app_root_path", "")}
        if scope["type"] != "http":
            return await self._api(scope, receive, send)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["path"] in OPEN:
            return await self._api(scope, receive, answer)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        async with self._places:
            found = await self._account(headers, scope["method"])
        if isinstance(found, Response):
            return await found(scope, receive, answer)
        body = b""
        if scope["method"] not in LOOKING:
            read = await body_of.read(headers.get("content-length"), receive, BODY_LIMIT)
            if read is None:
                detail = f"The body is larger than {BODY_LIMIT // 1024} KiB; no request needs as much."
                return await problems.answer(problems.TOO_LARGE, detail)(scope, receive, answer)
            body = read
        async with self._places:
            return await self._api({**scope, "account": found}, _having_read(body, receive), answer)

    async def _account(self, headers: Mapping[str, str], method: str) -> Account | Response:
        """Whose token this is, or the answer to a request that may not come in."""
        scheme, _, token = headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            detail = "Send the header Authorization: Bearer TOKEN; sync-worker tokens add NAME makes a token."
            return problems.answer(problems.UNAUTHORIZED, detail, headers={"www-authenticate": _REALM})
        try:
            account = await run_in_threadpool(accounts.by_token, self._db, token.strip())
        except problems.DATABASE_AWAY as error:
            return problems.database_away(error)
        if account is None:
            log.warning("api.refused", status=401)
            detail = "This token is not known, or was removed; sync-worker tokens list shows whose there are."
            challenge = {"www-authenticate": f'{_REALM}, error="invalid_token"'}
            return problems.answer(problems.UNAUTHORIZED, detail, headers=challenge)
        if method not in LOOKING and account.role != "operate":
            log.warning("api.refused", status=403, actor=account.name)
            detail = f"The token of {account.name} may only read; {method} needs one made with --role operate."
            challenge = {"www-authenticate": f'{_REALM}, error="insufficient_scope"'}
            return problems.answer(problems.FORBIDDEN, detail, headers=challenge)
        return account


def _having_read(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives out a body that was read already, then goes on with what follows."""
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again

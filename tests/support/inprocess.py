"""An emulator as an httpx transport: the same requests, without the socket."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import httpx

from sync_worker.connectors.emulation import Emulator, Request


class EmulatorTransport(httpx.BaseTransport):
    """``around(before)``: called before (True) and after (False) each request reaches the emulator; may raise."""

    def __init__(self, emulator: Emulator, around: Callable[[bool], None] = lambda _before: None) -> None:
        self._emulator = emulator
        self._around = around

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._around(True)
        url = request.url
        answer = self._emulator.handle(
            Request(
                request.method,
                unquote(url.raw_path.split(b"?")[0].decode()),
                url.query.decode(),
                {k.lower(): v for k, v in request.headers.items()},
                request.read(),
            )
        )
        self._around(False)
        if answer.close != "none":
            raise httpx.ReadError("connection dropped")
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)

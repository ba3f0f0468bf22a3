"""An HTTP server's answer in one piece: uvicorn writes head and body by themselves.

uvloop hands each write to the system at once: two calls, two packets, and a reader that is woken for a head alone. An
acknowledgement took a sixth longer that way.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _Gathered:
    """A transport that keeps a piece until the next one is written, or the event loop's turn ends."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._held is None:
            self._held = data
            self._loop.call_soon(self.flush)
        elif not self._inner.is_closing():
            held, self._held = self._held, None
            self._inner.writelines((held, data))

    def flush(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._inner.is_closing():
            self._inner.write(held)

    def close(self) -> None:
        self.flush()
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class WholeAnswers(HttpToolsProtocol):
    """A connection to be given to uvicorn as ``http``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._gathered = _Gathered(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._gathered))

    def eof_received(self) -> None:
        self._gathered.flush()  # now the transport closes itself
        super().eof_received()

"""A TCP proxy that can be cut and slowed: it stands before the queue server and before both vendors."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

import uvloop

from sync_worker.demo.ports import HOST, free_ports

LISTEN_SECONDS = 10.0


class _Half(asyncio.Protocol):
    """One end of a connection; what it receives goes out at the other end, ``delay`` seconds later."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._early: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._gate.halves.add(self)
        for data in self._early:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            return
        if self._gate.delay > 0:
            asyncio.get_running_loop().call_later(self._gate.delay, self.other.send, data)
        else:
            self.other.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.halves.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Front(_Half):
    """The end that clients connect to; it dials the real server."""

    def __init__(self, gate: Gate, dial: Callable[[_Half], Awaitable[object]]) -> None:
        super().__init__(gate)
        self._dial = dial

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._gate.closed:
            self.cut()
            return
        self.other = _Half(self._gate)
        self.other.other = self
        self._gate.dialling.add(task := asyncio.ensure_future(self._connect(self.other)))
        task.add_done_callback(self._gate.dialling.discard)

    async def _connect(self, back: _Half) -> None:
        try:
            await self._dial(back)
        except OSError:
            self.cut()
        if self.transport is None or self.transport.is_closing():
            back.cut()


@dataclass
class Gate:
    """One proxied address. ``closed``: new connections are dropped; ``delay``: seconds added to every piece."""

    port: int
    closed: bool = False
    delay: float = 0.0
    halves: set[_Half] = field(default_factory=set)
    dialling: set[asyncio.Future[None]] = field(default_factory=set)


class Proxies:
    """Gates served by one thread. ``with Proxies() as proxies: gate = proxies.before("http://127.0.0.1:80")``."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._servers: list[asyncio.AbstractServer] = []

    def start(self) -> None:
        self._thread.start()

    def before(self, url: str) -> Gate:
        """A gate to a server given as ``http://…``, ``redis://…`` or ``unix://…``."""
        (port,) = free_ports(1)
        gate = Gate(port)
        where = urlsplit(url)

        def dial(back: _Half) -> Awaitable[object]:
            if where.scheme == "unix":
                return self._loop.create_unix_connection(lambda: back, unquote(where.path))
            return self._loop.create_connection(lambda: back, where.hostname, where.port)

        async def listen() -> None:
            self._servers.append(await self._loop.create_server(lambda: _Front(gate, dial), HOST, port))

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(LISTEN_SECONDS)
        return gate

    def cut(self, gate: Gate) -> None:
        """Drop every connection that stands; new ones are taken unless the gate is closed."""
        self._loop.call_soon_threadsafe(lambda: [half.cut() for half in list(gate.halves)])

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def proxies() -> Iterator[Proxies]:
    """The thread for as long as the block lasts."""
    made = Proxies()
    made.start()
    try:
        yield made
    finally:
        made.close()

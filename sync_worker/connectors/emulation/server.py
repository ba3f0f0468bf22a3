"""Puts an emulator on a real socket: an ASGI callable and uvicorn around it."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any

import uvicorn

from sync_worker.connectors.emulation.admin import PREFIX, answer_admin
from sync_worker.connectors.emulation.core import Emulator
from sync_worker.connectors.emulation.sender import NoticeSender
from sync_worker.connectors.emulation.wire import Request, Response
from sync_worker.whole_answers import WholeAnswers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TICK = 0.001  # seconds: what the event loop's timers round to
LATE = 0.0003  # seconds by which an answer leaves later than asked for, until it is known better
LATEST = 0.002  # seconds that are made up for at most: a machine that stood still says nothing about its timers
LEARNS = 0.05  # share of each answer's own lateness that the next ones are sent earlier by


class _Connection(WholeAnswers):
    """Answers in one piece, as vendors' servers do.

    It tells when a request's first bytes were here: taking it apart is part of the vendor's time.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["arrived"] = time.monotonic()


class EmulatorApp:
    """The ASGI callable: the vendor's routes plus the back door below ``/_emulator/``."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._late = LATE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request = Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)
        emulator, arrived = self.emulator, scope["state"]["arrived"]
        if request.path.startswith(PREFIX):
            await _answer(answer_admin(emulator, request), receive, send)
            return
        emulator.in_flight += 1
        try:
            response = emulator.handle(request)
            due = arrived + response.delay_ms / 1000
            left = due - time.monotonic() - self._late if response.delay_ms else 0.0
            if left > 0.0:
                await asyncio.sleep(whole_ticks(left))
            await _answer(response, receive, send)
            if left > 0.0:  # of one whose own work took too long nothing is learned
                asyncio.get_running_loop().call_soon(self._left, due)  # the event loop writes at the end of this turn
        finally:
            emulator.in_flight -= 1

    def _left(self, due: float) -> None:
        """An answer that should have left then has left now."""
        self._late = min(max(0.0, self._late + LEARNS * (time.monotonic() - due)), LATEST)


def whole_ticks(seconds: float) -> float:
    """Rounded up as often as makes the mean right: to the nearest, every call of 20 ms would be one of 20.3."""
    return math.floor(seconds / TICK + random.random()) * TICK


async def _answer(response: Response, receive: Receive, send: Send) -> None:
    if response.close == "before":
        await _drop(receive, send)
        return
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.headers.items()]
    if response.status != 204:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.close == "mid":
        half = response.body[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _drop(receive, send)
        return
    await send({"type": "http.response.body", "body": response.body})


async def _drop(receive: Receive, send: Send) -> None:
    """Close the client's connection. ASGI has no word for it, so the transport behind uvicorn's ``send`` is closed."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn: a bound method
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    """uvicorn that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _make_server(app: EmulatorApp, on_ready: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        app,
        http=_Connection,
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_level="warning",
        log_config=None,  # whoever serves in a process of its own logs as that process does
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
        backlog=512,
    )
    return _Server(config, on_ready)


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def serve(emulator: Emulator, sock: socket.socket) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT, then return."""
    host, port = sock.getsockname()
    where = f"http://{host}:{port}"
    sender = NoticeSender(emulator, threads=16)

    def ready() -> None:
        sys.stdout.write(f"{emulator.name} emulator on {where}\n")
        sys.stdout.flush()

    # uvicorn raises the signal again once it has stopped: these make that second one end nothing
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    sender.start()
    try:
        _make_server(EmulatorApp(emulator), ready).run(sockets=[sock])
    finally:
        sender.stop()
        sock.close()


class EmulatorServer:
    """An emulator on a free port of this process, for tests: ``with EmulatorServer(emulator) as base_url``.

    ``use`` puts another emulator behind the same port: starting a server takes far longer than a test of it.
    """

    def __init__(self, emulator: Emulator, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = EmulatorApp(emulator)
        self._where = (host, port)
        self._ready = threading.Event()
        self._sender = NoticeSender(emulator)

    @property
    def emulator(self) -> Emulator:
        return self._app.emulator

    def use(self, emulator: Emulator) -> None:
        """From now on this emulator answers; the old one's notices are no longer delivered."""
        self._sender.stop()
        self._app.emulator = emulator
        self._sender = NoticeSender(emulator)
        self._sender.start()

    def __enter__(self) -> str:
        self._sock = _bind(*self._where)
        self._server = _make_server(self._app, self._ready.set)
        self._thread = threading.Thread(target=self._server.run, args=([self._sock],), name="emulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the emulator did not start within 10 seconds")
        self._sender.start()
        host, port = self._sock.getsockname()
        return f"http://{host}:{port}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._sender.stop()
        self._sock.close()

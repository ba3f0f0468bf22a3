"""An answer leaves in one piece; what is streamed is not held back for it. Over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn

from sync_worker.whole_answers import WholeAnswers

PATIENCE = 20
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Written:
    """A transport that remembers every write that reaches it."""

    def __init__(self, inner: asyncio.Transport, pieces: list[bytes]) -> None:
        self._inner = inner
        self._pieces = pieces

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._inner.write(data)

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.write(b"".join(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Site:
    """Answers by path, in a thread of its own."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.read = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        status, headers = (204, []) if scope["path"] == "/empty" else (200, [])
        if scope["path"] in ("/whole", "/close"):
            headers.append((b"content-length", b"2"))
        if scope["path"] == "/close":
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if scope["path"] == "/streamed":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await asyncio.to_thread(self.read.wait, PATIENCE)
        await send({"type": "http.response.body", "body": b"" if status == 204 else b"ok"})

    def protocol(self, *args: Any, **kw: Any) -> WholeAnswers:
        made = WholeAnswers(*args, **kw)
        plain = made.connection_made
        made.connection_made = lambda inner: plain(Written(inner, self.pieces))  # type: ignore[method-assign,assignment,arg-type]  # a stand-in
        return made


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def client(site: Site) -> Iterator[socket.socket]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(site, http=site.protocol, lifespan="off", log_config=None, access_log=False)  # type: ignore[arg-type]  # any maker of protocols does
    )
    serving = threading.Thread(target=server.run, args=([listening],))
    serving.start()
    try:
        with socket.create_connection(listening.getsockname(), PATIENCE) as made:
            yield made
    finally:
        server.should_exit = True
        serving.join(PATIENCE)


def ask(client: socket.socket, path: str, method: str = "GET") -> None:
    client.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "host: here", "", ""]).encode())


def read_until(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        piece = client.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


@pytest.mark.parametrize(("path", "end"), [("/whole", b"\r\n\r\nok"), ("/empty", b"\r\n\r\n"), ("/close", b"ok")])
def test_head_and_body_are_one_write(site: Site, client: socket.socket, path: str, end: bytes) -> None:
    ask(client, path)
    received = read_until(client, end)
    assert site.pieces == [received]


def test_answers_on_one_connection_are_one_write_each(site: Site, client: socket.socket) -> None:
    for _ in range(3):
        ask(client, "/whole")
        read_until(client, b"\r\n\r\nok")
    assert len(site.pieces) == 3


def test_a_connection_that_is_to_be_closed_is_so_after_the_whole_answer(client: socket.socket) -> None:
    ask(client, "/close")
    assert read_until(client, b"\r\n\r\nok")
    assert client.recv(1) == b""


def test_a_piece_that_is_streamed_does_not_wait_for_the_next(site: Site, client: socket.socket) -> None:
    ask(client, "/streamed")
    assert b"HTTP/1.1 200" in read_until(client, b"first\r\n")
    site.read.set()
    read_until(client, b"0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_that_has_said_all_it_will_say_gets_the_whole_answer(client: socket.socket, method: str) -> None:
    """Its end closes the connection as soon as it is seen."""
    ask(client, "/whole", method)
    client.shutdown(socket.SHUT_WR)
    received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\nok" if method == "GET" else b"\r\n\r\n")


def test_who_waits_to_be_told_to_send_a_body_is_told_so_at_once(client: socket.socket) -> None:
    head = ["POST /whole HTTP/1.1", "host: here", "content-length: 4", "expect: 100-continue", "", ""]
    client.sendall("\r\n".join(head).encode())
    read_until(client, b"HTTP/1.1 100 Continue\r\n\r\n")
    client.sendall(b"body")
    read_until(client, b"\r\n\r\nok")

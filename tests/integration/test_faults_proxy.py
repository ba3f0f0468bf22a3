"""The proxy of the fault runs: it passes bytes on, cuts what stands, turns away what comes, and slows."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faults.proxy import Gate, Proxies, proxies


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def gated() -> Iterator[tuple[Proxies, Gate]]:
    """A gate before a server that sends back what it gets."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Echo) as server, proxies() as made:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made, made.before(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def connect(gate: Gate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gate.port), timeout=5)


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    got = b""
    while len(got) < len(data) and (piece := client.recv(65536)):
        got += piece
    return got


def is_dropped(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_bytes_pass_both_ways(gated: tuple[Proxies, Gate]) -> None:
    data = bytes(range(256)) * 4000
    with connect(gated[1]) as client:
        assert echoed(client, b"small") == b"small"
        threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
        assert got == data


def test_a_cut_drops_what_stands_and_takes_what_comes(gated: tuple[Proxies, Gate]) -> None:
    made, gate = gated
    with connect(gate) as client:
        assert echoed(client, b"a") == b"a"
        made.cut(gate)
        assert is_dropped(client)
    with connect(gate) as client:
        assert echoed(client, b"b") == b"b"


def test_a_closed_gate_turns_everybody_away_until_it_opens(gated: tuple[Proxies, Gate]) -> None:
    gate: Any = gated[1]
    gate.closed = True
    with connect(gate) as client:
        assert is_dropped(client)
    gate.closed = False
    with connect(gate) as client:
        assert echoed(client, b"c") == b"c"


def test_a_delay_holds_back_what_is_answered(gated: tuple[Proxies, Gate]) -> None:
    gated[1].delay = 0.1
    with connect(gated[1]) as client:
        begun = time.monotonic()
        assert echoed(client, b"slow") == b"slow"
        assert time.monotonic() - begun >= 0.2

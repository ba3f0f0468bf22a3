"""Ports of this machine: which are free, and who answers there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def is_free(port: int) -> bool:
    """Whether nobody listens on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = 10.0,
) -> tuple[int, bytes]:
    """Status and body of one request. Raises ``OSError`` when nobody answers, or not in HTTP."""
    with contextlib.closing(HTTPConnection(HOST, port, timeout=seconds)) as connection:
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except HTTPException as error:
            raise OSError(type(error).__name__) from None


def answers(port: int, path: str) -> bool:
    """Whether a web server answers 200."""
    try:
        return ask(port, "GET", path, seconds=5.0)[0] == 200
    except OSError:
        return False

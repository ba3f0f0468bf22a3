"""Posting over a kept connection. Of the answer only the status is of interest, so nothing else of it is understood:
the emulators post thousands of notices beside what is measured, and a whole HTTP client would cost more than that."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

_HEAD_LIMIT = 64 * 1024


class Connection:
    """One connection to ``netloc``; ``post`` raises OSError for anything but an answer, and opens it where needed."""

    def __init__(self, scheme: str, netloc: str, timeout: float) -> None:
        self._tls = scheme == "https"
        self._netloc = netloc
        self._timeout = timeout
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def post(self, target: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. The connection stays open where the other end leaves it so."""
        lines = [f"POST {target} HTTP/1.1", f"Host: {self._netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            if self._socket is None:
                self._socket = self._connect()
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            return self._answer(self._socket)
        except OSError:
            self.close()
            raise

    def _connect(self) -> socket.socket:
        where = urlsplit(f"//{self._netloc}")
        host = where.hostname or ""
        made = socket.create_connection((host, where.port or (443 if self._tls else 80)), self._timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return ssl.create_default_context().wrap_socket(made, server_hostname=host) if self._tls else made

    def _answer(self, connection: socket.socket) -> int:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            if not piece or len(received) > _HEAD_LIMIT:
                raise ConnectionError("closed without an answer")
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *others = head.split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in others)}
        status = first.split(b" ")[1:2]
        if not first.startswith(b"HTTP/1.") or not status or not status[0].isdigit():
            raise ConnectionError("not an HTTP answer")
        length = fields.get(b"content-length", b"")
        kept = first.startswith(b"HTTP/1.1") and fields.get(b"connection", b"").lower() != b"close"
        if not kept or not length.isdigit():
            self.close()
            return int(status[0])
        left = int(length) - len(rest)
        while left > 0:
            piece = connection.recv(min(left, 65536))
            if not piece:
                raise ConnectionError("closed within an answer")
            left -= len(piece)
        return int(status[0])

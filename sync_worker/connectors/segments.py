"""A request in one piece: httpcore writes its head and its body by themselves, each a system call, a packet that wakes
the other end, and a chance for another thread to take over while this one's vendor call has already begun.

And an answer within its call's deadline: each read of a head that drips, or never ends, would have it all.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from sync_worker.connectors.context import arrived, leaving
from sync_worker.connectors.phases import Left

LARGEST = 64 * 1024  # bytes; more is not put together: a copy would cost more than a packet saves


_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


def whole(data: bytes) -> bool:
    """Is this an answer from its first to its last byte, as far as its head tells? False if in doubt."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or data[9:10] == b"1":  # that only announces an answer
        return False
    if b"chunked" in data[:end].lower():  # whatever length is told as well
        return data.endswith(_LAST_CHUNK)
    length = _LENGTH.search(data, 0, end + 2)
    if length is not None:
        return len(data) - end - 4 >= int(length[1])
    return data[9:12] == b"204"


class _Stream(httpcore.NetworkStream):
    """Holds back what is written until something is read."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._held = b""
        self._asked = False  # a request left, and nothing of its answer came
        self._answered = False  # at least once
        self._timeout: float | None = None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._timeout = timeout
        if not self._held or len(self._held) + len(buffer) <= LARGEST:  # a head is held however large it is
            self._held += buffer
            return
        self._flush()
        self._inner.write(buffer, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        # as httpcore does: a server may answer and hang up before it has read everything, and the read will tell
        with contextlib.suppress(httpcore.WriteError):
            self._flush()
        if isinstance(timeout, Left) and (timeout := timeout.again()) <= 0:
            raise httpcore.ReadTimeout
        first, self._asked = self._asked, False
        data = self._inner.read(max_bytes, timeout)
        self._answered = True
        if first and (told := arrived.get()) is not None and whole(data):
            told()
        return data

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._asked = not held.startswith(b"CONNECT ")  # that is for a proxy: the vendor knows of nothing yet
            kept = leave() if self._asked and (leave := leaving.get()) is not None else False
            # httpcore looked right before it wrote this down; TLS tickets wait on a connection that is new
            if kept and self._answered and self._inner.get_extra_info("is_readable"):
                raise httpcore.ConnectionNotAvailable  # the server has hung up: the pool takes another one
            self._inner.write(held, self._timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._flush()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class OneSegment(httpcore.NetworkBackend):
    """Connections of another backend, each of whose requests leaves in one piece."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)

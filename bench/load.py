"""Posts signed notices as fast as they are answered: ``python -m bench.load PORT COUNT FIRST KEYS``.

COUNT notices over 32 connections, about companies FIRST to FIRST + KEYS - 1 in turn. Prints seconds and how many were
answered 200. A process of its own, without any HTTP library: it must cost less than what it measures.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
import sys
import time

from bench.rig import SECRET
from sync_worker.connectors.standard_webhooks import sign

CONNECTIONS = 32
_HEAD = (
    "POST /hooks/crm HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\n"
    "webhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\ncontent-length: {length}\r\n\r\n"
)


_DIGITS = string.digits + string.ascii_lowercase


def _base36(number: int) -> str:
    rest, digit = divmod(number, 36)
    return (_base36(rest) if rest else "") + _DIGITS[digit]


def notice(key: int) -> bytes:
    """One signed request as Sage CRM's script sends it: its id begins with the time (docs/howto/sage-crm-script.md)."""
    event = {"entity": "customer", "key": str(key), "op": "updated"}
    body = json.dumps({"events": [event]}, separators=(",", ":")).encode()
    now = time.time()
    webhook_id = f"crm_{_base36(int(now * 1000))}_{''.join(_base36(random.randrange(36**6)) for _ in range(2))}"
    at = str(int(now))
    signature = sign(SECRET, webhook_id, at, body)
    return _HEAD.format(id=webhook_id, at=at, signature=signature, length=len(body)).encode() + body


class Sender(asyncio.Protocol):
    """One connection: sends the next request when the last one was answered."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[int]) -> None:
        self._requests = iter(requests)
        self._done = done
        self._good = 0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._buffer = b""
            self._good += head.startswith(b"HTTP/1.1 200")
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(self._good)

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        else:
            self._transport.close()


async def post(port: int, requests: list[bytes]) -> int:
    """How many of the requests were answered 200."""
    loop = asyncio.get_running_loop()
    results = []
    for number in range(CONNECTIONS):
        done: asyncio.Future[int] = loop.create_future()
        share = requests[number::CONNECTIONS]
        await loop.create_connection(lambda s=share, d=done: Sender(s, d), "127.0.0.1", port)  # type: ignore[misc]  # mypy cannot type lambda defaults
        results.append(done)
    return sum(await asyncio.gather(*results))


def main(port: int, count: int, first: int, keys: int) -> None:
    requests = [notice(first + number % keys) for number in range(count)]
    begun = time.perf_counter()
    good = asyncio.run(post(port, requests))
    print(json.dumps({"seconds": time.perf_counter() - begun, "good": good}))


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))

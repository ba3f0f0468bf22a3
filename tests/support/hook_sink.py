"""A real receiver of webhooks for tests: it verifies every signature and keeps what it took."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HookSink:
    """``status``: what it answers to a good post. ``taken``: (webhook-id, body) of every post answered with 2xx.

    ``clock`` is what it compares time stamps with.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self.status = 204
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.seen: list[tuple[str, str, int]] = []  # method, path, answer
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k.lower(): v for k, v in self.headers.items()}
                status = sink.status if _is_signed(secret, headers, body, clock()) else 401
                if status < 300:
                    sink.taken.append((headers["webhook-id"], json.loads(body)))
                self._answer(status)

            def do_HEAD(self) -> None:
                self._answer(405)

            def _answer(self, status: int) -> None:
                sink.seen.append((self.command, self.path, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts?token=hush-hush"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """The receiver's side of Standard Webhooks, written from its specification and sharing nothing with ours."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split() and abs(now - int(headers["webhook-timestamp"])) < 300

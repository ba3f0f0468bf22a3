"""``/metrics`` and ``/healthz`` of a machine or container on which no web process runs.

It adds up the figures of every process that shares its data directory. What is asked from SQL (links by state, what is
due) is the same on every machine, so the web process alone shows it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import structlog

from sync_worker import metrics
from sync_worker.processes import listen

REQUEST_SECONDS = 10.0

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def serving(directory: Path, host: str, port: int | None) -> Iterator[int | None]:
    """Serve the figures kept in ``directory`` while the block runs; the port. ``port`` None: serve nothing.

    To be entered before the first figure is made. Raises ``CannotListen``.
    """
    if port is None:
        yield None
        return
    metrics.prepare(directory)
    sock = listen(host, port)
    server = ThreadingHTTPServer(sock.getsockname()[:2], _Request, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics.serving", port=sock.getsockname()[1])
    try:
        yield int(sock.getsockname()[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Request(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:  # http.server calls it by this name
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._answer(200, b"ok\n", "text/plain; charset=utf-8")
        elif path == "/metrics":
            self._answer(200, *metrics.render(None))
        else:
            self._answer(404, b"there are /metrics and /healthz\n", "text/plain; charset=utf-8")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # as http.server names it
        """Requests are not logged, as in the web process."""

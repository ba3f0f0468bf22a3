"""The web process: webhooks in, health, metrics, status page, API. One process: one writer stores all notices.

``GET /healthz`` the process is alive · ``/readyz`` it can serve: migrated, database and queue reachable and, under
``run``, workers are up · ``/metrics`` Prometheus · ``/api/v1`` see ``web/api``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import redis
import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from sync_worker import broker, metrics
from sync_worker.doorbell import Doorbell, RingingThread
from sync_worker.processes import (
    STOP_SECONDS,
    SUPERVISOR_ENV,
    WATCHDOG_EXIT,
    end_with_parent,
    end_within,
    exit_on_signal,
    listen,
    settled,
)
from sync_worker.store import migrate
from sync_worker.store.inbox_writer import InboxWriter
from sync_worker.web import status
from sync_worker.web.heads import LimitedHeads
from sync_worker.web.hooks import PATH, HookRoute, HooksFirst
from sync_worker.web.later import Later

if TYPE_CHECKING:
    from sync_worker.config import Config
    from sync_worker.wiring import App

GRACE_SECONDS = 5
QUESTION_SECONDS = 2.0
_NO_SCRIPTS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'", "cache-control": "no-store"}

log = structlog.get_logger(__name__)


class Site:
    """The routes and what they need. ``supervised``: ready only while workers report."""

    def __init__(self, app: App, url: str, *, supervised: bool) -> None:
        self._app = app
        self._supervised = supervised
        self._broker = broker.make_broker(url)
        self._questions = broker.connect(url, timeout=QUESTION_SECONDS)
        self._ringing = RingingThread(Doorbell(self._broker))
        self._writer = InboxWriter(app.inbox, self._ringing.ring)

    def build(self) -> HooksFirst:
        """The ASGI application; its lifespan ends what this site has started."""
        hooks = HookRoute(self._app.systems, self._writer, self._ringing.ring_parts)
        routes: list[BaseRoute] = [
            Route(f"{PATH}{{system}}", hooks, methods=["POST"]),  # for other methods to be told so
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.scrape),
            Route("/", self.status),
            Mount("/api", Later(self._api)),
        ]
        return HooksFirst(hooks, Starlette(routes=routes, lifespan=self._lifespan))

    def _api(self) -> ASGIApp:
        from sync_worker.web.api import site as api

        return api.build(self._app, self._ringing.ring)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        looked = asyncio.get_running_loop().run_in_executor(None, self._missing)  # what is away is told of at the start
        yield
        await looked
        await run_in_threadpool(self.close)

    def close(self) -> None:
        """Store what was submitted, ring for it, and give connections back."""
        self._writer.close()
        self._ringing.close()
        self._broker.close()
        self._questions.close()

    def dead_threads(self) -> list[str]:
        """Names of threads that ended by themselves: without them this process takes no notice, or rings for none."""
        threads = {"inbox-writer": self._writer.alive, "doorbell": self._ringing.alive}
        return [name for name, alive in threads.items() if not alive]

    async def healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        missing = await run_in_threadpool(self._missing)
        return JSONResponse({"ready": not missing, "missing": missing}, status_code=503 if missing else 200)

    def _missing(self) -> list[str]:
        """What keeps this process from serving; a vendor that is down does not."""
        missing: list[str] = []
        try:
            with self._app.db.read() as conn:
                if migrate.standing_in(conn) == "behind":
                    missing.append("migration: run sync-worker migrate")
        except SQLAlchemyError as error:
            missing.append(f"database: {type(error).__name__}")
        try:
            self._questions.ping()
            if self._supervised and broker.threads_up(self._questions) == 0:
                missing.append("workers: none is up")
            self._broker.watch.back()
        except redis.RedisError as error:
            self._broker.watch.away(error)
            missing.append(f"queue: {type(error).__name__}")
        return missing

    async def scrape(self, _request: Request) -> Response:
        body, content_type = await run_in_threadpool(metrics.render, self._figures)
        return Response(body, headers={"content-type": content_type})

    def _figures(self) -> metrics.SqlFigures:
        standing = status.look(self._app.db, self._app.systems)
        return metrics.SqlFigures(dict(standing.by_state), standing.due, standing.oldest)

    async def status(self, _request: Request) -> Response:
        standing = await run_in_threadpool(status.look, self._app.db, self._app.systems)
        return HTMLResponse(status.render(standing), headers=_NO_SCRIPTS)


class _Server(uvicorn.Server):
    """uvicorn, but a stop signal ends in exit code 0, a dead thread in 70, and a hanging shutdown ends all the same."""

    def __init__(self, config: uvicorn.Config, dead_threads: Callable[[], list[str]]) -> None:
        super().__init__(config)
        self._dead_threads = dead_threads
        self.code = 0

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        dead = self._dead_threads()
        if dead:
            log.critical("web.thread_dead", threads=dead)
            self.code = WATCHDOG_EXIT
            return True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            # uvicorn would raise them again now, and the process would die of the signal it has obeyed.
            self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end_within(STOP_SECONDS - 2.0, self.code)
        await super().shutdown(sockets)


def serve(app: App, url: str, sock: socket.socket) -> int:
    """Serve on a listening socket until a stop signal; the exit code: 0, or 70 when a thread was found dead."""
    site = Site(app, url, supervised=SUPERVISOR_ENV in os.environ)
    settings = uvicorn.Config(
        site.build(),
        http=LimitedHeads,
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # nobody asks who the caller is: signatures and tokens decide
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    settled(in_batches=False)
    log.info("web.started", pid=os.getpid(), port=sock.getsockname()[1])
    server = _Server(settings, site.dead_threads)
    server.run(sockets=[sock])
    log.info("web.stopped", pid=os.getpid())
    return server.code


def main(config: Config, host: str, port: int) -> int:
    """The web process: blocks until SIGTERM or Ctrl-C; its exit code (70: start me again). Raises ``CannotListen``."""
    from sync_worker import wiring

    exit_on_signal()
    metrics.prepare(config.data_dir / "metrics")
    end_with_parent()
    sock = listen(host, port)
    app = wiring.build(config)
    try:
        return serve(app, broker.url_of(config), sock)
    finally:
        app.close()

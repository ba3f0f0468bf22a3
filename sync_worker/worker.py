"""A worker process: one Dramatiq worker over both queues, watched, and ended without losing what it is doing."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import dramatiq
import redis
import structlog

from sync_worker import actors, broker
from sync_worker.processes import (
    IDENTITY_ENV,
    PREDECESSOR_ENV,
    STOP_SECONDS,
    WATCHDOG_EXIT,
    StopSignal,
    end_with_parent,
    end_within,
    settled,
    worker_processes,
)
from sync_worker.store import leases

if TYPE_CHECKING:
    from sync_worker.config import Config
    from sync_worker.store.session import Database
    from sync_worker.wiring import App

WATCH_SECONDS = 1.0
# Current work may take this long after the stop signal: a vendor call's total deadline is 15 s.
FINISH_SECONDS = STOP_SECONDS - 4.0
GUARD_SECONDS = STOP_SECONDS - 2.0

log = structlog.get_logger(__name__)


def serve(app: App, url: str, threads: int, stop: StopSignal) -> int:
    """Work until a stop signal; the exit code: 0, or 70 when a thread of the worker was found dead.

    ``url``: the queue server. It may be away at any time, also now: consumers reconnect by themselves.
    """
    queue = broker.make_broker(url)
    actors.bind(app, queue)
    worker = broker.make_worker(queue, threads)
    settled(in_batches=True)
    worker.start()
    log.info("worker.started", pid=os.getpid(), threads=threads)
    report = _Report(url, threads, queue.watch)
    code = 0
    while not stop.wait(WATCH_SECONDS):
        dead = dead_threads(worker)
        if dead:
            log.critical("worker.thread_dead", threads=dead)
            code = WATCHDOG_EXIT
            break
        report.send()
    end_within(GUARD_SECONDS, code)
    report.withdraw()
    _finish(worker)
    queue.close()
    log.info("worker.stopped", pid=os.getpid())
    return code


def _release(db: Database, predecessor: str | None) -> None:
    """What the process held in whose place this one was started is taken up at the ringer's next look."""
    released = leases.release(db, predecessor) if predecessor else 0
    if released:
        log.info("worker.released", links=released)


def dead_threads(worker: dramatiq.Worker) -> list[str]:
    """Names of consumer and worker threads that ended by themselves. A worker without them takes rings to nowhere."""
    consumers = [f"consumer {queue}" for queue, thread in worker.consumers.items() if not thread.is_alive()]
    return consumers + [thread.name for thread in worker.workers if not thread.is_alive()]


def _finish(worker: dramatiq.Worker) -> None:
    try:
        worker.stop(timeout=int(FINISH_SECONDS * 1000))
    except redis.RedisError as error:
        # What was fetched and not begun is lost with the connection; the ringer rings for it again.
        log.warning("worker.requeue_failed", error=type(error).__name__)


class _Report:
    """This process's sign of life, for readiness and for sizing the ringer."""

    def __init__(self, url: str, threads: int, watch: broker.Watch) -> None:
        self._client = broker.connect(url, timeout=1.0)
        self._watch = watch
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._threads = threads
        self.send()

    def send(self) -> None:
        try:
            broker.report_worker(self._client, self._name, self._threads)
        except redis.RedisError as error:
            self._watch.away(error)
        else:
            self._watch.back()

    def withdraw(self) -> None:
        try:
            broker.forget_worker(self._client, self._name, self._threads)
        except redis.RedisError as error:
            log.debug("worker.report_failed", error=type(error).__name__)


def main(config: Config, threads: int) -> int:
    """One worker process: blocks until SIGTERM or Ctrl-C; its exit code (70: start me again)."""
    from sync_worker import metrics, wiring
    from sync_worker.connectors.shared_slots import RedisLimiter

    stop = StopSignal()
    end_with_parent()
    metrics.prepare(config.data_dir / "metrics")
    url = broker.url_of(config)
    processes = worker_processes()
    limiter = RedisLimiter(broker.connect(url, timeout=1.0), processes=processes)
    app = wiring.build(config, limiter=limiter, owner=os.environ.get(IDENTITY_ENV))
    try:
        _release(app.db, os.environ.get(PREDECESSOR_ENV))
        return serve(app, url, threads, stop)
    finally:
        app.close()
        limiter.close()

"""What Celery costs by itself: tasks that do nothing, drained from the same queue server by as many threads.

As close to ``bench.noop`` as Celery allows: as many processes with as many threads (``--pool threads``), a task counts
as done when it has ended (``acks_late``), as many are fetched ahead as there are threads, no results, no gossip, no
heartbeats between workers. ``python -m bench.celery_noop URL THREADS`` is one worker process. All of them are up, on
another queue, before they are told to take this one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from bench.figures import until
from bench.noop import MESSAGES
from bench.rig import FOLDER, PROCESSES, THREADS
from sync_worker import broker
from sync_worker.demo.installation import START_SECONDS
from sync_worker.processes import SUPERVISOR_ENV, end_with_parent
from sync_worker.queue_server import EmbeddedQueue

NAME = "celery-noop"
_FULL, _BEFORE = "bench", "bench-before"
_READY = "bench:ready"


def rate(messages: int = MESSAGES) -> float:
    """Tasks a second over all processes and threads."""
    folder = FOLDER.resolve() / NAME
    shutil.rmtree(folder, ignore_errors=True)
    queue = EmbeddedQueue(folder)
    queue.start()
    try:
        app = _app(queue.url)
        with app.connection_for_write() as connection, connection.Producer() as producer:
            for number in range(messages):
                app.send_task(NAME, args=(number,), queue=_FULL, producer=producer)
        return messages / _drain(app, queue.url)
    finally:
        queue.stop()


def _app(url: str) -> Celery:
    # Celery has a name of its own for a server on a unix socket
    app = Celery(NAME, broker=url.replace("unix://", "redis+socket://", 1))
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_default_queue=_BEFORE,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    app.task(name=NAME)(_nothing)
    return app


def _drain(app: Celery, url: str) -> float:
    """Seconds from the word to go to an empty queue with nothing unacknowledged."""
    environment = os.environ | {SUPERVISOR_ENV: str(os.getpid())}
    argv = [sys.executable, "-m", "bench.celery_noop", url, str(THREADS)]
    log = (FOLDER / NAME / "celery.log").open("wb")
    running = [
        subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
        for _ in range(PROCESSES)
    ]
    try:
        with contextlib.closing(broker.connect(url)) as client:
            until(lambda: client.llen(_READY) == PROCESSES, START_SECONDS, "Celery's workers are not up")
            begun = time.perf_counter()
            app.control.add_consumer(_FULL)
            left = [lambda: client.llen(_FULL), lambda: client.hlen("unacked")]
            until(lambda: not any(one() for one in left), 120, "Celery's tasks are left", pause=0.01)
            return time.perf_counter() - begun
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)
        log.close()


def main(url: str, threads: int) -> None:
    """One worker process, until a stop signal."""
    end_with_parent()

    @worker_ready.connect
    def ready(**_: Any) -> None:
        with contextlib.closing(broker.connect(url)) as client:
            client.rpush(_READY, os.getpid())

    options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"]
    argv = ["worker", "--pool", "threads", "--concurrency", str(threads), "--hostname", f"{os.getpid()}@bench"]
    _app(url).worker_main([*argv, *options])


def _nothing(_number: int) -> None:
    """The empty task."""


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

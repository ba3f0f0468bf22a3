"""What Dramatiq costs by itself: messages to an actor that does nothing, with our broker's settings, drained.

``python -m bench.noop URL THREADS`` is one worker process. It waits for the word to go, so that what is measured begins
with all messages enqueued and all processes up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time

import dramatiq

from bench.figures import until
from bench.rig import FOLDER, PROCESSES, THREADS
from sync_worker import broker
from sync_worker.demo.installation import START_SECONDS
from sync_worker.processes import SUPERVISOR_ENV, StopSignal, end_with_parent
from sync_worker.queue_server import EmbeddedQueue

NAME = "noop"
MESSAGES = 10_000
_READY, _GO = "bench:ready", "bench:go"


def rate(messages: int = MESSAGES) -> float:
    """Messages a second over all processes and threads."""
    folder = FOLDER.resolve() / NAME
    shutil.rmtree(folder, ignore_errors=True)
    queue = EmbeddedQueue(folder)
    queue.start()
    try:
        with contextlib.closing(broker.make_broker(queue.url)) as made:
            for number in range(messages):
                made.enqueue(
                    dramatiq.Message(queue_name=broker.LIVE, actor_name=NAME, args=(number,), kwargs={}, options={})
                )
        return messages / _drain(queue.url)
    finally:
        queue.stop()


def _drain(url: str) -> float:
    """Seconds from the word to go to an empty queue with nothing unacknowledged."""
    environment = os.environ | {SUPERVISOR_ENV: str(os.getpid())}
    argv = [sys.executable, "-m", "bench.noop", url, str(THREADS)]
    running = [subprocess.Popen(argv, env=environment, start_new_session=True) for _ in range(PROCESSES)]
    try:
        with contextlib.closing(broker.connect(url)) as client:
            until(lambda: client.llen(_READY) == PROCESSES, START_SECONDS, "no-op workers are not up")
            begun = time.perf_counter()
            client.rpush(_GO, *range(PROCESSES))
            messages = f"{broker.NAMESPACE}:{broker.LIVE}.msgs"
            until(lambda: client.hlen(messages) == 0, 120, "no-op messages are left", pause=0.01)
            return time.perf_counter() - begun
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def main(url: str, threads: int) -> None:
    """One worker process, until a stop signal."""
    stop = StopSignal()
    end_with_parent()
    made = broker.make_broker(url)
    dramatiq.actor(broker=made, actor_name=NAME, queue_name=broker.LIVE)(_nothing)
    worker = broker.make_worker(made, threads)
    with contextlib.closing(broker.connect(url)) as client:
        client.rpush(_READY, os.getpid())
        client.blpop([_GO])
    worker.start()
    stop.wait(600)
    worker.stop()


def _nothing(_number: int) -> None:
    """The empty actor."""


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""A few calls at the same time, so that one record's tables are read within the window of E22."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

_THREADS_PER_SLOT = 4  # callers of one process that may fan out at the same time without queueing behind each other


class Fanout:
    """Runs jobs on the calling thread and up to ``width - 1`` helpers, each in a copy of the caller's context."""

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Results in order. The first failure lets what is running end, starts nothing more, and is raised."""
        if self._width == 1 or len(jobs) < 2:
            return [job() for job in jobs]
        results: dict[int, T] = {}
        todo = deque(enumerate(jobs))

        def work() -> None:
            try:
                while True:
                    try:
                        index, job = todo.popleft()
                    except IndexError:
                        return
                    results[index] = job()
            finally:
                todo.clear()

        helpers = [self._submit(work) for _ in range(min(self._width, len(jobs)) - 1)]
        try:
            work()
        finally:
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()
        return [results[index] for index in range(len(jobs))]

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._width * _THREADS_PER_SLOT, thread_name_prefix="vendor")
            return self._pool.submit(copy_context().run, work)

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None

"""Delivers an emulator's notices over real sockets, with the vendor's retries."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from urllib.parse import urlsplit

from sync_worker.connectors.emulation.core import Emulator, OutgoingNotice
from sync_worker.connectors.emulation.posting import Connection


class NoticeSender:
    """Threads that post what the emulator announces; each keeps its connections open.

    A vendor's waits between attempts are multiplied by ``emulator.notice_retry_scale``. A connection that fails counts
    as a retryable status where the vendor retries at all (our assumption: documented are statuses only).
    """

    def __init__(self, emulator: Emulator, *, threads: int = 4, timeout: float = 10.0) -> None:
        self._emulator = emulator
        self._timeout = timeout
        self._work: queue.SimpleQueue[OutgoingNotice | None] = queue.SimpleQueue()
        self._later: list[tuple[float, int, OutgoingNotice]] = []
        self._later_lock = threading.Lock()
        self._order = itertools.count()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._dispatch, name="notice-dispatch", daemon=True)]
        self._threads += [
            threading.Thread(target=self._deliver, name=f"notice-{i}", daemon=True) for i in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads; what is still waiting is dropped, as when the vendor's machine goes down."""
        self._ending.set()
        with self._emulator.notice_ready:
            self._emulator.notice_ready.notify_all()
        for _ in self._threads[1:]:
            self._work.put(None)
        for thread in self._threads:
            thread.join(self._timeout)

    def _dispatch(self) -> None:
        while not self._ending.is_set():
            self._emulator.wait_for_notices(self._next_due())
            for notice in self._emulator.take_notices():
                self._work.put(notice)
            now = time.monotonic()
            with self._later_lock:
                while self._later and self._later[0][0] <= now:
                    self._work.put(heapq.heappop(self._later)[2])

    def _next_due(self) -> float:
        with self._later_lock:
            wait = self._later[0][0] - time.monotonic() if self._later else 0.2
        return min(max(wait, 0.0), 0.2)

    def _deliver(self) -> None:
        connections: dict[tuple[str, str], Connection] = {}
        while (notice := self._work.get()) is not None:
            self._settle(notice, self._post(connections, notice))
        for connection in connections.values():
            connection.close()

    def _post(self, connections: dict[tuple[str, str], Connection], notice: OutgoingNotice) -> int | None:
        """The status of the answer, None when there was none."""
        url = urlsplit(notice.url)
        where = (url.scheme, url.netloc)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection = connections.get(where)
        if connection is None:
            connection = connections[where] = Connection(*where, self._timeout)
        # a kept connection may simply have been closed by the other end since: that is tried once more
        for _ in range(1 + connection.is_open):
            try:
                return connection.post(target, notice.headers, notice.body)
            except OSError:
                continue
        return None

    def _settle(self, notice: OutgoingNotice, status: int | None) -> None:
        emulator = self._emulator
        good = emulator.notice_success
        taken = status is not None and (status in good if good is not None else 200 <= status < 300)
        with emulator.lock:
            if taken:
                emulator.notices_sent += 1
                emulator.notices_taken.append(notice.id)
                return
            waits = emulator.notice_waits
            again = (status is None and bool(waits)) or status in emulator.notice_retry_on
            if not again or notice.attempt > len(waits):
                emulator.notices_failed += 1
                emulator.notice_gave_up(notice, status)
                return
            due = time.monotonic() + waits[notice.attempt - 1] * emulator.notice_retry_scale
        notice.attempt += 1
        with self._later_lock:
            heapq.heappush(self._later, (due, next(self._order), notice))

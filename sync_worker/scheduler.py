"""What happens by the clock: rings, polls, sweeps, housekeeping. Each is a row of ``schedule`` with a lease.

Several schedulers may run: a row is run by whoever leased it, and only its token may end it. Every run has a thread of
its own, so a slow vendor never delays the ringer, and one failing task never stops the others.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sync_worker.errors import RetryableError, SyncError
from sync_worker.processes import STOP_SECONDS, WATCHDOG_EXIT, StopSignal, end_with_parent, end_within, worker_processes
from sync_worker.store import schedules
from sync_worker.store.session import Database
from sync_worker.task import Task

if TYPE_CHECKING:
    from sync_worker.config import Config

LOOK_SECONDS = 0.5
LEASE = 10.0
RENEW_SECONDS = 3.0
GUARD_SECONDS = STOP_SECONDS - 2.0
# Failing tasks back off to four times their interval, at least half a minute.
LONGEST_BACKOFF = 30.0
# A row of a system that is no longer configured is looked at again after this long.
UNKNOWN_SECONDS = 3600.0
# A clock that was set back by more than this would let everything wait for as long.
SET_BACK = 2.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Run:
    task: Task
    claimed: schedules.Claimed
    renewed_at: float = field(default_factory=time.monotonic)
    lost: bool = False


def pause_after(every: float, failures: int, error: BaseException) -> float:
    """Seconds to the next try: the interval, doubled per failure in a row, never less than the vendor asked for."""
    pause = min(every * 2.0 ** min(failures, 16), max(LONGEST_BACKOFF, 4 * every))
    asked = error.after if isinstance(error, RetryableError) else None
    return max(pause, asked or 0.0)


def describe(error: BaseException) -> str:
    """What may be stored and logged of an error: texts of our own errors hold no data, those of others might."""
    return f"{error.code}: {error}" if isinstance(error, SyncError) else type(error).__name__


class Scheduler:
    """Runs ``tasks`` until a stop signal."""

    def __init__(self, db: Database, tasks: Sequence[Task]) -> None:
        self._db = db
        self._tasks = {task.name: task for task in tasks}
        self._running: dict[str, _Run] = {}
        self._failures: dict[str, int] = {}
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(tasks)), thread_name_prefix="task")

    def run(self, stop: StopSignal) -> int:
        """Blocks until a stop signal and until what runs has ended; the exit code of the process."""
        dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        dispatcher.start()
        log.info("scheduler.started", pid=os.getpid(), tasks=len(self._tasks))
        while not stop.wait(1.0) and dispatcher.is_alive():
            pass
        code = 0 if dispatcher.is_alive() else WATCHDOG_EXIT
        end_within(GUARD_SECONDS, code)
        self._stopping.set()
        dispatcher.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        log.info("scheduler.stopped", pid=os.getpid())
        return code

    def _dispatch(self) -> None:
        known, away, apart = False, False, 0.0
        while not self._stopping.wait(1.0 if away else LOOK_SECONDS):
            try:
                now = self._now()
                before, apart = apart, now - time.monotonic()
                if not known or apart < before - SET_BACK:
                    self._make_known(now)
                    known = True
                self._renew()
                self._start_due(now)
                away = False
            except SQLAlchemyError as error:
                if not away:
                    log.warning("scheduler.database_away", error=describe(error))
                away = True

    def _make_known(self, now: float) -> None:
        """Create missing rows, due now; bring forward those whose interval was made shorter, or the clock set back."""
        schedules.ensure(self._db, dict.fromkeys(self._tasks, now))
        for row in schedules.statuses(self._db):
            task = self._tasks.get(row.name)
            if task is not None and row.due_at > now + task.every:
                schedules.make_due(self._db, row.name)

    def _renew(self) -> None:
        now = time.monotonic()
        for run in list(self._running.values()):
            if not run.lost and now - run.renewed_at >= RENEW_SECONDS:
                run.lost = not schedules.renew(self._db, run.task.name, run.claimed.token, lease=LEASE)
                run.renewed_at = now

    def _start_due(self, now: float) -> None:
        if not any(row.due_at <= now and not row.running for row in schedules.statuses(self._db)):
            return
        for claimed in schedules.claim_due(self._db, lease=LEASE, limit=len(self._tasks)):
            task = self._tasks.get(claimed.name)
            if task is None or claimed.name in self._running:
                later = UNKNOWN_SECONDS if task is None else LEASE
                schedules.finish(self._db, claimed.name, claimed.token, now + later)
                continue
            run = self._running[claimed.name] = _Run(task, claimed)
            future = self._pool.submit(self._work, run)
            future.add_done_callback(lambda done, run=run: self._ended(run, done))  # type: ignore[misc]

    def _work(self, run: _Run) -> None:
        if not run.task.steady:
            run.task.work()
            return
        while not run.lost and not self._stopping.is_set():
            run.task.work()
            self._failures[run.task.name] = 0
            self._stopping.wait(run.task.every)

    def _ended(self, run: _Run, done: Future[None]) -> None:
        """Called in the task's thread, whatever became of it; an exception of any kind is one task's own matter."""
        name = run.task.name
        error = None if done.cancelled() else done.exception()
        self._failures[name] = 0 if error is None else self._failures.get(name, 0) + 1
        if error is not None:
            bug = None if isinstance(error, SyncError | SQLAlchemyError) else error
            log.warning("task.failed", task=name, error=describe(error), failures=self._failures[name], exc_info=bug)
        try:
            if not run.lost:
                self._finish(run, error)
        except SQLAlchemyError as trouble:
            log.warning("task.not_saved", task=name, error=describe(trouble))
        finally:
            self._running.pop(name, None)

    def _finish(self, run: _Run, error: BaseException | None) -> None:
        if error is None:
            pause, text = 0.0 if run.task.steady else run.task.every, None
        else:
            pause, text = pause_after(run.task.every, self._failures[run.task.name], error), describe(error)
        schedules.finish(self._db, run.task.name, run.claimed.token, self._now() + pause, text)

    def _now(self) -> float:
        with self._db.read() as conn:
            return self._db.now(conn)


def main(config: Config) -> int:
    """The scheduler process: blocks until SIGTERM or Ctrl-C; its exit code."""
    from sync_worker import broker, housekeeping, metrics, wiring
    from sync_worker.connectors.shared_slots import RedisLimiter
    from sync_worker.doorbell import Doorbell
    from sync_worker.ringer import Ringer

    stop = StopSignal()
    end_with_parent()
    metrics.prepare(config.data_dir / "metrics")
    url = broker.url_of(config)
    processes = worker_processes()
    limiter = RedisLimiter(broker.connect(url, timeout=1.0), processes=processes)
    app = wiring.build(config, limiter=limiter)
    queue = broker.make_broker(url)
    questions = broker.connect(url, timeout=2.0)
    queue.watch.look(questions)  # the ringer asks only when there is something to ring for
    doorbell = Doorbell(queue)
    tasks = housekeeping.tasks_for(app, doorbell, Ringer(app.db, doorbell, questions))
    try:
        return Scheduler(app.db, tasks).run(stop)
    finally:
        app.close()
        limiter.close()
        queue.close()
        questions.close()

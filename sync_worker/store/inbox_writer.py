"""The one writer of the inbox in a process: notices that arrive together are stored in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from sync_worker.events import Change, LinkClass
from sync_worker.store.inbox import Accepted, Handed, Inbox
from sync_worker.store.touches import Touched

# A commit costs much the same for one notice as for ten. In a burst the writer gives those on their way a moment to
# join, until they are a crowd, or as many as there were the last time: whoever was answered sends the next, and nobody
# else is to be waited for. A notice that comes alone is stored at once.
BURST_SECONDS = 0.02
GATHER_SECONDS = 0.005
CROWD = 20


class InboxFull(Exception):
    """More changes wait for the disk than is sensible, or the inbox is closing: the sender should try again later."""


@dataclass(slots=True)
class _Submission:
    changes: Sequence[Change]
    klass: LinkClass
    may_create: str | None
    answer: asyncio.Future[Accepted]


class InboxWriter:
    """One thread that stores what many callers hand over, one commit for all that is waiting.

    Callers are answered after their commit with the outcome of the whole commit, or get the database's exception.
    ``on_commit`` is called once per commit, after it, with what it touched (never nothing); it must not raise. Should
    the thread end by a defect all the same, whoever waits is answered, and nothing more is taken. ``max_group``:
    notices stored in one commit; ``max_waiting``: changes, since one notice may tell tens of thousands. While fewer
    wait, one more notice is taken, however many it tells.
    """

    def __init__(
        self,
        inbox: Inbox,
        on_commit: Callable[[Sequence[Touched]], None],
        max_group: int = 512,
        max_waiting: int = 20_000,
    ) -> None:
        self._inbox = inbox
        self._on_commit = on_commit
        self._max_group = max_group
        self._max_waiting = max_waiting
        self._queue: queue.SimpleQueue[_Submission | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        self._handed = 0  # changes, ever; written by callers, behind the gate
        self._done = 0  # of those: stored or failed; written by the thread alone, so that no lock is needed
        self._crowd = threading.Event()
        self._in_flight = CROWD  # notices that were under way when the last commit ended
        self._enough = CROWD  # waiting; nobody else is waited for
        self._burst_until = 0.0
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    async def store(
        self, changes: Sequence[Change], klass: LinkClass = "live", may_create: str | None = None
    ) -> Accepted:
        """Hand over notices and wait for their commit; who stops waiting has them stored all the same.

        Raises ``InboxFull`` when too many wait already or after ``close``, ``SQLAlchemyError`` when nothing was stored.
        """
        item = _Submission(changes, klass, may_create, asyncio.get_running_loop().create_future())
        with self._gate:
            if not self._open:
                raise InboxFull("the inbox is closed")
            if self.waiting >= self._max_waiting:
                raise InboxFull("too many changes wait to be stored")
            self._handed += len(changes)
            before = self._queue.qsize()
            self._queue.put(item)
        if before + 1 >= self._enough and not self._crowd.is_set():
            self._crowd.set()
        return await item.answer

    @property
    def waiting(self) -> int:
        """How many changes wait to be stored, those of the commit that is under way included."""
        return self._handed - self._done

    @property
    def alive(self) -> bool:
        """Whether the thread that stores is there."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Store what was submitted, then end."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (first := self._first()) is not None:
                group = [first]
                self._commit(group)
                self._burst_until = time.monotonic() + BURST_SECONDS if len(group) > 1 else 0.0
        finally:
            self._abandon()

    def _first(self) -> _Submission | None:
        """The first of the next group; in a burst only once the others had their moment."""
        first = self._queue.get()
        if first is None:
            return None
        if time.monotonic() < self._burst_until:
            self._enough = min(CROWD, self._in_flight) - 1  # the first is out of the queue
            self._crowd.clear()
            if self._queue.qsize() < self._enough:
                self._crowd.wait(GATHER_SECONDS)
        return first

    def _whole(self, group: list[_Submission]) -> Iterator[Handed]:
        """What the group hands over, once those have joined it that came while it waited for the database."""
        while len(group) < self._max_group:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            group.append(item)
        return ((one.changes, one.klass, one.may_create) for one in group)

    def _commit(self, group: list[_Submission]) -> None:
        try:
            outcome = self._inbox.accept_all(lambda: self._whole(group))
        except SQLAlchemyError as error:
            self._whole(group)  # if no transaction came about: nobody is to wait for the next one to fail as well
            self._done += _changes(group)
            _answer(group, error)
            return
        except BaseException as error:
            _answer(group, error)
            raise
        # before anybody who is answered sends the next
        self._in_flight = len(group) + self._queue.qsize()
        self._done += _changes(group)
        _answer(group, outcome)
        if outcome.touched:
            self._on_commit(outcome.touched)

    def _abandon(self) -> None:
        """Answer what cannot be stored any more, so that nobody waits for a thread that has ended."""
        with self._gate:
            self._open = False
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                _answer([item], InboxFull("the inbox is closed"))


def _changes(group: Iterable[_Submission]) -> int:
    return sum(len(one.changes) for one in group)


def _answer(group: Iterable[_Submission], outcome: Accepted | BaseException) -> None:
    """Tell the callers' event loop: one wake-up for the whole group, not one for each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[Accepted]]] = {}
    for one in group:
        by_loop.setdefault(one.answer.get_loop(), []).append(one.answer)
    for loop, answers in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answers, outcome)


def _settle(answers: Iterable[asyncio.Future[Accepted]], outcome: Accepted | BaseException) -> None:
    for answer in answers:
        if answer.done():
            continue  # its caller has stopped waiting
        if isinstance(outcome, Accepted):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

"""The engine: claims due links and hands them to a batch; a worker thread runs one batch at a time (E2)."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError

from sync_worker.connectors.base import Connector
from sync_worker.engine.batch import Batch
from sync_worker.engine.flow import Flow
from sync_worker.engine.invoices import Invoices
from sync_worker.engine.rule import Rule
from sync_worker.errors import SyncError
from sync_worker.events import INVOICE, SIDES, LinkClass, Side
from sync_worker.store import leases, parts, waiting
from sync_worker.store.inbox import Inbox
from sync_worker.store.link_statements import SUSPECT, Suspicion
from sync_worker.store.rows import LinkRow
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched

BATCH = 100
# Batches of a flow and class at a time in a process: while one waits for a vendor another computes. More only wait for
# call slots, with links in hand that a crash would hold up.
LANES: Mapping[LinkClass, int] = {"live": 2, "retry": 1, "bulk": 2}
# Seconds after which a batch of a class drags: another may begin beside it though it would not be full.
DRAGS: Mapping[LinkClass, float] = {"live": 0.5, "retry": 0.5, "bulk": 0.5}
BURST = 5  # links in a batch, so that the next waits a moment for company
GATHER_SECONDS = 0.05
GATHER_ROUNDS = 4
ENOUGH = 32  # links for which a batch is worth its calls: it waits for no more, though it takes what is there
SUSPECTS_TURN = 2  # of so many claims one asks first for links that were claimed without an end (E4)
SUSPECTS_SECONDS = 0.5  # and goes on with them for so long: a kill may leave a hundred of them
SUSPECTS: Sequence[tuple[Suspicion, ...]] = (("suspect", "poison"), ("poison", "suspect"))
BATCH_SECONDS = 1.5  # of measured vendor latency: the window of E22 stays under 2 s
BULK_SECONDS = 12.0  # nobody waits for it, and it is stored as it goes; fewer and fuller batches cost fewer calls


@dataclass
class Worked:
    """``again``: links due right away again; ``more``: the flow and class of which further due neighbours remain."""

    claimed: int = 0
    again: tuple[Touched, ...] = ()
    more: tuple[str, LinkClass] | None = None


@dataclass
class Pace:
    """How many links of a flow and class fit into one batch of ``seconds``, learned from how long batches take.

    ``abreast``: batches at a time. Were the first ones of one size, all would be read, written and stored at the same
    times, and nobody would call a vendor meanwhile.
    """

    seconds: float = BATCH_SECONDS
    limit: int = 32
    abreast: int = 1
    _burst_at: float = 0.0
    _turns: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def take(self, due: int) -> int:
        """Links for the next batch. Are more due than one takes, each of the first ends while others are half way."""
        if due <= self.limit:
            return self.limit
        return -(-self.limit * min(next(self._turns), self.abreast) // self.abreast)

    def in_burst(self) -> bool:
        """Has a batch of several links just ended? Then more are on their way, and larger batches cost less."""
        return time.monotonic() - self._burst_at < GATHER_SECONDS

    def note(self, seconds: float, count: int) -> None:
        """A full batch that was quick lets the next be larger; one that took too long makes them smaller."""
        self._burst_at = time.monotonic() if count >= BURST else 0.0
        if seconds > self.seconds:
            self.limit = max(1, int(min(self.limit, count) * self.seconds / seconds))
        elif seconds < self.seconds / 3 and count >= self.limit:
            self.limit = min(BATCH, self.limit * 2)


class Lanes:
    """Lets one batch per flow and class run at a time in this process, more only when a full batch waits or one drags.

    So a burst gathers into few large batches (few vendor calls) without an edit ever waiting for a clock. Whoever finds
    the lane taken leaves word, and the batch that ends rings for it. ``most``: batches at a time by class; ``drags``:
    seconds after which a batch does.
    """

    def __init__(self, most: Mapping[LinkClass, int] = LANES, drags: Mapping[LinkClass, float] = DRAGS) -> None:
        self.most = most
        self._drags = drags
        self._lock = threading.Lock()
        self._running: dict[tuple[str, LinkClass], list[float]] = {}
        self._wanted: set[tuple[str, LinkClass]] = set()

    def enter(self, lane: tuple[str, LinkClass], backlog: Callable[[], bool]) -> bool:
        """May another batch of this lane begin? If not, it is remembered that one was wanted."""
        now, lanes = time.monotonic(), self.most[lane[1]]
        with self._lock:
            running = self._running.setdefault(lane, [])
            free = not running or (len(running) < lanes and now - min(running) > self._drags[lane[1]])
            if not free and len(running) >= lanes:
                self._wanted.add(lane)
                return False
            if free:
                running.append(now)
                return True
        full = backlog()  # asks the database: not under the lock
        with self._lock:
            if full and len(running) < lanes:
                running.append(now)
                return True
            if not running:
                running.append(now)
                return True
            self._wanted.add(lane)
            return False

    def leave(self, lane: tuple[str, LinkClass]) -> bool:
        """A batch has ended; says whether another one was wanted meanwhile."""
        with self._lock:
            self._running[lane].pop(0)
            wanted = lane in self._wanted
            self._wanted.discard(lane)
            return wanted


@dataclass
class Engine:
    """Runs passes over due links. Thread-safe: one instance serves all threads of a process.

    ``owner``: this process, if its end is told to its successor (``leases.release``).
    """

    db: Database
    flows: Mapping[str, Flow]
    rules: Callable[[str], Rule]
    inbox: Inbox
    invoices: Invoices
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)
    paces: dict[tuple[str, LinkClass], Pace] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)
    portions: dict[str, dict[Side, int]] = field(default_factory=dict)
    turns: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    suspects: Iterator[tuple[Suspicion, ...]] = field(default_factory=lambda: itertools.cycle(SUSPECTS))
    owner: str | None = None

    def run_link(self, link_id: int) -> Worked:
        """A ring for one link: it and its due neighbours of the same flow and class."""
        with self.db.read() as conn:
            row = conn.execute(select(link.c.flow, link.c.klass, link.c.due_at).where(link.c.id == link_id)).first()
        if row is None or row.due_at is None or row.flow not in self.flows:
            return Worked()
        return self.run_due(row.flow, row.klass)

    def run_due(self, flow_name: str, klass: LinkClass) -> Worked:
        """Claim a batch of due links of a flow and class and bring them to an end."""
        flow = self.flows.get(flow_name)
        if flow is None:
            return Worked()
        lane = (flow_name, klass)
        bulk = klass == "bulk"
        pace = self.paces.setdefault(lane, Pace(BULK_SECONDS, BATCH, self.lanes.most[klass]) if bulk else Pace())
        if not self.lanes.enter(lane, lambda: self._due(flow, klass, pace.limit) >= pace.limit):
            return Worked()
        worked = Worked()
        try:
            worked = self._run_batch(flow, klass, pace)
        finally:
            wanted = self.lanes.leave(lane)
        return replace(worked, more=lane) if wanted else worked

    def _run_batch(self, flow: Flow, klass: LinkClass, pace: Pace) -> Worked:
        due = self._due(flow, klass, pace.limit + 1)
        if due == 0:
            return Worked()  # somebody was quicker: found without asking for the write lock
        limit = pace.take(due)
        if pace.in_burst():
            self._gather(flow, klass, limit, due)
        theirs = next(self.turns) % SUSPECTS_TURN == 0
        kinds = (*next(self.suspects), "sound") if theirs else leases.SOUND_FIRST
        rows = leases.claim(self.db, flow.scope, klass=klass, limit=limit, kinds=kinds, owner=self.owner)
        if not rows:
            return Worked()
        began = time.monotonic()
        again = self._run_rows(flow, klass, rows)
        pace.note(time.monotonic() - began, len(rows))
        if klass == "bulk" and again:
            again = self._go_on(flow, again)
        suspect = rows[0].claims > SUSPECT  # those behind them come few at a time, too: nobody else rings for them
        count = len(rows)
        while suspect and time.monotonic() - began < SUSPECTS_SECONDS:
            try:
                rows = leases.claim(
                    self.db, flow.scope, klass=klass, limit=limit, kinds=next(self.suspects), owner=self.owner
                )
                again += self._run_rows(flow, klass, rows) if rows else []
            except (OperationalError, InterfaceError):
                break  # the database is away: who comes next is told so, and those before are rung for
            if not rows:
                break
            count += len(rows)
        return Worked(count, tuple(again), (flow.name, klass) if count >= limit or suspect else None)

    def _due(self, flow: Flow, klass: LinkClass, most: int) -> int:
        return waiting.due_up_to(self.db, flow.scope, klass, most)

    def _gather(self, flow: Flow, klass: LinkClass, limit: int, due: int) -> None:
        """Let those on their way join: until they are enough, nobody came for a while, or it has been long enough."""
        for _ in range(GATHER_ROUNDS):
            if due >= min(limit, ENOUGH):
                return
            self.sleep(GATHER_SECONDS)
            before, due = due, self._due(flow, klass, limit)
            if due <= before:
                return

    def _run_rows(self, flow: Flow, klass: LinkClass, rows: list[LinkRow]) -> list[Touched]:
        portions = self.portions.setdefault(flow.name, {})
        rule = self.rules(flow.entity)
        batch = Batch(self.db, rule, flow, rows, klass, clock=self.clock, rng=self.rng, portions=portions)
        with batch.working():
            return batch.run(rows)

    def _go_on(self, flow: Flow, again: Sequence[Touched]) -> list[Touched]:
        """What a bulk batch has just linked is compared together: mixed with other work it would cost more calls."""
        ids = [one.link_id for one in again if one.klass == "bulk"]
        rows: list[LinkRow] = []
        if ids:
            rows = leases.claim(self.db, flow.scope, klass="bulk", ids=ids, limit=len(ids), owner=self.owner)
        taken = {row.id for row in rows}
        rest = [one for one in again if one.link_id not in taken]
        return rest + (self._run_rows(flow, "bulk", rows) if rows else [])

    def resolve_parts(self, system: str) -> tuple[Touched, ...]:
        """Ask the vendor whose the unknown child rows and invoices are; their records become due.

        Each kind is stored by itself: one that cannot be read holds up no other. Raises the last one's SyncError. One
        thread of this process does it at a time, and goes on while others were turned away meanwhile.
        """
        lane: tuple[str, LinkClass] = (f"parts:{system}", "retry")
        touched: list[Touched] = []
        wanted = True
        while wanted and self.lanes.enter(lane, lambda: False):
            try:
                touched += self._resolve_parts(system)
            finally:
                wanted = self.lanes.leave(lane)
        return tuple(touched)

    def _resolve_parts(self, system: str) -> tuple[Touched, ...]:
        claimed = parts.claim_parts(self.db, system)
        if not claimed:
            return ()
        flow = next(f for f in self.flows.values() if system in f.systems.values())
        connector = flow.connectors[next(s for s in SIDES if flow.systems[s] == system)]
        touched: list[Touched] = []
        failed: SyncError | None = None
        for entity in sorted({p.entity for p in claimed}):
            some = [p for p in claimed if p.entity == entity]
            try:
                if entity == INVOICE:
                    touched += self.invoices.resolve(connector, some)
                else:
                    touched += self._resolve_children(connector, entity, [p.key for p in some])
            except SyncError as error:
                failed = error
        if failed is not None:
            raise failed
        return tuple(touched)

    def _resolve_children(self, connector: Connector, entity: str, keys: Sequence[str]) -> tuple[Touched, ...]:
        owners = connector.resolve_parts(entity, keys)
        found = {(entity, key): owners.get(key, []) for key in keys}
        return self.db.run(lambda conn: self.inbox.resolve_parts_in(conn, connector.system, found))

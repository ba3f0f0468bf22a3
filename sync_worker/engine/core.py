"""The engine: claims due links and hands them to a batch; a worker thread runs one batch at a time (E2)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from sync_worker.engine.batch import Batch
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, LinkClass
from sync_worker.store import links, parts
from sync_worker.store.inbox import Inbox
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched

BATCH = 100
BATCH_SECONDS = 1.5  # of measured vendor latency: the window of E22 stays under 2 s


@dataclass
class Worked:
    """``again``: links due right away again; ``more``: further due neighbours remain."""

    claimed: int = 0
    again: tuple[Touched, ...] = ()
    more: bool = False


@dataclass
class Pace:
    """Measured seconds per link of a flow, smoothed; says how many links fit into a batch."""

    per_link: float = 0.05
    batch: int = BATCH

    def limit(self) -> int:
        return max(1, min(self.batch, int(BATCH_SECONDS / max(self.per_link, 1e-4))))

    def note(self, seconds: float, count: int) -> None:
        self.per_link += 0.3 * (seconds / count - self.per_link)


@dataclass
class Engine:
    """Runs passes over due links. Thread-safe: one instance serves all threads of a process."""

    db: Database
    flows: Mapping[str, Flow]
    rules: Callable[[str], Rule]
    inbox: Inbox
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
    paces: dict[str, Pace] = field(default_factory=dict)

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
        pace = self.paces.setdefault(flow_name, Pace())
        limit = pace.limit()
        rows = links.claim(self.db, flow.scope, klass=klass, limit=limit)
        if not rows:
            return Worked()
        began = time.monotonic()
        with Batch(
            self.db, self.rules(flow.entity), flow, rows, klass, clock=self.clock, rng=self.rng
        ).working() as batch:
            saved = batch.run(rows)
        pace.note(time.monotonic() - began, len(rows))
        return Worked(len(rows), tuple(saved), len(rows) >= limit)

    def resolve_parts(self, system: str) -> tuple[Touched, ...]:
        """Ask the vendor whose the unknown child rows are; their records become due."""
        claimed = parts.claim_parts(self.db, system)
        if not claimed:
            return ()
        flow = next(f for f in self.flows.values() if system in f.systems.values())
        side = next(s for s in SIDES if flow.systems[s] == system)
        found: dict[tuple[str, str], Sequence[str]] = {}
        for entity in sorted({p.entity for p in claimed}):
            keys = [p.key for p in claimed if p.entity == entity]
            owners = flow.connectors[side].resolve_parts(entity, keys)
            found.update({(entity, key): owners.get(key, []) for key in keys})
        return self.db.run(lambda conn: self.inbox.resolve_parts_in(conn, system, found))

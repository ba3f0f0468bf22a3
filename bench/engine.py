"""The engine with vendors that live in the worker processes and answer at once, against Dramatiq that does nothing.

Every one of N linked customers was renamed in the CRM. Notices are stored first; measured is from the first ring to the
end of the last link, over the same processes and threads that then drain as many empty messages as they can.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from sqlalchemy import func, select

from bench import instant, noop
from bench.figures import Figure, Size, ratio, until
from bench.filling import FIRST, FLOW, link_all
from bench.rig import Rig, rig
from sync_worker import broker, wiring
from sync_worker.connectors import CONNECTORS
from sync_worker.doorbell import Doorbell
from sync_worker.events import Change
from sync_worker.ringer import Ringer
from sync_worker.store.tables import journal, link

LINKS = 4000
RING_SECONDS = 0.5


def measure(size: Size) -> list[Figure]:
    """Links a second against empty messages a second, in turns."""
    mine, base = [], []
    for _ in range(size.repeats):
        base.append(noop.rate(size.of(noop.MESSAGES)))
        mine.append(_links_per_second(size.of(LINKS)))
    return [ratio("engine, vendors answering at once, against no-op Dramatiq", mine, base, 0.25, "links/s", goal=0.4)]


def _links_per_second(count: int) -> float:
    with worked_off(count) as (_, begun, ended):
        return count / (ended - begun)


@contextlib.contextmanager
def worked_off(count: int) -> Iterator[tuple[Rig, float, float]]:
    """So many edits, brought in step: the rig, and when (seconds since 1970) that began and ended."""
    real = dict(CONNECTORS)
    instant.use(edited=False)
    try:
        with rig() as stage:
            link_all(stage, [(str(n), str(n)) for n in range(FIRST, FIRST + count)])
            stage.start_workers([sys.executable, "-m", "bench.instant"])
            _give_notice(stage, count)
            yield stage, *_work_off(stage, count)
    finally:
        CONNECTORS.update(real)


def _give_notice(stage: Rig, count: int) -> None:
    """One notice per customer, stored as the webhook does, not yet rung for."""
    app = wiring.build(stage.config, db=stage.db)
    app.inbox.accept([Change("crm", "customer", str(n)) for n in range(FIRST, FIRST + count)])


def _work_off(stage: Rig, count: int) -> tuple[float, float]:
    """When the first ring was sent and the last link ended."""
    with contextlib.closing(broker.make_broker(stage.queue.url)) as made:
        ringer = Ringer(stage.db, Doorbell(made), made.client)
        begun = stage.db.clock()
        until(lambda: not (ringer.tick() or stage.busy()), 120, "links are left", pause=RING_SECONDS)
    with stage.db.read() as conn:
        written = conn.execute(
            select(func.count()).select_from(journal).where(journal.c.flow == FLOW, journal.c.what == "update")
        ).scalar_one()
        assert written == count, f"{written} of {count} were written"
        return begun, float(conn.execute(select(func.max(link.c.last_synced_at))).scalar_one())

"""Everything made due once more though nothing has changed: ``replay --state in_sync`` over linked customers at rest.

Both vendors are emulated over sockets and answer at once. Seconds are from the replay until nothing is due; calls are
all that both vendors saw. Each link is read on both sides, in batches; nobody may write.
"""

from __future__ import annotations

import statistics
import time

from sqlalchemy import func, select

from bench.figures import Figure, Size, until
from bench.filling import FLOW, link_all, seed
from bench.rig import Rig, rig
from sync_worker import desk, wiring
from sync_worker.store.tables import link
from sync_worker.wiring import App

LINKS = 3000


def measure(size: Size) -> list[Figure]:
    """Writes, with links a second and calls per link, the median of several turns."""
    rates, calls, writes = [], [], 0
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = seed(stage, size.of(LINKS))
        link_all(stage, pairs)
        stage.start_all()
        app = wiring.build(stage.config, db=stage.db)
        try:
            for _ in range(size.repeats):
                for vendor in stage.vendors.values():
                    vendor.post("reset_stats", {})
                rates.append(len(pairs) / _replay(stage, app))
                seen = [vendor.stats() for vendor in stage.vendors.values()]
                calls.append(sum(one["reads"] + one["writes"] for one in seen) / len(pairs))
                writes += sum(one["writes"] for one in seen)
        finally:
            for connector in app.systems.values():
                connector.close()
    name = f"no-op re-sync of {len(pairs):,} links: writes"
    also = f"{statistics.median(rates):,.0f} links/s, {statistics.median(calls):.3f} calls per link"
    return [Figure(name, "0", str(writes), writes == 0, also)]


def _replay(stage: Rig, app: App) -> float:
    begun = time.perf_counter()
    count = desk.replay(app, state="in_sync", flow=FLOW)
    until(lambda: not stage.busy(), 120, "links are left")
    took = time.perf_counter() - begun
    stage.wait_for_rest()
    with stage.db.read() as conn:
        everything = conn.execute(select(func.count()).select_from(link)).scalar_one()
    assert count == everything, f"{count} of {everything} links were made due"
    return took

"""One edit at a time, vendors answering in 20 ms: from the notice being stored to the vendor being asked.

A person renames one customer, now in the CRM, now in Intacct; when all is at rest again, and after a random moment, the
next one. Stored is ``event.received_at``; asked is the first call in that vendor's own log since then. The journal
tells the window (E22) between the read of the name that was overwritten and the end of the write.
"""

from __future__ import annotations

import bisect
import random
import time

from sqlalchemy import select

from bench.burst import windows_of
from bench.figures import Figure, Size, at_most, percentile, until
from bench.filling import Pair, link_all, seed
from bench.rig import Rig, calls_of, rig
from sync_worker.store.tables import event

EDITS = 240
LATENCY_MS = 20
PAUSE = (0.05, 0.25)  # seconds between two edits: no beat of our own threads


def measure(size: Size) -> list[Figure]:
    """Latency and window of single edits."""
    with rig() as stage:
        stage.start_vendors(LATENCY_MS)
        pairs = seed(stage, size.of(EDITS))
        link_all(stage, pairs)
        stage.start_all()
        _edit(stage, "erp", pairs[0])  # sign-in and connections
        _edit(stage, "crm", pairs[1])
        latencies, rng = [], random.Random(0)
        for number, pair in enumerate(pairs[2:]):
            side = "crm" if number % 2 else "erp"
            latencies.append(_edit(stage, side, pair))
            time.sleep(rng.uniform(*PAUSE))
        windows = windows_of(stage)[2:]
    also = f"{len(latencies)} edits"
    return [
        at_most("idle: notice stored to vendor called, p50", percentile(latencies, 0.5) * 1000, 60, " ms", also),
        at_most("idle: notice stored to vendor called, p99", percentile(latencies, 0.99) * 1000, 150, " ms"),
        at_most("window between read and write, single edits, p95", percentile(windows, 0.95) * 1000, 250, " ms"),
    ]


def _edit(stage: Rig, side: str, pair: Pair) -> float:
    """One edit, brought to rest; seconds from its notice being stored to its vendor being asked."""
    source, target = (stage.erp, stage.crm) if side == "erp" else (stage.crm, stage.erp)
    key = pair[0] if side == "erp" else pair[1]
    seen = target.stats()["ledger_seq"]
    if side == "erp":
        stage.erp.edit(key, {"name": f"Renamed {key} {seen}"})
    else:
        stage.crm.edit(key, {"Comp_Name": f"Renamed {key} {seen}"})
    until(lambda: target.stats()["ledger_seq"] > seen, 30, "an edit has not arrived")
    stage.wait_for_rest()
    stored = _stored_at(stage, side, key)
    calls = [at for at, _, _ in calls_of(source)]
    return calls[bisect.bisect_left(calls, stored)] - stored


def _stored_at(stage: Rig, system: str, key: str) -> float:
    c = event.c
    wanted = select(c.received_at).where(c.system == system, c.key == key, c.via == "webhook").order_by(c.id)
    with stage.db.read() as conn:
        return float(conn.execute(wanted).scalars().all()[0])

"""One edit at a time, vendors answering in 20 ms: from the notice being stored to the vendor being asked.

A person renames one customer, now in the CRM, now in Intacct; when all is at rest again, and after a random moment, the
next one. Stored is ``event.received_at``; asked is the first call in that vendor's own log since then. The journal
tells the window (E22) between the read of the name that was overwritten and the end of the write.
"""

from __future__ import annotations

import bisect
import random
import time

from sqlalchemy import func, select

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
        rng = random.Random(0)
        for number, pair in enumerate(pairs[2:]):
            _edit(stage, "crm" if number % 2 else "erp", pair)
            time.sleep(rng.uniform(*PAUSE))
        latencies = [*_latencies(stage, "erp", pairs[2::2], 0), *_latencies(stage, "crm", pairs[3::2], 1)]
        windows = windows_of(stage)[2:]
    also = f"{len(latencies)} edits"
    return [
        at_most(
            "idle: notice stored to vendor called, p50", percentile(latencies, 0.5) * 1000, 60, " ms", also, goal=20
        ),
        at_most("idle: notice stored to vendor called, p99", percentile(latencies, 0.99) * 1000, 150, " ms"),
        at_most("window between read and write, single edits, p95", percentile(windows, 0.95) * 1000, 250, " ms"),
    ]


def _edit(stage: Rig, side: str, pair: Pair) -> None:
    """One edit, brought to rest."""
    target = stage.crm if side == "erp" else stage.erp
    seen = target.stats()["ledger_seq"]
    if side == "erp":
        stage.erp.edit(pair[0], {"name": f"Renamed {seen}"})
    else:
        stage.crm.edit(pair[1], {"Comp_Name": f"Renamed {seen}"})
    until(lambda: target.stats()["ledger_seq"] > seen, 30, "an edit has not arrived")
    stage.wait_for_rest()


def _latencies(stage: Rig, system: str, pairs: list[Pair], which: int) -> list[float]:
    """Per edited customer: seconds from its notice being stored to the next call its vendor saw."""
    keys = [pair[which] for pair in pairs]
    c = event.c
    wanted = (
        select(func.min(c.received_at)).where(c.system == system, c.via == "webhook", c.key.in_(keys)).group_by(c.key)
    )
    with stage.db.read() as conn:
        stored = [float(at) for at in conn.execute(wanted).scalars()]
    assert len(stored) == len(keys), f"{len(stored)} notices for {len(keys)} edits"
    calls = [at for at, _, _ in calls_of(stage.erp if system == "erp" else stage.crm)]
    return [calls[bisect.bisect_left(calls, at)] - at for at in stored]

"""A burst of 1,000 edits in Sage CRM over 1,000 linked customers, vendors answering in 20 ms.

Counted on the emulator: Intacct's reads and writes per edit. What Intacct would announce of our writes is kept off, and
polls and sweeps are an hour away: echo reads and feeds are no part of the figure. The journal tells the window (E22)
between the read of a name that was overwritten and the end of the write, for records that travelled in batches.
"""

from __future__ import annotations

import statistics

from sqlalchemy import select

from bench.figures import Figure, Size, at_most, percentile
from bench.filling import link_all, seed
from bench.rig import Rig, rig
from bench.sockets import rename_in_crm, rename_in_erp
from sync_worker.store.tables import journal

EDITS = 1000
LATENCY_MS = 20
BATCH_SECONDS = 2.0


def measure(size: Size) -> list[Figure]:
    """Calls per edit, and the window of batches in both directions."""
    per_edit, notes = [], []
    with rig() as stage:
        stage.start_vendors(LATENCY_MS)
        pairs = seed(stage, size.of(EDITS))
        link_all(stage, pairs)
        stage.start_all()
        for turn in range(size.repeats):
            stage.erp.faults(notices_off=True)
            stage.erp.post("reset_stats", {})
            rename_in_crm(stage, pairs, f"burst {turn}")
            calls = stage.erp.stats()
            per_edit.append((calls["reads"] + calls["writes"]) / len(pairs))
            notes.append(f"{calls['reads']} + {calls['writes']}")
            stage.erp.faults(notices_off=False)
            rename_in_erp(stage, pairs, f"back {turn}")
        windows = {side: windows_of(stage, side) for side in ("erp", "crm")}
    also = f"reads + writes for {len(pairs)} edits: {', '.join(notes)}"
    worst = max(percentile(found, 0.95) for found in windows.values())
    by_side = ", ".join(f"{side} {percentile(found, 0.95):.2f}" for side, found in windows.items())
    return [
        at_most("burst of Sage CRM edits: Intacct calls per edit", statistics.median(per_edit), 0.1, also=also),
        at_most("window between read and write, batches, p95", worst, BATCH_SECONDS, " s", f"written side: {by_side}"),
    ]


def windows_of(stage: Rig, side: str | None = None) -> list[float]:
    """Seconds between the read of what was overwritten and the end of its write, as the journal tells."""
    c = journal.c
    wanted = select(c.at - c.read_at).where(c.what == "update", c.read_at.is_not(None))
    if side is not None:
        wanted = wanted.where(c.side == side)
    with stage.db.read() as conn:
        return [float(seconds) for seconds in conn.execute(wanted).scalars()]

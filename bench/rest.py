"""After edits on both sides everything comes to rest, and then nobody writes: neither looks, polls nor sweeps.

Both vendors announce everything; stale windows last two seconds, so that all trailing looks fall into the measurement.
People rename all customers on one side, then half of them on the other.
"""

from __future__ import annotations

import time

from bench.figures import Figure, Size
from bench.filling import link_all, seed
from bench.rig import Rig, rig
from bench.sockets import rename_in_crm, rename_in_erp

CUSTOMERS = 200
STALE, POLL, SWEEP = 2.0, 1.0, 4.0  # seconds
WATCH_SECONDS = 10.0


def measure(size: Size) -> list[Figure]:
    """Writes at either vendor while everything is at rest."""
    with rig(stale=STALE, poll=POLL, sweep=SWEEP) as stage:
        stage.start_vendors(latency_ms=5)
        pairs = seed(stage, size.of(CUSTOMERS))
        link_all(stage, pairs)
        stage.start_all()
        rename_in_crm(stage, pairs, "there")
        rename_in_erp(stage, pairs[: len(pairs) // 2], "back")
        stage.wait_for_rest(120, ever=True)
        before, reads = _writes(stage), _reads(stage)
        time.sleep(WATCH_SECONDS)
        writes, asked = _writes(stage) - before, _reads(stage) - reads
    also = f"in {WATCH_SECONDS:.0f} s with {asked} reads by polls and sweeps"
    return [Figure("writes on either side after everything is at rest", "0", str(writes), writes == 0, also)]


def _writes(stage: Rig) -> int:
    return sum(int(vendor.stats()["writes"]) for vendor in (stage.erp, stage.crm))


def _reads(stage: Rig) -> int:
    return sum(int(vendor.stats()["reads"]) for vendor in (stage.erp, stage.crm))

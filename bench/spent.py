"""``python bench/spent.py`` with PYTHONPATH at a checkout: its edits a second and CPU per edit, as JSON, unsampled.

CPU is the kernel's count for the processes of each kind from the first edit (or ring) to the last write. A script and
not a module of the package: what it imports is the checkout that is measured, which may be older than this file.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from bench import engine, instant, sockets
from bench.filling import FIRST, link_all
from bench.rig import Rig, rig
from sync_worker import logs
from sync_worker.connectors import CONNECTORS

TICKS = os.sysconf("SC_CLK_TCK")
VENDORS = ("erp", "crm")


def main() -> None:
    logs.configure("warning")
    print(json.dumps({"engine, vendors answering at once": _engine(), **_sockets()}))


def _engine() -> dict[str, float]:
    real = dict(CONNECTORS)
    instant.use(edited=False)
    try:
        with rig() as stage:
            count = engine.LINKS
            link_all(stage, [(str(n), str(n)) for n in range(FIRST, FIRST + count)])
            stage.start_workers([sys.executable, "-m", "bench.instant"])
            engine._give_notice(stage, count)
            before = _cpu(stage)
            begun, ended = engine._work_off(stage, count)
            return _told(count, ended - begun, before, _cpu(stage))
    finally:
        CONNECTORS.update(real)


def _sockets() -> dict[str, dict[str, float]]:
    found = {}
    with sockets.started(sockets.LINKS) as (stage, pairs):
        for way, edits in (
            ("over sockets: Sage CRM to Intacct", sockets.edits_in_crm(stage, pairs, "there")),
            ("over sockets: Intacct to Sage CRM", sockets.edits_in_erp(stage, pairs, "back")),
        ):
            before = _cpu(stage)
            took = edits.carried(lambda: None)
            found[way] = _told(len(pairs), took, before, _cpu(stage))
            stage.wait_for_rest()
    return found


def _told(count: int, took: float, before: Counter[str], after: Counter[str]) -> dict[str, float]:
    """Edits a second, and milliseconds of CPU per edit by kind of process."""
    return {"rate": count / took, **{kind: 1000 * (after[kind] - before[kind]) / count for kind in after}}


def _cpu(stage: Rig) -> Counter[str]:
    """Seconds so far, by kind of process, without the vendors'."""
    spent: Counter[str] = Counter()
    for name, process in stage.running.items():
        kind = name.partition("-")[0]
        if kind not in VENDORS:
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            spent[kind] += (int(fields[11]) + int(fields[12])) / TICKS
    return spent


if __name__ == "__main__":
    main()

"""``python bench/spent.py [--by-function]`` with PYTHONPATH at a checkout: what it needs, and how fast, as JSON.

As it is: edits a second (of the import: customers), and CPU of each by kind of process, which is the kernel's count.
``--by-function``: instead, CPU by function of ours, with every process watched by ``bench/sampled.py``. Both are from
the first edit or ring to the last write. The import is that of ``bench/imports.py``, only smaller; it has a process of
its own, whose start and end are left out: to some hundredths of a second, by function to a quarter of one.

A script that knows the rest of the bench by name only: what it imports is the checkout that is measured, which may be
older than this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Row, select

from bench import engine, imports, instant, rig, sockets
from bench.figures import Size, until
from bench.filling import FIRST, FLOW, link_all
from sync_worker import logs
from sync_worker.connectors import CONNECTORS
from sync_worker.demo.installation import command
from sync_worker.store.tables import run

TICKS = os.sysconf("SC_CLK_TCK")
VENDORS = ("erp", "crm")
ENGINE, THERE, BACK, IMPORT = (
    "engine, vendors answering at once",
    "over sockets: Sage CRM to Intacct",
    "over sockets: Intacct to Sage CRM",
    "import of new customers, 20 ms a call",
)
IMPORTED = 2_000
WITH_CALLEES = "+"

Profile = dict[str, dict[str, float]]
"""Figure -> ``rate`` and process (or ``process|function|package or +``) -> CPU milliseconds each."""


def unsampled() -> Profile:
    """All figures once: ``rate`` a second, and CPU by kind of process."""
    return {ENGINE: _engine(), **_sockets(), IMPORT: _import()}


def by_function(size: Size) -> Profile:
    """All figures once, by function."""
    found: Profile = {}
    with rig.sampling():
        count = size.of(engine.LINKS)
        with engine.worked_off(count) as (stage, begun, ended):
            found[ENGINE] = _between(stage.folder, begun, ended, count)
        with sockets.started(size.of(sockets.LINKS)) as (stage, pairs):
            for way, edits in (
                (THERE, sockets.edits_in_crm(stage, pairs, "there")),
                (BACK, sockets.edits_in_erp(stage, pairs, "back")),
            ):
                begun = stage.db.clock()
                ended = begun + edits.carried(lambda: None)
                stage.wait_for_rest()
                found[way] = _between(stage.folder, begun, ended, len(pairs))
        count = size.of(IMPORTED)
        with _importing(count) as stage:
            begun, ended = _ended(stage, count)
            until(lambda: stage.running["import"].poll() is not None, 60, "the import's process does not end")
            found[IMPORT] = _between(stage.folder, begun, ended, count)
    return found


# --- the figures, unsampled -------------------------------------------------------------------------------------------


def _engine() -> dict[str, float]:
    real = dict(CONNECTORS)
    instant.use(edited=False)
    try:
        with rig.rig() as stage:
            count = engine.LINKS
            link_all(stage, [(str(n), str(n)) for n in range(FIRST, FIRST + count)])
            stage.start_workers([sys.executable, "-m", "bench.instant"])
            engine._give_notice(stage, count)
            before = _cpu(stage)
            begun, ended = engine._work_off(stage, count)
            return _told(count, ended - begun, before, _cpu(stage))
    finally:
        CONNECTORS.update(real)


def _sockets() -> Profile:
    found = {}
    with sockets.started(sockets.LINKS) as (stage, pairs):
        for way, edits in (
            (THERE, sockets.edits_in_crm(stage, pairs, "there")),
            (BACK, sockets.edits_in_erp(stage, pairs, "back")),
        ):
            before = _cpu(stage)
            took = edits.carried(lambda: None)
            found[way] = _told(len(pairs), took, before, _cpu(stage))
            stage.wait_for_rest()
    return found


def _import() -> dict[str, float]:
    with _importing(IMPORTED) as stage:
        until(lambda: _run(stage) is not None, 60, "the import does not begin", pause=0.01)
        before = _cpu(stage)
        begun, ended = _ended(stage, IMPORTED)
        return _told(IMPORTED, ended - begun, before, _cpu(stage))


@contextlib.contextmanager
def _importing(count: int) -> Iterator[rig.Rig]:
    """The command under way, of so many customers that only the ERP has."""
    with rig.rig() as stage:
        stage.start_vendors(latency_ms=0)
        imports._seed_new(stage, count)
        stage.crm.faults(latency_ms=imports.LATENCY_MS)
        stage.spawn("import", [*command("import", FLOW, "--yes"), "--config", str(stage.config_path)])
        yield stage


def _ended(stage: rig.Rig, count: int) -> tuple[float, float]:
    """Waits for the import's end: when it began and ended, in seconds since 1970."""

    def over() -> bool:
        assert stage.running["import"].poll() in (None, 0), "the import failed"
        found = _run(stage)
        return found is not None and found.ended_at is not None

    until(over, imports.SECONDS, "the import does not end", pause=0.02)
    found = _run(stage)
    assert found is not None and found.counts.get("created") == count, "not all customers were made"
    return float(found.started_at), float(found.ended_at)


def _run(stage: rig.Rig) -> Row[tuple[float, float | None, dict[str, int]]] | None:
    """The import's run, once it has begun."""
    with stage.db.read() as conn:
        return conn.execute(select(run.c.started_at, run.c.ended_at, run.c.counts)).one_or_none()


# --- what was spent ---------------------------------------------------------------------------------------------------


def _told(count: int, took: float, before: Counter[str], after: Counter[str]) -> dict[str, float]:
    """So many a second, and milliseconds of CPU of each by kind of process."""
    return {"rate": count / took, **{kind: 1000 * (after[kind] - before[kind]) / count for kind in after}}


def _cpu(stage: rig.Rig) -> Counter[str]:
    """Seconds so far, by kind of process, without the vendors'."""
    spent: Counter[str] = Counter()
    for name, process in stage.running.items():
        kind = name.partition("-")[0]
        if kind not in VENDORS:
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            spent[kind] += (int(fields[11]) + int(fields[12])) / TICKS
    return spent


def _between(folder: Path, begun: float, ended: float, events: int) -> dict[str, float]:
    """What all processes spent in that time by their samples, in milliseconds per event."""
    spent: Counter[str] = Counter()
    for file in folder.glob(f"*{rig.SAMPLES}"):
        process = file.name.removesuffix(rig.SAMPLES).partition("-")[0]
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        for line in lines:
            if begun <= line["at"] <= ended + 0.25:
                for where, seconds in line["cpu"].items():
                    spent[f"{process}|{where}"] += seconds
                spent[f"{process}|(not seen)|"] += line["rest"]
    return {where: seconds * 1000 / events for where, seconds in spent.items()}


if __name__ == "__main__":
    logs.configure("warning")
    print(json.dumps(by_function(Size()) if sys.argv[1:] == ["--by-function"] else unsampled()))

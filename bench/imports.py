"""``import`` into an emulated Sage CRM that takes 20 ms a call, and of 100,000 customers against 10,000.

Rows a second are the command's own over its run, from its row in ``run``. The floor, in calls of 20 ms over the CRM's
``concurrency``: one per new customer; and for every 100 of them (the vendor's page) one read per table: three to look
for partners (companies by number and by how names begin; e-mails) and seven to read back what was made
(company, person, address, phone, e-mail and two link tables); one per page of the ERP. What a search needs more, since
an address may not be longer than servers take it, is ours to pay. Nobody edits meanwhile. Beside it stand threads that
do nothing but create companies with plain httpx: what they lose is the wire's and the emulator's.

Then people edit linked customers one after the other, with workers, scheduler and web up: while nothing else happens,
and while an import of others runs. An edit's time is from the vendor's change to our write at the other vendor.

Memory is the command's own peak, with vendors that answer at once: the same number of customers is new in both
imports, the others were linked before and did not change. Idle is what an import of nothing needs. The second import
is of data that did not change: calls are counted at both vendors.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from bench import peak, plain, verify
from bench.figures import Figure, Size, at_most, percentile, ratio, until
from bench.filling import COLUMNS, FLOW, link_all, seed
from bench.rig import Rig, rig
from sync_worker.demo.installation import command
from sync_worker.store.tables import run

NEW, MANY, FEW = 10_000, 100_000, 10_000
AMONG = 2_000  # of the many and of the few: those that are new
LATENCY_MS = 20.0
PLAIN = 1_000  # creates by the plain client
START = 300_001  # of six digits like all that follow, and behind those of ``verify.fill``
CHUNK = 2000
ERP_PAGE, CRM_PAGE = 1000, 100
FINDS, TABLES = 3, 7
LINKED, EDITS = 100, 30
DURING = 2_000  # customers of the import that the edits are made in
SECONDS = 900.0


def measure(size: Size) -> list[Figure]:
    """Rows a second, the second import, live edits during one, and memory."""
    return [*_speed(size), _live(size), *_memory(size)]


def _seed_new(stage: Rig, count: int) -> None:
    """Customers that only the ERP has, each with a name of its own."""
    for start in range(START, START + count, CHUNK):
        some = min(CHUNK, START + count - start)
        columns = {**COLUMNS, "name": "C{n} Trading", "contacts.default.printAs": "C{n} Trading"}
        stage.erp.post("seed", {"customers": some, "start": start, "id": "N-{n:06d}", "columns": columns})


def _import(stage: Rig) -> dict[str, Any]:
    """The command to its end; its report, and the peak memory in MB as ``peak``."""
    told, said = stage.folder / "import.json", stage.folder / "import.log"
    argv = [*peak.command(stage.folder / "peak"), *_ARGS, "--json", "--config", str(stage.config_path)]
    with told.open("wb") as out, said.open("wb") as log:
        ended = subprocess.run(argv, env=os.environ | stage.environment, stdout=out, stderr=log, check=False)
    assert ended.returncode == 0, said.read_text(encoding="utf-8")[-2000:]
    report: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return {**report, "peak": peak.megabytes(stage.folder / "peak")}


_ARGS = ("import", FLOW, "--yes")


def _seconds(stage: Rig, run_id: int) -> float:
    with stage.db.read() as conn:
        begun, ended = conn.execute(select(run.c.started_at, run.c.ended_at).where(run.c.id == run_id)).one()
    return float(ended - begun)


@dataclass(frozen=True, slots=True)
class _Speed:
    """One import. Rows, and calls to the CRM, a second; ``plain``: calls a second of threads that only call."""

    floor: float
    rows: float
    calls: float
    plain: float


def _speed(size: Size) -> list[Figure]:
    """Against the floor, and in turns with threads that do nothing but call; and, once, the import made again."""
    count = size.of(NEW)
    turns: list[_Speed] = []
    again: Figure | None = None
    for _ in range(size.repeats):
        with rig() as stage:
            turns.append(_turn(stage, count))
            again = again or _again(stage, count)
    name = f"import of {count:,} new customers, 20 ms a call: rows/s against the floor"
    rows, floor = [one.rows for one in turns], [one.floor for one in turns]
    share = ratio(name, rows, floor, 0.9, "rows/s", f"slowest {min(rows) / floor[0]:.3f}", goal=0.95)
    calls = statistics.median(one.calls / one.plain for one in turns)
    told = ", ".join(f"{one.calls:,.1f} and {one.plain:,.1f}" for one in turns)
    name = "import: calls a second against as many threads of plain httpx"
    return [share, *([again] if again else []), Figure(name, "", f"{calls:.2f}", also=f"{told} calls/s")]


def _turn(stage: Rig, count: int) -> _Speed:
    """An import from nothing, and then as many calls a second as threads of plain httpx can make there."""
    stage.start_vendors(latency_ms=0)
    _seed_new(stage, count)
    stage.crm.faults(latency_ms=LATENCY_MS)
    stage.crm.post("reset_stats", {})
    report = _import(stage)
    assert report["created"] == count, report
    calls = sum(stage.crm.stats()["calls"].values())
    pages = math.ceil(count / CRM_PAGE)
    least = count + pages * (FINDS + TABLES) + math.ceil(count / ERP_PAGE)
    concurrency = stage.config.systems["crm"].concurrency
    took = _seconds(stage, report["run"])
    a_second = plain.creates_a_second(stage, min(PLAIN, calls), concurrency)
    return _Speed(count * 1000 * concurrency / (least * LATENCY_MS), count / took, calls / took, a_second)


def _again(stage: Rig, count: int) -> Figure:
    """The same once more: the ERP's pages and nothing else."""
    for vendor in (stage.erp, stage.crm):
        vendor.post("reset_stats", {})
    report = _import(stage)
    assert report["unchanged"] == count, report
    writes = sum(vendor.stats()["writes"] for vendor in (stage.erp, stage.crm))
    reads = stage.erp.stats()["reads"] + stage.crm.stats()["reads"]
    pages = math.ceil(count / ERP_PAGE)
    shown = f"{writes} writes, {reads} reads for {pages} pages"
    fine = writes == 0 and reads <= pages + 2  # the ERP's count, and a page that turns out to be the last
    return Figure("second import of the same data", "0 writes, reads = pages", shown, fine)


def _live(size: Size) -> Figure:
    """Edits one by one, with and without an import of other customers under way."""
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = seed(stage, LINKED)
        link_all(stage, pairs)
        _seed_new(stage, size.of(DURING))
        for vendor in (stage.erp, stage.crm):
            vendor.faults(latency_ms=LATENCY_MS)
        stage.start_all()
        idle = _edits(stage, [erp for erp, _ in pairs[: LINKED // 2]], size.of(EDITS))
        argv = [*command(*_ARGS), "--config", str(stage.config_path)]
        stage.spawn("import", argv)
        until(lambda: stage.crm.stats()["calls"].get("create company", 0) > 50, 60, "the import does not begin")
        during = _edits(stage, [erp for erp, _ in pairs[LINKED // 2 :]], size.of(EDITS))
        assert stage.running["import"].poll() is None, "the import ended before the edits did"
        low, high = percentile(idle, 0.95), percentile(during, 0.95)
        p50 = f"p50 {percentile(idle, 0.5) * 1000:.0f} and {percentile(during, 0.5) * 1000:.0f} ms"
        also = f"{high * 1000:.0f} ms against {low * 1000:.0f} ms; {p50}"
        return at_most("live edits during an import: p95 against idle", high / low, 2.0, "", also)


def _edits(stage: Rig, keys: Sequence[str], count: int) -> list[float]:
    """Seconds from each edit at the ERP to our write at the CRM."""
    took = []
    for n in range(count):
        key, name = keys[n % len(keys)], f"Edited {n}"
        after = int(stage.crm.stats()["ledger_seq"])
        begun = time.time()
        stage.erp.edit(key, {"name": name})
        written: list[dict[str, Any]] = []

        def arrived(after: int = after, name: str = name, written: list[dict[str, Any]] = written) -> bool:
            rows = stage.crm.ledger(after)
            written.extend(row for row in rows if row["op"] == "update" and row["after"].get("Comp_Name") == name)
            return bool(written)

        until(arrived, 30.0, f"the edit of customer {key} does not arrive")
        took.append(float(written[0]["at"]) - begun)
        time.sleep(0.1)
    return took


def _memory(size: Size) -> list[Figure]:
    """Peak of many against few, and of many beyond what a command that imports nothing needs."""
    high, low, idle = (_peak(count) for count in (size.of(MANY), size.of(FEW), 0))
    told = f"{high:.0f} MB against {low:.0f} MB"
    return [
        at_most(f"import of {size.of(MANY):,}: peak memory against {size.of(FEW):,}", high / low, 1.2, "", told),
        at_most(f"import of {size.of(MANY):,}: peak memory above idle", high - idle, 150, " MB", f"idle {idle:.0f} MB"),
    ]


def _peak(count: int) -> float:
    """MB of an import of so many customers; 0: of none at all."""
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        new = min(AMONG, count // 2)
        if count:
            verify.fill(stage, count - new)
            _seed_new(stage, new)
        report = _import(stage)
        assert (report["seen"], report.get("created", 0)) == (count, new), report
        return float(report["peak"])

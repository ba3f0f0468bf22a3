"""``links upload`` of 50,000 rows, the ids checked against vendors emulated over sockets that answer at once.

Nothing is linked beforehand; of every second company a half row is known. Half of the rows name the customer by its
number, half by its key. Seconds and memory are the command's own, start included; memory is set against 5,000 rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from sqlalchemy import Connection, func, insert, select

from bench import peak
from bench.figures import Figure, Size, at_most
from bench.filling import FLOW
from bench.rig import Rig, rig
from sync_worker import sheets
from sync_worker.desk.link_rows import TEMPLATE, company_of, sites_of
from sync_worker.store import counters
from sync_worker.store.tables import link
from sync_worker.wiring import build

MANY, FEW = 50_000, 5_000
FIRST = 100_001
CHUNK = 2000
SECONDS = 60.0


def measure(size: Size) -> list[Figure]:
    """Seconds and peak memory of a large upload, memory against a tenth of it."""
    seconds, high = _run(size.of(MANY))
    _, low = _run(size.of(FEW))
    memory = f"{high:.0f} MB against {low:.0f} MB"
    name = f"links upload of {size.of(MANY):,} rows"
    return [
        at_most(name, seconds, SECONDS * size.scale, " s", f"{size.of(MANY) / seconds:,.0f} rows a second"),
        at_most("links upload: peak memory against a tenth of the rows", high / low, 1.2, "", memory),
    ]


def _run(count: int) -> tuple[float, float]:
    """Seconds and MB of one upload."""
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        _fill(stage, count)
        argv = [*peak.command(stage.folder / "peak"), "links", "upload", str(stage.folder / "links.csv"), "--yes"]
        told = stage.folder / "upload.json"
        begun = time.perf_counter()
        with told.open("wb") as out, (stage.folder / "upload.log").open("wb") as log:
            argv += ["--json", "--config", str(stage.config_path)]
            ended = subprocess.run(argv, env=os.environ | stage.environment, stdout=out, stderr=log, check=False)
        took = time.perf_counter() - begun
        assert ended.returncode == 0, (stage.folder / "upload.log").read_text(encoding="utf-8")[-2000:]
        report: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        with stage.db.read() as conn:
            full = link.c.erp_key.is_not(None) & link.c.crm_key.is_not(None)
            linked = conn.execute(select(func.count()).where(full)).scalar_one()
        assert report["linked"] == report["rows"] == linked == count, report
        return took, peak.megabytes(stage.folder / "peak")


def _fill(stage: Rig, count: int) -> None:
    """Both vendors, half rows of every second company, and the file."""
    pairs: list[tuple[str, str, str]] = []
    for start in range(FIRST, FIRST + count, CHUNK):
        some = min(CHUNK, FIRST + count - start)
        erp = stage.erp.post("seed", {"customers": some, "start": start, "id": "C-{n:05d}"})
        crm = stage.crm.post("seed", {"customers": some, "first": start, "linked": False})
        first = int(crm["first_key"])
        pairs += [(key, f"C-{start + i:05d}", str(first + i)) for i, key in enumerate(erp["keys"])]
    app = build(stage.config, db=stage.db)
    flow = app.flows[FLOW]
    company, site = company_of(flow), sites_of(app, flow)[0]
    for connector in app.systems.values():
        connector.close()
    rows = (
        [crm, company, site, ref if i % 2 else "", "" if i % 2 else erp, "No"]
        for i, (erp, ref, crm) in enumerate(pairs)
    )
    sheets.write(stage.folder / "links.csv", TEMPLATE, rows)
    half = {"flow": FLOW, "entity": "customer", "state": "not_synced", "created_at": stage.db.clock()}
    halves = [{**half, "crm_key": crm, "crm_ref": crm} for _, _, crm in pairs[::2]]

    def store(conn: Connection) -> None:
        conn.execute(insert(link), halves)

    stage.db.run(store)
    counters.recount(stage.db)

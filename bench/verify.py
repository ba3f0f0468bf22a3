"""``verify`` over 100,000 linked customers, planted with drift that no feed tells of, against 10,000.

Both vendors are emulated over sockets and answer at once; the link table is filled directly. While the command walks,
people create, change and delete records behind it and ahead of it. The judge is what was planted: the run's findings
are read from its rows. Pages are counted from the vendors' own sizes: every table that customers are made of, in pages
as large as the vendor gives them; calls are those the vendors saw, sign-in included. Memory is the command's own peak.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select

from bench import peak
from bench.figures import Figure, Size, at_most, until
from bench.filling import COLUMNS, FLOW, Pair
from bench.rig import Rig, rig
from sync_worker import wiring
from sync_worker.connectors.base import Record
from sync_worker.demo.vendor import Vendor
from sync_worker.events import SIDES, Side
from sync_worker.store.tables import link, run_row

MANY, FEW = 100_000, 10_000
FIRST = 100_001  # of six digits like all that follow, so that one record is the pattern of all
CHUNK = 2000
ERP_PAGE, CRM_PAGE = 1000, 100  # rows: what we ask Intacct for; documented cap of Sage CRM
CRM_TABLES = 7  # company, person, address, phone and e-mail, and the two link tables
BEGUN = 0.2  # share of a walk after which records move
SECONDS = 900.0

Finding = tuple[str, str, str]
"""Verdict, side, key."""


@dataclass
class Measured:
    """One run: what it cost and what it found."""

    pages: int
    calls: int
    peak_mb: float
    seconds: float
    complete: bool
    planted: set[Finding]
    found: set[Finding]
    per_kind: dict[str, int] = field(default_factory=dict)


def measure(size: Size) -> list[Figure]:
    """Calls, memory and finds of one run over many, memory against a run over few."""
    many, few = _run(size.of(MANY)), _run(size.of(FEW))
    missed, wrong = many.planted - many.found, many.found - many.planted
    extra = (many.calls / many.pages - 1) * 100
    also = f"{many.calls:,} calls for {many.pages:,} pages, {many.seconds:.0f} s"
    memory = f"{many.peak_mb:.0f} MB against {few.peak_mb:.0f} MB"
    kinds = ", ".join(f"{name} {count}" for name, count in many.per_kind.items())
    share = 100.0 * (len(many.planted) - len(missed)) / len(many.planted)
    full = share == 100.0 and many.complete and not few.planted - few.found
    return [
        at_most(
            f"verify of {size.of(MANY):,} linked customers: calls beyond the pages of both sides", extra, 2, " %", also
        ),
        at_most("verify: peak memory against a tenth of the customers", many.peak_mb / few.peak_mb, 1.2, "", memory),
        Figure("verify: planted drift that is found", "100 %", f"{share:g} %", full, kinds),
        at_most("verify: false finds", len(wrong) + len(few.found - few.planted), 0),
    ]


def _run(count: int) -> Measured:
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = fill(stage, count)
        drift = Drift(stage, pairs, each=max(1, count // 10_000))
        drift.plant()
        for vendor in (stage.erp, stage.crm):
            vendor.post("reset_stats", {})
        pages = math.ceil(count / ERP_PAGE) + CRM_TABLES * math.ceil(count / CRM_PAGE)
        report, highest = _verify(stage, drift)
        calls = sum(sum(vendor.stats()["calls"].values()) for vendor in (stage.erp, stage.crm))
        assert calls == sum(report["calls"].values()), f"{calls} calls were seen, the report says {report['calls']}"
        return Measured(
            pages, calls, highest, report["seconds"], report["complete"], drift.planted, _found(stage), drift.per_kind
        )


def _verify(stage: Rig, drift: Drift) -> tuple[dict[str, Any], float]:
    """The command in a process of its own: its report, and its peak memory in MB."""
    argv = [*peak.command(stage.folder / "peak"), "verify", FLOW, "--json", "--config", str(stage.config_path)]
    told = stage.folder / "verify.json"
    with told.open("wb") as out, (stage.folder / "verify.log").open("wb") as log:
        process = subprocess.Popen(argv, env=os.environ | stage.environment, stdout=out, stderr=log)
        moving = threading.Thread(target=drift.move, daemon=True)
        moving.start()
        process.wait()
    in_time = not moving.is_alive()
    drift.over.set()
    moving.join()
    assert process.returncode == 1, (stage.folder / "verify.log").read_text(encoding="utf-8")[-2000:]
    assert in_time, "the walk was over before its records moved"
    return json.loads(told.read_text(encoding="utf-8")), peak.megabytes(stage.folder / "peak")


def _found(stage: Rig) -> set[Finding]:
    with stage.db.read() as conn:
        rows = conn.execute(select(run_row.c.verdict, run_row.c.detail)).all()
    return {(verdict, detail["side"], detail["key"]) for verdict, detail in rows}


@dataclass
class Drift:
    """What is planted before the run, and what moves during it. ``each``: records of every kind."""

    stage: Rig
    pairs: list[Pair]
    each: int
    planted: set[Finding] = field(default_factory=set)
    per_kind: dict[str, int] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def plant(self) -> None:
        """Changes without a stamp, with none, and in child rows only, spread over all customers."""
        erp, crm = self.stage.erp, self.stage.crm
        name = {"name": "Drifted Ltd"}, {"Comp_Name": "Drifted Ltd"}
        self._script("same second, erp", erp, "erp", "customer", name[0], "keep")
        self._script("same second, crm", crm, "crm", "Company", name[1], "keep")
        self._script("null stamp, erp", erp, "erp", "customer", name[0], "none")
        self._script("null stamp, crm", crm, "crm", "Company", name[1], "none")
        self._script("contact only", erp, "erp", "contact", {"email1": "drifted@customers.test"}, "keep")
        self._script("phone only", crm, "crm", "Phone", {"Phon_Number": "7946111"}, "keep")
        self._script("e-mail only", crm, "crm", "Email", {"Emai_EmailAddress": "drifted@customers.test"}, "keep")
        self._script("address only", crm, "crm", "Address", {"Addr_City": "York"}, "keep")
        self._script("person only", crm, "crm", "Person", {"Pers_FirstName": "Drifted"}, "keep")

    def _script(
        self, kind: str, vendor: Vendor, side: Side, entity: str, columns: Mapping[str, Any], stamp: str
    ) -> None:
        chosen = self._next(kind, 0.0, 1.0, self.each)
        keys = [pair[SIDES.index(side)] for pair in chosen]
        # seeding gives all rows of a customer keys in the same order; contacts of employees came first
        shift = self._contact_shift() if entity == "contact" else 0
        edits = [{"entity": entity, "key": str(int(key) + shift), "columns": columns} for key in keys]
        vendor.post("script", {"edits": edits, "stamp": stamp})
        self._expect(kind, "differing", side, keys)

    def _contact_shift(self) -> int:
        record = self.stage.erp.record("customer", self.pairs[0][0])
        return int(record["contacts.default.key"]) - int(self.pairs[0][0])

    def _next(self, kind: str, low: float, high: float, count: int) -> list[Pair]:
        """Customers between two shares of all keys, each for one kind only."""
        number = len(self.per_kind)
        first, width = int(low * len(self.pairs)), int((high - low) * len(self.pairs))
        return [self.pairs[first + (i * width) // count + 40 + number] for i in range(count)]

    def _expect(self, kind: str, verdict: str, side: Side, keys: list[str]) -> None:
        self.per_kind[kind] = len(keys)
        self.planted |= {(verdict, side, key) for key in keys}

    def move(self) -> None:
        """While a side is walked: records go behind the walk and ahead of it, others change and come."""
        self._move_one("erp", self.stage.erp, "query customer", math.ceil(len(self.pairs) / ERP_PAGE))
        self._move_one("crm", self.stage.crm, "query company", math.ceil(len(self.pairs) / CRM_PAGE))

    def _move_one(self, side: Side, vendor: Vendor, operation: str, pages: int) -> None:
        begun = pages * BEGUN
        until(
            lambda: self.over.is_set() or vendor.stats()["calls"].get(operation, 0) >= begun,
            SECONDS,
            "it is not walked",
        )
        if self.over.is_set():
            return
        entity, name = ("customer", "name") if side == "erp" else ("Company", "Comp_Name")
        behind = [pair[SIDES.index(side)] for pair in self._next("", 0.05, 0.05 + 2.5 / len(self.pairs), 2)]
        ahead = [pair[SIDES.index(side)] for pair in self._next("", 0.9, 0.95, 2)]
        gone = [{"entity": entity, "key": key, "op": "delete"} for key in (*behind, *ahead)]
        vendor.post("people", gone)
        self._expect(f"deleted while paging, {side}", "gone", side, [*behind, *ahead])
        edited = [pair[SIDES.index(side)] for pair in self._next("", 0.95, 1.0, self.each)]
        vendor.post("people", [{"entity": entity, "key": key, "columns": {name: "Moved Ltd"}} for key in edited])
        self._expect(f"edited while paging, {side}", "differing", side, edited)
        made = [
            vendor.person(entity, None, {name: f"Made {n}", **({"id": f"M-{n}"} if side == "erp" else {})})
            for n in (1, 2)
        ]
        self._expect(f"created while paging, {side}", "only", side, made)


def fill(stage: Rig, count: int) -> list[Pair]:
    """Both vendors and the link table, from one customer as the pattern of all."""
    pairs: list[Pair] = []
    for start in range(FIRST, FIRST + count, CHUNK):
        some = min(CHUNK, FIRST + count - start)
        erp = stage.erp.post("seed", {"customers": some, "start": start, "id": "C-{n:05d}", "columns": COLUMNS})
        crm = stage.crm.post("seed", {"customers": some, "first": start, "linked": True, "erp_ref": "C-{n:05d}"})
        pairs += [(key, str(int(crm["first_key"]) + i)) for i, key in enumerate(erp["keys"])]
    app = wiring.build(stage.config, db=stage.db)
    flow = app.flows[FLOW]
    try:
        shown = {side: next(flow.connectors[side].sweep(flow.entity)).rows[0].record for side in SIDES}
    finally:
        for connector in app.systems.values():
            connector.close()
    erp_record, crm_record = shown["erp"], shown["crm"]
    assert erp_record is not None and crm_record is not None
    pattern = json.dumps(
        {
            **{f"{side}_was": flow.maps[side].get(record.native) for side, record in _both(erp_record, crm_record)},
            **{f"{side}_children": dict(record.children) for side, record in _both(erp_record, crm_record)},
        }
    )
    ago = stage.db.clock() - 60
    fixed = {"flow": flow.name, "entity": flow.entity, "state": "in_sync"}
    fixed |= dict.fromkeys(("created_at", "first_synced_at", "last_synced_at"), ago)

    def rows(start: int) -> list[dict[str, Any]]:
        made = []
        for i, (erp, crm) in enumerate(pairs[start : start + CHUNK], start):
            n = FIRST + i
            # the CRM's phone of customer n ends in n % 10000, everything else holds n itself
            text = pattern.replace(f"{4_960_000 + FIRST % 10_000}", f"{4_960_000 + n % 10_000}").replace(
                str(FIRST), str(n)
            )
            keys = {"erp_key": erp, "erp_ref": f"C-{n}", "crm_key": crm, "crm_ref": crm}
            made.append({**fixed, **keys, **json.loads(text)})
        return made

    for start in range(0, len(pairs), CHUNK):
        some_rows = rows(start)

        def store(conn: Connection, some_rows: list[dict[str, Any]] = some_rows) -> None:
            conn.execute(insert(link), some_rows)

        stage.db.run(store)
    return pairs


def _both(erp: Record, crm: Record) -> list[tuple[Side, Record]]:
    return [("erp", erp), ("crm", crm)]

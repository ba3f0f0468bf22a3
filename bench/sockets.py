"""The whole walk over sockets, with every change announced: CRM to Intacct, and back over the same customers.

People rename N linked customers in one burst at one vendor; it tells the web process of each, and so does the other of
what we write there. Measured from the first edit applied at the one to the last applied at the other, from the ledgers
of both; against empty Dramatiq messages over as many processes and threads.
"""

from __future__ import annotations

from typing import Any

from bench import noop
from bench.figures import Figure, Size, ratio, until
from bench.filling import Pair, link_all, seed
from bench.rig import Rig, people, rig
from sync_worker.demo.vendor import Vendor

LINKS = 1500
SECONDS = 180.0


def measure(size: Size) -> list[Figure]:
    """Links a second in both directions against empty messages a second, in turns."""
    to_erp, to_crm, base = [], [], []
    for turn in range(size.repeats):
        base.append(noop.rate(size.of(noop.MESSAGES)))
        there, back = _both_ways(size.of(LINKS), turn)
        to_erp.append(there)
        to_crm.append(back)
    return [
        ratio("over sockets, Sage CRM to Intacct, against no-op Dramatiq", to_erp, base, 0.25, "links/s"),
        ratio("over sockets, Intacct to Sage CRM, against no-op Dramatiq", to_crm, base, 0.10, "links/s"),
    ]


def _both_ways(count: int, turn: int) -> tuple[float, float]:
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = seed(stage, count)
        link_all(stage, pairs)
        stage.start_all()
        there = rename_in_crm(stage, pairs, f"there {turn}")
        stage.wait_for_rest()
        back = rename_in_erp(stage, pairs, f"back {turn}")
        stage.wait_for_rest()
        return count / there, count / back


def rename_in_crm(stage: Rig, pairs: list[Pair], mark: str) -> float:
    """Seconds until all of them are renamed in the ERP."""
    edits = {crm: {"Comp_Name": f"Customer {crm} {mark}"} for _, crm in pairs}
    return _seconds(stage.crm, "Company", edits, stage.erp)


def rename_in_erp(stage: Rig, pairs: list[Pair], mark: str) -> float:
    """Seconds until all of them are renamed in the CRM."""
    edits = {erp: {"name": f"Customer {erp} {mark}"} for erp, _ in pairs}
    return _seconds(stage.erp, "customer", edits, stage.crm)


def _seconds(source: Vendor, entity: str, edits: dict[str, dict[str, Any]], target: Vendor) -> float:
    before, seen = source.stats()["ledger_seq"], target.stats()["ledger_seq"]
    people(source, entity, edits)
    until(lambda: target.stats()["ledger_seq"] >= seen + len(edits), SECONDS, "edits have not arrived", pause=0.1)
    begun = min(row["at"] for row in source.ledger(before, actor="person"))
    arrived = target.ledger(seen)
    assert len(arrived) == len(edits), f"{len(arrived)} writes for {len(edits)} edits"
    return float(max(row["at"] for row in arrived)) - float(begun)

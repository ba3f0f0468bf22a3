"""The engine over sockets, with every change announced: Sage CRM to Intacct, and back over the same customers.

People rename N linked customers at one vendor, which announces each to the web process. Judged is the whole walk: from
the first edit at that vendor to the last write in the other vendor's ledger, with nothing stored beforehand, so that
taking the edits, announcing, storing, ringing and all passes share the machine. The other vendor announces all of our
writes meanwhile; they are received and looked at. The emulators post their notices over 16 connections each.

The first turn also plays it with all notices stored while the flow is paused, as for the no-op messages; that figure is
a remark and has no bar.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import func, select

from bench import noop
from bench.figures import Figure, Size, ratio, until
from bench.filling import FLOW, Pair, link_all, seed
from bench.rig import Rig, people, rig
from sync_worker import broker
from sync_worker.demo.vendor import Vendor
from sync_worker.doorbell import Doorbell
from sync_worker.ringer import Ringer
from sync_worker.store import pauses
from sync_worker.store.tables import event

LINKS = 1500
SECONDS = 180.0
TO_ERP = "over sockets, from the first edit on: Sage CRM to Intacct, against no-op Dramatiq"
TO_CRM = "over sockets, from the first edit on: Intacct to Sage CRM, against no-op Dramatiq"


def measure(size: Size) -> list[Figure]:
    """Links a second in both directions against empty messages a second, in turns."""
    to_erp, to_crm, base = [], [], []
    remarks: list[str] = []
    for turn in range(size.repeats):
        base.append(noop.rate(size.of(noop.MESSAGES)))
        with _started(size.of(LINKS)) as (stage, pairs):
            to_erp.append(len(pairs) / rename_in_crm(stage, pairs, "there"))
            to_crm.append(len(pairs) / rename_in_erp(stage, pairs, "back"))
            if turn == 0:
                remarks = [_remark(stage, pairs, rename, base[0]) for rename in (rename_in_crm, rename_in_erp)]
    return [
        ratio(TO_ERP, to_erp, base, 0.25, "links/s", remarks[0]),
        ratio(TO_CRM, to_crm, base, 0.10, "links/s", remarks[1]),
    ]


def _remark(stage: Rig, pairs: list[Pair], rename: Callable[..., float], base: float) -> str:
    rate = len(pairs) / rename(stage, pairs, "again", stored_first=True)
    return f"with the notices stored beforehand: {rate / base:.2f}, {rate:,.0f} links/s"


@contextlib.contextmanager
def _started(count: int) -> Iterator[tuple[Rig, list[Pair]]]:
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = seed(stage, count)
        link_all(stage, pairs)
        stage.start_all()
        yield stage, pairs


def rename_in_crm(stage: Rig, pairs: list[Pair], mark: str, *, stored_first: bool = False) -> float:
    """Seconds until all of them are renamed in the ERP; it is at rest then."""
    edits = {crm: {"Comp_Name": f"Company {crm} {mark}"} for _, crm in pairs}
    return _seconds(stage, stage.crm, "Company", edits, stage.erp, stored_first=stored_first)


def rename_in_erp(stage: Rig, pairs: list[Pair], mark: str, *, stored_first: bool = False) -> float:
    """Seconds until all of them are renamed in the CRM; it is at rest then."""
    edits = {erp: {"name": f"Customer {erp} {mark}"} for erp, _ in pairs}
    return _seconds(stage, stage.erp, "customer", edits, stage.crm, stored_first=stored_first)


def _seconds(
    stage: Rig, source: Vendor, entity: str, edits: dict[str, dict[str, Any]], target: Vendor, *, stored_first: bool
) -> float:
    before, seen = source.stats()["ledger_seq"], target.stats()["ledger_seq"]
    if stored_first:
        known = _notices(stage)
        pauses.pause(stage.db, "flow", FLOW, pauses.BY_PERSON, "so that all notices are stored first")
        people(source, entity, edits)
        until(lambda: _notices(stage) >= known + len(edits), SECONDS, "notices have not come", pause=0.1)
        begun = stage.db.clock()
        pauses.resume(stage.db, "flow", FLOW)
        _ring(stage)
    else:
        people(source, entity, edits)
        begun = min(row["at"] for row in source.ledger(before, actor="person"))
    until(lambda: target.stats()["ledger_seq"] >= seen + len(edits), SECONDS, "edits have not arrived", pause=0.1)
    arrived = target.ledger(seen)
    assert len(arrived) == len(edits), f"{len(arrived)} writes for {len(edits)} edits"
    stage.wait_for_rest()
    return float(max(row["at"] for row in arrived)) - begun


def _notices(stage: Rig) -> int:
    with stage.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(event)).scalar_one())


def _ring(stage: Rig) -> None:
    """What the scheduler does every second, at once."""
    with contextlib.closing(broker.make_broker(stage.queue.url)) as made:
        Ringer(stage.db, Doorbell(made), made.client).tick()

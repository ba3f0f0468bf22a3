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
from dataclasses import dataclass
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
        with started(size.of(LINKS)) as (stage, pairs):
            to_erp.append(len(pairs) / rename_in_crm(stage, pairs, "there"))
            to_crm.append(len(pairs) / rename_in_erp(stage, pairs, "back"))
            if turn == 0:
                remarks = [_remark(stage, pairs, rename, base[0]) for rename in (rename_in_crm, rename_in_erp)]
    return [
        ratio(TO_ERP, to_erp, base, 0.25, "links/s", remarks[0], goal=0.3),
        ratio(TO_CRM, to_crm, base, 0.10, "links/s", remarks[1], goal=0.15),
    ]


def _remark(stage: Rig, pairs: list[Pair], rename: Callable[..., float], base: float) -> str:
    rate = len(pairs) / rename(stage, pairs, "again", stored_first=True)
    return f"with the notices stored beforehand: {rate / base:.2f}, {rate:,.0f} links/s"


@contextlib.contextmanager
def started(count: int) -> Iterator[tuple[Rig, list[Pair]]]:
    """Linked customers at rest between vendors that answer at once, and all of our processes."""
    with rig() as stage:
        stage.start_vendors(latency_ms=0)
        pairs = seed(stage, count)
        link_all(stage, pairs)
        stage.start_all()
        yield stage, pairs


@dataclass(frozen=True)
class Edits:
    """People's edits of one burst: key -> columns of an entity at ``source``, to arrive at ``target``."""

    source: Vendor
    entity: str
    columns: dict[str, dict[str, Any]]
    target: Vendor

    def make(self) -> None:
        """People make them."""
        people(self.source, self.entity, self.columns)

    def carried(self, carry: Callable[[], None]) -> float:
        """Make them, have them carried, and wait until all are at the target: seconds from the first edit to that."""
        before, seen = self.source.stats()["ledger_seq"], self.target.stats()["ledger_seq"]
        self.make()
        begun = min(row["at"] for row in self.source.ledger(before, actor="person"))
        carry()
        return self._arrived(seen) - begun

    def stored_first(self, stage: Rig) -> float:
        """Make them while the flow is paused, and count from when it goes on, with all notices stored."""
        seen, known = self.target.stats()["ledger_seq"], _notices(stage)
        pauses.pause(stage.db, "flow", FLOW, pauses.BY_PERSON, "so that all notices are stored first")
        self.make()
        wanted = known + len(self.columns)
        until(lambda: _notices(stage) >= wanted, SECONDS, "notices have not come", pause=0.1)
        begun = stage.db.clock()
        pauses.resume(stage.db, "flow", FLOW)
        _ring(stage)
        return self._arrived(seen) - begun

    def _arrived(self, seen: int) -> float:
        """When the last one was written, by the target's clock."""
        count = len(self.columns)
        until(lambda: self.target.stats()["ledger_seq"] >= seen + count, SECONDS, "edits are left", pause=0.1)
        arrived = self.target.ledger(seen)
        assert len(arrived) == count, f"{len(arrived)} writes for {count} edits"
        return float(max(row["at"] for row in arrived))


def edits_in_crm(stage: Rig, pairs: list[Pair], mark: str) -> Edits:
    """All of them renamed in the CRM."""
    return Edits(stage.crm, "Company", {crm: {"Comp_Name": f"Company {crm} {mark}"} for _, crm in pairs}, stage.erp)


def edits_in_erp(stage: Rig, pairs: list[Pair], mark: str) -> Edits:
    """All of them renamed in the ERP."""
    return Edits(stage.erp, "customer", {erp: {"name": f"Customer {erp} {mark}"} for erp, _ in pairs}, stage.crm)


def rename_in_crm(stage: Rig, pairs: list[Pair], mark: str, *, stored_first: bool = False) -> float:
    """Seconds until all of them are renamed in the ERP; it is at rest then."""
    return _by_engine(stage, edits_in_crm(stage, pairs, mark), stored_first=stored_first)


def rename_in_erp(stage: Rig, pairs: list[Pair], mark: str, *, stored_first: bool = False) -> float:
    """Seconds until all of them are renamed in the CRM; it is at rest then."""
    return _by_engine(stage, edits_in_erp(stage, pairs, mark), stored_first=stored_first)


def _by_engine(stage: Rig, edits: Edits, *, stored_first: bool) -> float:
    seconds = edits.stored_first(stage) if stored_first else edits.carried(lambda: None)
    stage.wait_for_rest()
    return seconds


def _notices(stage: Rig) -> int:
    with stage.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(event)).scalar_one())


def _ring(stage: Rig) -> None:
    """What the scheduler does every second, at once."""
    with contextlib.closing(broker.make_broker(stage.queue.url)) as made:
        Ringer(stage.db, Doorbell(made), made.client).tick()

"""One edit, measured: from the vendor's ledger of applied writes, and from what our processes logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sync_worker import reports
from sync_worker.demo.diary import Diary
from sync_worker.demo.stage import Stage
from sync_worker.demo.vendor import Vendor
from sync_worker.store.rows import LinkRow
from sync_worker.wiring import App

Side = Literal["erp", "crm"]
SIDES: tuple[Side, Side] = ("erp", "crm")

ARRIVE_SECONDS = 30.0
SETTLE_SECONDS = 10.0
REST_SECONDS = 90.0
CLEAR_SECONDS = 0.8


@dataclass(frozen=True)
class Edit:
    """What came of one edit. ``latency_ms``: from its being applied at one vendor to ours being applied at the other.

    ``vendor_calls``: reads and writes at both vendors for this record until both sides agreed.
    """

    source: Side
    target: Side
    what: str
    latency_ms: int | None
    vendor_calls: int
    arrived: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "from": self.source,
            "to": self.target,
            "what": self.what,
            "latency_ms": self.latency_ms,
            "vendor_calls": self.vendor_calls,
            "arrived": self.arrived,
        }


class Measure:
    """``app``: an application of our own over the same database, for looking."""

    def __init__(self, stage: Stage, app: App) -> None:
        self._stage = stage
        self._app = app
        self._diary = Diary(stage.log)

    def vendor(self, side: Side) -> Vendor:
        return self._stage.erp if side == "erp" else self._stage.crm

    def edit(
        self, source: Side, what: str, act: Callable[[], str], shows: Callable[[], bool], *, by_hand: bool = False
    ) -> Edit:
        """Play one edit and wait until it shows on the other side, at most 30 s.

        ``act``: performs it; returns the source record's key. It counts from when the source vendor applied it;
        ``by_hand``: from the act, which is done here and not at a vendor.
        """
        target: Side = "crm" if source == "erp" else "erp"
        self.wait_for_quiet()
        before = self.vendor(target).stats()["ledger_seq"]
        mine = self.vendor(source).stats()["ledger_seq"]
        begun = time.time()
        key = act()
        if not by_hand:
            begun = float(self.vendor(source).ledger(mine, actor="person")[0]["at"])
        arrived = self._stage.until(shows, ARRIVE_SECONDS)
        written = self.vendor(target).ledger(before)
        found = self.link(source, key)
        if not arrived or not written or found is None:
            return Edit(source, target, what, None, 0, arrived=False)
        latency = max(0, round((written[0]["at"] - begun) * 1000))
        return Edit(source, target, what, latency, self._calls(found.id, begun, written[0]["at"]), arrived=True)

    def _calls(self, link_id: int, begun: float, written: float) -> int:
        """Calls up to the end of the pass that wrote, which the log shows a moment later than the ledger."""
        self._stage.until(lambda: self._diary.came_to_rest(link_id, written) is not None, SETTLE_SECONDS)
        end = self._diary.came_to_rest(link_id, written)
        return self._diary.vendor_calls(link_id, begun, end if end is not None else float("inf"))

    def wait_for_quiet(self) -> None:
        """Wait until earlier edits ask nothing any more: neither echoes now nor a trailing look within a moment."""
        looks = 0

        def quiet() -> bool:
            nonlocal looks
            looks = looks + 1 if self._stage.is_quiet(self._app.db, CLEAR_SECONDS) else 0
            return looks >= 3

        self._stage.until(quiet, REST_SECONDS)

    def link(self, side: Side, key: str) -> LinkRow | None:
        """The link of a record, None when nobody knows it."""
        rows = reports.find_links(self._app.db, self._app.flows, side, key)
        return rows[0] if rows else None

    def writes_after_rest(self, seconds: float) -> int | None:
        """Writes at both vendors within ``seconds`` of everything being at rest; None when it does not come to rest."""
        if not self._stage.until(lambda: self._stage.is_quiet(self._app.db), REST_SECONDS):
            return None
        before = self._writes()
        self._stage.until(lambda: False, seconds)
        return self._writes() - before

    def _writes(self) -> int:
        return sum(int(self.vendor(side).stats()["writes"]) for side in SIDES)

"""What one edit costs in vendor calls, counted on the emulators; ``include`` is refused there, as by default.

Each edit is made twice on customers at rest: once with the other vendor kept from announcing what we wrote, which
leaves the calls of the edit itself; once with it, and what is asked more is its echo. The trailing sweep is an hour
away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Figure, Size, until
from bench.filling import Pair, link_all, seed
from bench.rig import Rig, rig
from sync_worker.demo.vendor import Vendor

CUSTOMERS = 40
CRM_TABLES = 5  # company, person, address, phone, e-mail


@dataclass(frozen=True)
class Asked:
    """Calls at both vendors."""

    erp_reads: int
    erp_writes: int
    crm_reads: int
    crm_writes: int

    def __sub__(self, other: Asked) -> Asked:
        return Asked(
            self.erp_reads - other.erp_reads,
            self.erp_writes - other.erp_writes,
            self.crm_reads - other.crm_reads,
            self.crm_writes - other.crm_writes,
        )

    @property
    def text(self) -> str:
        return f"{self.erp_reads} Intacct reads, {self.crm_reads} CRM reads, {self.writes} writes"

    @property
    def reads(self) -> int:
        return self.erp_reads + self.crm_reads

    @property
    def writes(self) -> int:
        return self.erp_writes + self.crm_writes


Act = Callable[[Rig, Pair], None]


def measure(size: Size) -> list[Figure]:
    """The cost of four kinds of edits and of their echoes."""
    with rig() as stage:
        stage.start_vendors(latency_ms=20)
        pairs = seed(stage, CUSTOMERS)
        link_all(stage, pairs)
        stage.start_all()
        fresh = iter(pairs)
        for act in _ACTS.values():  # sign-in, connections
            _play(stage, act, next(fresh), quiet=None)
        return [figure for name, act in _ACTS.items() for figure in _figures(stage, name, act, fresh, size)]


def _rename_in_erp(stage: Rig, pair: Pair) -> None:
    stage.erp.edit(pair[0], {"name": f"Renamed {pair[0]}"})


def _phone_in_erp(stage: Rig, pair: Pair) -> None:
    stage.erp.edit(pair[0], {"contacts.default.phone1": f"+44 114 4{int(pair[0]):06d}"})


def _rename_in_crm(stage: Rig, pair: Pair) -> None:
    stage.crm.edit(pair[1], {"Comp_Name": f"Renamed {pair[1]}"})


def _phone_in_crm(stage: Rig, pair: Pair) -> None:
    stage.crm.edit_child("Phone", pair[1], {"Phon_Number": f"5{int(pair[1]):06d}"})


_ACTS: dict[str, Act] = {
    "Intacct name to Sage CRM company": _rename_in_erp,
    "Intacct phone to Sage CRM phone row": _phone_in_erp,
    "Sage CRM company to Intacct": _rename_in_crm,
    "Sage CRM phone row to Intacct": _phone_in_crm,
}


def _figures(stage: Rig, name: str, act: Act, fresh: Iterator[Pair], size: Size) -> list[Figure]:
    target = stage.crm if act in (_rename_in_erp, _phone_in_erp) else stage.erp
    alone = [_play(stage, act, next(fresh), quiet=target) for _ in range(size.repeats)]
    both = [_play(stage, act, next(fresh), quiet=None) for _ in range(size.repeats)]
    edit = max(alone, key=lambda one: (one.reads, one.writes))
    echo = max((one - edit for one in both), key=lambda one: (one.reads, one.writes))
    within = edit.erp_reads <= 1 and edit.crm_reads <= CRM_TABLES and edit.writes == 1
    bar = f"<= 1 Intacct read, {CRM_TABLES} CRM reads (one a table), 1 write"
    return [
        Figure(f"calls: {name}", bar, edit.text, within),
        Figure(f"calls: its echo ({name})", "<= 1 read, 0 writes", echo.text, echo.reads <= 1 and echo.writes == 0),
    ]


def _play(stage: Rig, act: Act, pair: Pair, *, quiet: Vendor | None) -> Asked:
    """All calls of one edit up to rest. ``quiet``: a vendor that announces nothing meanwhile."""
    if quiet is not None:
        quiet.faults(notices_off=True)
    for vendor in (stage.erp, stage.crm):
        vendor.post("reset_stats", {})
    act(stage, pair)
    until(lambda: _asked(stage).writes > 0, 30, "an edit has not arrived")
    stage.wait_for_rest()
    if quiet is not None:
        quiet.faults(notices_off=False)
    return _asked(stage)


def _asked(stage: Rig) -> Asked:
    erp, crm = stage.erp.stats(), stage.crm.stats()
    return Asked(erp["reads"], erp["writes"], crm["reads"], crm["writes"])

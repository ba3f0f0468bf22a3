"""Peers on the same work: a loop over httpx as people write it by hand, and Celery on the same queue server.

The loop (``bench/plain.py``) gets the edits of ``bench/sockets.py`` over the same emulators in both directions. It and
the engine take turns, each over customers of its own, first with vendors that answer at once, then with vendors that
take 20 ms. Judged is the same: from the first edit at one vendor to the last write in the other's ledger. While the
loop runs nobody announces anything, so the engine's processes are there and idle. Calls are all that both vendors saw
up to then, the engine's looks at echoes included. Celery drains tasks that do nothing as Dramatiq does
(``bench/celery_noop.py``).

None of this has a bar: how others do is for the reader to see.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import celery_noop, noop
from bench.figures import Figure, Size
from bench.filling import Pair
from bench.plain import PARTNER, PlainLoop
from bench.rig import Rig
from bench.sockets import edits_in_crm, edits_in_erp, rename_in_crm, rename_in_erp, started
from sync_worker.demo.vendor import Vendor

LINKS = 400
SLOW_LINKS, SLOW_MS = 100, 20.0
MESSAGES = 4000
WAYS = ("Sage CRM to Intacct", "Intacct to Sage CRM")


@dataclass
class Side:
    """One contestant: links a second and calls per link, a turn each."""

    rates: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def per_link(self) -> float:
        return statistics.median(self.calls)


Match = dict[str, tuple[Side, Side]]
"""Direction -> the engine and the plain loop."""


def measure(size: Size) -> list[Figure]:
    """The engine beside the plain loop, and Celery beside Dramatiq."""
    ours, theirs = [], []
    at_once, slowly = _match(), _match()
    with started(2 * size.of(LINKS)) as (stage, pairs), PlainLoop(stage) as loop:
        _tell_partners(stage, pairs)
        for turn in range(size.repeats):
            ours.append(noop.rate(size.of(MESSAGES)))
            theirs.append(celery_noop.rate(size.of(MESSAGES)))
            _play(stage, loop, pairs, f"turn {turn}", at_once)
        for vendor in (stage.erp, stage.crm):
            vendor.faults(latency_ms=SLOW_MS)
        for turn in range(size.repeats):
            _play(stage, loop, pairs[: 2 * size.of(SLOW_LINKS)], f"slow {turn}", slowly)
    celery = statistics.median(their / our for their, our in zip(theirs, ours, strict=True))
    rates = (("Dramatiq", statistics.median(ours)), ("Celery", statistics.median(theirs)))
    also = f"{rates[1][1]:,.0f} a second against {rates[0][1]:,.0f}"
    return [
        Figure("peers: messages that do nothing, Celery against Dramatiq", "", f"{celery:.2f}", also=also, rates=rates),
        *_figures("vendors answering at once", at_once),
        *_figures(f"vendors answering in {SLOW_MS:.0f} ms", slowly),
    ]


def _tell_partners(stage: Rig, pairs: list[Pair]) -> None:
    """The loop has no table of links: the CRM's records name their partners."""
    edits = [{"entity": "Company", "key": crm, "columns": {PARTNER: erp}} for erp, crm in pairs]
    stage.crm.post("script", {"edits": edits, "stamp": "keep"})


def _match() -> Match:
    return {way: (Side(), Side()) for way in WAYS}


def _figures(what: str, match: Match) -> list[Figure]:
    made = []
    for way, (mine, loop) in match.items():
        value = statistics.median(a / b for a, b in zip(mine.rates, loop.rates, strict=True))
        also = (
            f"{mine.rate:,.0f} links/s against {loop.rate:,.0f}; "
            f"{mine.per_link:.2f} calls per link against {loop.per_link:.2f}"
        )
        rates = (("sync-worker", mine.rate), ("plain loop", loop.rate))
        name = f"peers: {way}, {what}: engine against a plain loop"
        made.append(Figure(name, "", f"{value:.2f}", also=also, rates=rates))
    return made


def _play(stage: Rig, loop: PlainLoop, pairs: list[Pair], mark: str, match: Match) -> None:
    """Both directions: the engine over every other customer, then the loop over the rest."""
    mine, others = pairs[::2], pairs[1::2]
    to_erp, to_crm = (match[way] for way in WAYS)
    _note(stage, mine, to_erp[0], lambda: rename_in_crm(stage, mine, f"{mark} there"))
    _note(stage, mine, to_crm[0], lambda: rename_in_erp(stage, mine, f"{mark} back"))
    for vendor in (stage.erp, stage.crm):
        vendor.faults(notices_off=True)
    there, back = edits_in_crm(stage, others, f"{mark} there"), edits_in_erp(stage, others, f"{mark} back")
    _note(stage, others, to_erp[1], lambda: there.carried(lambda: loop.to_erp([crm for _, crm in others])))
    _note(stage, others, to_crm[1], lambda: back.carried(lambda: loop.to_crm([erp for erp, _ in others])))
    for vendor in (stage.erp, stage.crm):
        vendor.faults(notices_off=False)


def _note(stage: Rig, pairs: list[Pair], side: Side, play: Callable[[], float]) -> None:
    for vendor in (stage.erp, stage.crm):
        vendor.post("reset_stats", {})
    side.rates.append(len(pairs) / play())
    side.calls.append(sum(map(_calls, (stage.erp, stage.crm))) / len(pairs))


def _calls(vendor: Vendor) -> int:
    seen = vendor.stats()
    return int(seen["reads"]) + int(seen["writes"])

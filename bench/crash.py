"""Crash recovery: ``kill -9`` of a worker process in the middle of a burst, until all it held is done.

Emulators answer in 20 ms. People rename customers in the CRM in a few bursts that follow each other; in the middle of
each a worker process is killed and started again at once, as ``run`` does, all within one lease, so that no link is hit
twice. What it held are the links that were leased when it died and whose lease nobody has renewed or ended since: these
must wait until it runs out (30 s). Judged is the slowest of them, from the kill to the end of the pass that did its
work. In the end every edit has arrived, and none twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select

from bench.figures import Figure, Size, at_most, until
from bench.filling import link_all, seed
from bench.rig import PROCESSES, Rig, rig
from bench.sockets import edits_in_crm
from sync_worker.store.tables import link

EDITS = 1500
KILLS = 4
LATENCY_MS = 20
WITHIN_SECONDS = 20.0  # of the first kill
SETTLE_SECONDS = 3.0  # by then whoever lives has renewed or ended what he holds
LIMIT_SECONDS = 32.0  # a lease of 30 s, a second for the ringer, a second for the pass

Lease = tuple[int, float]
"""Fencing token and when it runs out."""


@dataclass
class Kill:
    """When a process was killed (the database's clock), and the leases that stood then."""

    at: float
    leases: dict[int, Lease]
    held: set[int] = field(default_factory=set)
    done_at: float = 0.0


def measure(size: Size) -> list[Figure]:
    """The slowest recovery of several kills in one burst."""
    with rig() as stage:
        stage.start_vendors(LATENCY_MS)
        pairs = seed(stage, size.of(EDITS))
        link_all(stage, pairs)
        stage.start_all()
        seen = stage.erp.stats()["ledger_seq"]
        kills: list[Kill] = []
        for number in range(KILLS):
            edits_in_crm(stage, pairs[number::KILLS], "there").make()
            if not kills or stage.db.clock() < kills[0].at + WITHIN_SECONDS:
                kills.append(_kill(stage, number))
        _watch(stage, kills)
        stage.wait_for_rest(120)
        arrived = {row["key"] for row in stage.erp.ledger(seen)}
        lost = len({erp for erp, _ in pairs} - arrived)
        twice = len(stage.erp.ledger(seen)) - len(arrived)
    hit = [kill for kill in kills if kill.held]
    assert hit, "no process held anything when it was killed"
    slowest = max(kill.done_at - kill.at for kill in hit)
    held = ", ".join(str(len(kill.held)) for kill in hit)
    name = "crash: worker killed in a burst, until all it held is done"
    also = f"the slowest of {len(hit)} kills that hit something; they held {held} links"
    return [
        at_most(name, slowest, LIMIT_SECONDS, " s", also),
        Figure("crash: edits lost, written twice", "0, 0", f"{lost}, {twice}", not lost + twice, f"{len(pairs)} edits"),
    ]


def _kill(stage: Rig, number: int) -> Kill:
    """Kill a worker process once a first write has arrived and more is under way; start another in its place."""
    written = stage.erp.stats()["ledger_seq"]
    until(lambda: stage.erp.stats()["ledger_seq"] > written and bool(_leases(stage)), 20, "the burst does not begin")
    name = f"worker-{number % PROCESSES}"
    process = stage.running.pop(name)
    process.kill()
    process.wait()
    kill = Kill(stage.db.clock(), _leases(stage))
    stage.start_worker(number % PROCESSES)
    return kill


def _leases(stage: Rig) -> dict[int, Lease]:
    """Links that are being worked on."""
    c = link.c
    with stage.db.read() as conn:
        held = select(c.id, c.lease_token, c.lease_until).where(c.lease_until > stage.db.now(conn))
        return {row.id: (row.lease_token, row.lease_until) for row in conn.execute(held)}


def _watch(stage: Rig, kills: list[Kill]) -> None:
    """Find out what each kill left behind, and when that was done."""
    open_kills = list(kills)

    def all_done() -> bool:
        now, leases = stage.db.clock(), _leases(stage)
        for kill in list(open_kills):
            if now < kill.at + SETTLE_SECONDS:
                continue
            if not kill.held:
                before = set().union(*(other.held for other in kills[: kills.index(kill)]))
                kill.held = {one for one, lease in kill.leases.items() if leases.get(one) == lease} - before
            if not _unfinished(stage, kill.held):
                kill.done_at = now
                open_kills.remove(kill)
        return not open_kills

    until(all_done, LIMIT_SECONDS * 3, "what killed workers held is left", pause=0.05)


def _unfinished(stage: Rig, ids: set[int]) -> bool:
    """Has one of these links a notice that no finished pass has answered?"""
    c = link.c
    some = sorted(ids)
    with stage.db.read() as conn:
        for start in range(0, len(some), 500):
            wanted = select(c.id).where(c.id.in_(some[start : start + 500]), c.crm_dirty > c.crm_done).limit(1)
            if conn.execute(wanted).first() is not None:
                return True
    return False

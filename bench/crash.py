"""Crash recovery: ``kill -9`` of a worker process in the middle of a burst, until all it held is done.

Emulators answer in 20 ms. People rename customers in the CRM in a few bursts that follow each other; in the middle of
each a worker process is killed and started again at once, as ``run`` does. What it held are the links that were leased
to it when it died. Those for which it had sent no write are let go by the process in its place (ADR 15), and the next
burst begins when these are done, so that no link is hit twice; the others must wait until their leases run out (30 s).
Judged are the slowest of both kinds, from the kill to the end of the pass that did its work. In the end every edit has
arrived, and none twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from bench.figures import Figure, Size, at_most, until
from bench.filling import link_all, seed
from bench.rig import PROCESSES, Rig, rig
from bench.sockets import edits_in_crm
from sync_worker.store.tables import link

EDITS = 1500
KILLS = 4
LATENCY_MS = 20
LIMIT_SECONDS = 32.0  # a lease of 30 s, a second for the ringer, a second for the pass
LET_GO_SECONDS = 10.0  # a process that starts, call slots of the dead one (5 s), the ringer, the pass


@dataclass
class Kill:
    """When a process was killed (the database's clock), and the links it held: those it only read, and the others."""

    at: float
    read: set[int]
    written: set[int]
    read_done_at: float = 0.0
    written_done_at: float = 0.0


def measure(size: Size) -> list[Figure]:
    """The slowest recovery of several kills, each in a burst of its own."""
    with rig() as stage:
        stage.start_vendors(LATENCY_MS)
        pairs = seed(stage, size.of(EDITS))
        link_all(stage, pairs)
        stage.start_all()
        seen = stage.erp.stats()["ledger_seq"]
        kills: list[Kill] = []
        for number in range(KILLS):
            edits_in_crm(stage, pairs[number::KILLS], "there").make()
            kills.append(_kill(stage, number))
            _watch_read(stage, kills[-1])
        _watch_written(stage, kills)
        stage.wait_for_rest(120)
        arrived = {row["key"] for row in stage.erp.ledger(seen)}
        lost = len({erp for erp, _ in pairs} - arrived)
        twice = len(stage.erp.ledger(seen)) - len(arrived)
    return [
        _slowest("all it held", [(k.read | k.written, max(k.read_done_at, k.written_done_at) - k.at) for k in kills]),
        _slowest("what it had only read", [(k.read, k.read_done_at - k.at) for k in kills], LET_GO_SECONDS),
        Figure("crash: edits lost, written twice", "0, 0", f"{lost}, {twice}", not lost + twice, f"{len(pairs)} edits"),
    ]


def _slowest(what: str, kills: Sequence[tuple[set[int], float]], limit: float = LIMIT_SECONDS) -> Figure:
    hit = [(held, seconds) for held, seconds in kills if held]
    assert hit, f"no process held anything of it when it was killed: {what}"
    held = ", ".join(str(len(held)) for held, _ in hit)
    also = f"the slowest of {len(hit)} kills that hit something; they held {held} links"
    name = f"crash: worker killed in a burst, until {what} is done"
    return at_most(name, max(seconds for _, seconds in hit), limit, " s", also)


def _kill(stage: Rig, number: int) -> Kill:
    """Kill a worker process once a first write has arrived and it reads links; start another in its place."""
    written = stage.erp.stats()["ledger_seq"]
    name = f"worker-{number % PROCESSES}"
    owner = stage.identities[name]

    def begun() -> bool:
        return stage.erp.stats()["ledger_seq"] > written and any(_leased(stage, owner).values())

    until(begun, 20, "the burst does not begin")
    process = stage.running.pop(name)
    process.kill()
    process.wait()
    at, held = stage.db.clock(), _leased(stage, owner)
    stage.start_worker(number % PROCESSES)
    read = {link_id for link_id, only_read in held.items() if only_read}
    return Kill(at, read, held.keys() - read)


def _leased(stage: Rig, owner: str) -> dict[int, bool]:
    """Links that a process holds, and whether it has sent no write for them."""
    c = link.c
    with stage.db.read() as conn:
        held = select(c.id, c.unwritten_token == c.lease_token).where(
            c.lease_owner == owner, c.lease_until > stage.db.now(conn)
        )
        return {link_id: bool(only_read) for link_id, only_read in conn.execute(held)}


def _watch_read(stage: Rig, kill: Kill) -> None:
    """Find out when what the dead process had only read is done."""
    until(lambda: not _unfinished(stage, kill.read), LIMIT_SECONDS, "what a killed worker had read is left", pause=0.05)
    kill.read_done_at = stage.db.clock()


def _watch_written(stage: Rig, kills: Sequence[Kill]) -> None:
    """Find out when the rest of what killed processes held is done."""
    open_kills = list(kills)

    def all_done() -> bool:
        for kill in [one for one in open_kills if not _unfinished(stage, one.written)]:
            kill.written_done_at = stage.db.clock()
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

"""What a negative control takes out of the product, inside a child process of the harness: each must be seen to fail.

Product code knows nothing of this: names of the product are replaced here, before its process starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faults import plan as plans
from faults.plan import Size

if TYPE_CHECKING:
    from sync_worker.store.saves import Save, Saved

NOT_AT_REST = frozenset({"not at rest: links due or pending"})
OVERWRITTEN = frozenset({
    "lost edits", "an older value over a newer one", "fields that differ without a conflict",
    "writes beyond one per side and change",
})  # fmt: skip
FORGOTTEN = frozenset({"customers in conflict, told and found apart"})
DOUBLED = frozenset({"customers created twice"})
LEFT_BEHIND = frozenset({"edits that ended nowhere", "lost edits", "fields that differ without a conflict"})


@dataclass(frozen=True)
class Control:
    """``apply``: what is replaced. ``breaks``: invariants of which one must break; another reason proves nothing.

    ``holds``: invariants of which none may break: what the next control breaks is not this one's doing. ``size``: the
    plan that is played.
    """

    apply: Callable[[], None]
    breaks: frozenset[str]
    holds: frozenset[str] = frozenset()
    size: Size = plans.CONTROL


def ringer_off() -> None:
    """Nobody rings again for what is due."""
    from sync_worker.ringer import Ringer

    def tick(self: Ringer) -> int:
        return 0

    Ringer.tick = tick  # type: ignore[method-assign]


def rings_before_commit() -> None:
    """Workers are rung for before what they would find is committed, and nobody rings again."""
    from sync_worker.store.inbox_writer import InboxWriter
    from sync_worker.store.touches import Touched

    ringer_off()
    plain = InboxWriter._commit

    def early(self: InboxWriter, group: Any) -> None:
        ring, self._on_commit = self._on_commit, _nobody
        try:
            ring([Touched(number, "customers", "customer", "live") for number in (0, 1)])
            time.sleep(0.3)  # until whoever heard it has looked
            plain(self, group)
        finally:
            self._on_commit = ring

    InboxWriter._commit = early  # type: ignore[method-assign]


def _nobody(touched: Sequence[Any]) -> None:
    """Nobody is rung for."""


def retries_in_the_queue() -> None:
    """Failed passes are retried by Dramatiq's delayed messages; SQL knows no time for the next try."""
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.middleware import CurrentMessage, Retries
    from sqlalchemy import update

    from sync_worker import actors, broker
    from sync_worker.store import links
    from sync_worker.store.tables import link

    for name in ("declare_queue", "enqueue"):
        setattr(broker.QueueBroker, name, getattr(RedisBroker, name))
    broker.make_broker = lambda url: broker.QueueBroker(
        broker.connect(url), middleware=[CurrentMessage(), Retries(max_retries=50, min_backoff=300, max_backoff=5000)]
    )
    failed = threading.local()
    plain = links.save

    def save(db: Any, saves: Sequence[Save]) -> Saved:
        for one in saves:
            if one.row.klass == "retry" and one.row.due_at is not None and not one.keep_lease:
                one.row.due_at = None
                failed.ids.append(one.row.id)
        return plain(db, saves)

    links.save = save

    def with_retries(work: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any) -> None:
            message = CurrentMessage.get_current_message()
            options: dict[str, Any] = {} if message is None else message.options
            again = options.pop("failed", [])
            if again:
                db = actors._Bound.app.db
                db.run(lambda c: c.execute(update(link).where(link.c.id.in_(again)).values(due_at=db.clock())))
            failed.ids = []
            work(*args)
            if failed.ids:
                options["failed"] = list(failed.ids)
                raise RuntimeError("to be retried by the queue")

        return run

    for name in (actors.SYNC_LINK, actors.SYNC_DUE):
        actors._ACTORS[name] = with_retries(actors._ACTORS[name])


def creates_blindly() -> None:
    """After a create whose end is unknown, another one is made: nothing is looked for first."""
    from sync_worker.connectors.intacct.client import IntacctConnector
    from sync_worker.connectors.sage_crm.client import SageCrmConnector
    from sync_worker.engine import creating, halves

    def find_nothing(self: Any, entity: str, criteria: Sequence[Any]) -> list[list[Any]]:
        return [[] for _ in criteria]

    IntacctConnector.find_many = find_nothing  # type: ignore[method-assign]
    SageCrmConnector.find_many = find_nothing  # type: ignore[method-assign]

    def anew(desk: Any, flow: Any, side: Any, row: Any, candidates: Any) -> Any:
        creating._end_intent(row)
        return creating._later(row, desk.clock(), "creating", {"side": side})

    halves.resume_intent = anew


def intents_in_memory_only() -> None:
    """The intent of a create is committed with its outcome, not before it."""
    from sync_worker.engine.batch import Batch

    def commit(self: Batch, saves: Sequence[Any]) -> set[int]:
        return {one.row.id for one in saves}

    Batch.commit = commit  # type: ignore[method-assign]


def no_fencing() -> None:
    """A worker whose lease ran out goes on as if nothing had happened: its token and its read always count."""
    from sync_worker.engine import batch
    from sync_worker.store import leases, links

    batch.FRESH = batch.READ_LASTS = float("inf")

    plain = links._current

    def current(conn: Any, saves: Sequence[Save]) -> dict[int, Any]:
        found = plain(conn, saves)
        for one in saves:
            if one.row.id in found:
                one.row.lease_token = found[one.row.id]["lease_token"]
        return found

    def held(conn: Any, wanted: dict[int, int]) -> set[int]:
        return set(wanted)

    links._current = current
    leases._held = held


def past_of_parked_fields_advances() -> None:
    """A field that waits for a person counts as agreed."""
    from mappings import settle

    plain = settle._park

    def park(step: Any, parked: Any, s: Any, out: Any) -> None:
        plain(step, parked, s, out)
        for side in ("erp", "crm"):
            out.was[side][step.name] = s.look(side).now[step.name]

    settle._park = park


BASELINE = "nothing"
"""The product as it is, on the plan of the controls: it must hold there, or their failing proves nothing."""
RINGER_OFF_CALM = "ringer off, nothing hurt"
"""Only what falls due later is left lying: every edit has travelled by its own ring, made after its commit."""
CONTROLS: Mapping[str, Control] = {
    "ringer off": Control(ringer_off, NOT_AT_REST),
    "Dramatiq's retries instead of ours": Control(retries_in_the_queue, NOT_AT_REST),
    "create without looking first": Control(creates_blindly, DOUBLED),
    "intent not committed before the create": Control(intents_in_memory_only, DOUBLED | {"waiting"}),
    "no fencing": Control(no_fencing, OVERWRITTEN),
    "the past advances on a parked field": Control(past_of_parked_fields_advances, OVERWRITTEN | FORGOTTEN),
    RINGER_OFF_CALM: Control(ringer_off, NOT_AT_REST, holds=LEFT_BEHIND, size=plans.CALM),
    "ring before commit, ringer off": Control(rings_before_commit, LEFT_BEHIND, size=plans.CALM),
}

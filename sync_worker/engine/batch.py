"""One batch of claimed links: its leases, its saves, and where its errors go (E2, E3, E4, E8)."""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import InterfaceError, OperationalError

from mappings.merge import Plan, Sides
from sync_worker import metrics
from sync_worker.connectors.context import call_class, concerns, guard, sending
from sync_worker.engine import halves, linked, states
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.engine.rule import Rule
from sync_worker.errors import AuthFailed, LeaseLost, PermanentError, ReadTooOld, RetryableError, SystemUnavailable
from sync_worker.events import SIDES, LinkClass, Side
from sync_worker.store import defaults, leases, links, pauses, waiting
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save, Saved, Shown
from sync_worker.store.session import Database
from sync_worker.store.tables import journal
from sync_worker.store.touches import Touched
from sync_worker.wording import counted

log = structlog.get_logger()

WINDOW_SECONDS = 0.6  # aimed at between the read and the last write of a portion; the bar of E22 is 2 s
FIRST_PORTION = 32
FIRST_SINGLES = 8  # where each update is a call of its own, and other batches want the same slots
LARGEST_PORTION = 100
# Seconds after which what was read is read again, not written on: a refused call, dead workers' slots, a busy database
# stretch the window of E22. A first try keeps to it, a later one need not: a slow vendor could else never be written.
FRESH, READ_LASTS = 2.0, 10.0
POISON_END = 12  # claims without an end, nine of them alone: no series of accidents, the record brings workers down
POISONED = "the worker ended in the middle of this record several times"
MANY_UNLINKED = "many_unlinked"


class Batch:
    """The desk (``desk.Desk``) of the passes over some claimed links of one flow and class."""

    def __init__(
        self,
        db: Database,
        rule: Rule,
        flow: Flow,
        rows: list[LinkRow],
        klass: LinkClass,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        portions: dict[Side, int],
    ) -> None:
        self._db, self._rule, self._flow, self._klass = db, rule, flow, klass
        self._clock, self._rng = clock, rng
        self._rows = {row.id: row for row in rows}
        self._renewed = clock()
        self._lost: set[int] = set()
        self._keeping = threading.Lock()  # a connector may send several calls at once
        self._unsent: list[LinkRow] = []
        self._begun: set[int] = set()
        self._again: list[Touched] = []
        self._finished: set[int] = set()
        self._read_at: dict[int, float] = {}
        self._portions = portions
        self._children = {row.id: (row.erp_children, row.crm_children) for row in rows}

    @property
    def clock(self) -> Callable[[], float]:
        return self._clock

    def jitter(self) -> float:
        return self._rng.random()

    @contextmanager
    def working(self) -> Iterator[Batch]:
        """Within: calls keep the leases alive and compete by this batch's class; log lines say what they are about."""
        held, kind, told = guard.set(self._keep), call_class.set(self._klass), sending.set(self._first_call)
        ids = sorted(self._rows)
        about: dict[str, object] = {"link": ids[0]} if len(ids) == 1 else {"links": ids}
        try:
            with structlog.contextvars.bound_contextvars(flow=self._flow.name, **about):
                yield self
        finally:
            guard.reset(held)
            call_class.reset(kind)
            sending.reset(told)

    def run(self, rows: list[LinkRow]) -> list[Touched]:
        """Bring every link to an end; a batch that fails as a whole is run link by link: one delays no other."""
        again = self._again
        for part, whole in (
            (linked.sync, [r for r in rows if r.linked]),
            (halves.sync, [r for r in rows if not r.linked]),
        ):
            if whole:
                again.extend(self._run_part(part, whole))
        return again

    def _run_part(self, part: Callable[..., list[Save]], rows: list[LinkRow]) -> list[Touched]:
        poisoned = [row for row in rows if row.claims >= POISON_END]
        again = self._save([states.dead_end(row, POISONED, "poison") for row in poisoned])
        rows = [row for row in rows if row.claims < POISON_END]
        return again + (self._run_rows(part, rows) if rows else [])

    def _run_rows(
        self, part: Callable[..., list[Save]], rows: list[LinkRow], *, halving: bool = False
    ) -> list[Touched]:
        """One go over some links. ``halving``: SystemUnavailable is raised instead of retried."""
        self._unsent = rows
        try:
            saves = part(self, self._flow, self._rule, rows)
        except LeaseLost:
            self._lost.update(row.id for row in self._unfinished(rows))  # left to their leases: renewed no more
            return []
        except RetryableError as error:
            rows = self._unfinished(rows)
            if isinstance(error, SystemUnavailable):
                if halving:
                    raise
                if len(rows) > 1 and any(row.attempts for row in rows):
                    return self._halve(part, rows, error)
            saves = [self._retry(row, error) for row in rows]
        except AuthFailed as error:
            saves = self._pause(self._unfinished(rows), error)
        except (OperationalError, InterfaceError):
            raise  # our database is away, which no record is to blame for: the leases run out, and all are taken again
        except Exception as error:  # noqa: BLE001  # an unknown exception is a bug in one record: isolate it, never lose the others
            rows = self._unfinished(rows)
            if len(rows) > 1:
                fresh = [one for row in rows for one in self._reload([row])]
                return [due for row in fresh for due in self._run_rows(part, [row])]
            saves = [self._bug(row, error) for row in rows]
        return self._save(saves)

    def _unfinished(self, rows: list[LinkRow]) -> list[LinkRow]:
        """Of a batch that failed, the links that were not stored before it did."""
        return [row for row in rows if row.id not in self._finished]

    def _halve(self, part: Callable[..., list[Save]], rows: list[LinkRow], error: SystemUnavailable) -> list[Touched]:
        """A failure that repeats may be about one record: go on with the half that is well, and look into the other.

        When both halves fail it is the vendor, and all of them wait.
        """
        again: list[Touched] = []
        failed: list[list[LinkRow]] = []
        half = len(rows) // 2
        for some in (self._reload(rows[:half]), self._reload(rows[half:])):
            try:
                again.extend(self._run_rows(part, some, halving=True) if some else [])
            except SystemUnavailable:
                failed.append(some)
        if len(failed) == 1 and len(failed[0]) > 1:
            return again + self._halve(part, failed[0], error)
        return again + self._save([self._retry(row, error) for some in failed for row in self._reload(some)])

    def _reload(self, rows: list[LinkRow]) -> list[LinkRow]:
        """The same links from the database's present version: a batch that failed may have changed those in hand."""
        fresh = leases.held(self._db, {row.id: row.lease_token for row in rows})
        self._rows.update((row.id, row) for row in fresh)
        return fresh

    def _retry(self, row: LinkRow, error: RetryableError) -> Save:
        row.attempts += 1
        row.due_at = self.clock() + states.backoff(row.attempts, self.jitter(), error.after)
        row.klass = "retry"
        if not row.opens:
            row.state, row.cause = "pending", error.code
            row.cause_params = {"error": str(error), "system": error.system}
        return Save(row, seen=False)

    def _pause(self, rows: list[LinkRow], error: AuthFailed) -> list[Save]:
        """Credentials or permission: the system is paused, no attempts are burnt, work resumes by itself."""
        system = error.system or self._flow.systems["erp"]
        pauses.pause(self._db, "system", system, error.code, str(error))
        log.warning("system.paused", system=system, reason=error.code)
        for row in rows:
            row.due_at = self.clock()
        return [Save(row, seen=False) for row in rows]

    def _bug(self, row: LinkRow, error: Exception) -> Save:
        if isinstance(error, PermanentError):
            return states.dead_end(row, error.in_words, error.code)
        frames = traceback.format_tb(error.__traceback__)
        log.error("sync.bug", link=row.id, error=type(error).__name__, frames=[f.strip() for f in frames[-4:]])
        metrics.pass_ended(self._flow.name, "bug")
        return states.dead_end(row, f"unexpected {type(error).__name__}", "bug")

    def planned(self, p: Pass, sides: Sides, plan: Plan) -> None:
        """A batch carries it out; what was decided is journalled as it is done."""

    def hold(self, passes: Sequence[Pass]) -> list[Pass]:
        for p in passes:
            p.row.memory = p.memory.unended(p.claimed).dump()  # also what is saved when this batch fails as a whole
            read = (p.answered_at[side] for side in p.targets & p.answered_at.keys())
            self._read_at[p.row.id] = min(read, default=self.clock())
        tries = {p.row.id: p.row.memory or {} for p in passes}
        held = leases.renew(self._db, [p.row for p in passes], tries, scope=self._flow.scope)
        self._lost |= tries.keys() - held
        return [p for p in passes if p.row.id in held]

    def commit(self, saves: Sequence[Save]) -> set[int]:
        return {one.row.id for one in saves} - links.save(self._db, saves).lost

    def finish(self, *saves: Save) -> None:
        self._finished.update(save.row.id for save in saves)
        self._again.extend(self._save(saves))

    def portion(self, target: Side) -> int:
        batched = self._flow.connectors[target].capabilities.batched_writes
        return self._portions.get(target, FIRST_PORTION if batched else FIRST_SINGLES)

    def note_portion(self, target: Side, seconds: float, count: int) -> None:
        size = self.portion(target)
        fits = int(count * WINDOW_SECONDS / max(seconds, 1e-3))
        if fits < size or count >= size:
            self._portions[target] = max(1, min(fits, 2 * size, LARGEST_PORTION))

    def open_intents(self, row: LinkRow, side: Side) -> int:
        with self._db.read() as conn:
            return waiting.intents_before(conn, row.flow, row.entity, side, row.created_at)

    def linked_elsewhere(self, flow: Flow, row: LinkRow) -> str | None:
        return defaults.flow_elsewhere(self._db, row.entity, row.crm_key, flow.shared_crm, but=row.id)

    def linked_keys(self, flow: str, entity: str, side: Side, keys: Sequence[str]) -> set[str]:
        return waiting.linked_keys(self._db, flow, entity, side, keys)

    def _keep(self, seconds: float) -> None:
        """E2: before a vendor call, the leases must have more left than the call may take; E22: and before a write,
        what it was decided on must not be long ago, however long a database, a slot or this process kept us."""
        alive = self._leased(seconds)
        concerned = set(concerns.get()) & self._rows.keys()
        if not alive or concerned - alive:
            raise LeaseLost("the record is another worker's by now: nothing was sent")
        now = self.clock()
        for i in concerned & self._read_at.keys():
            if now - self._read_at[i] > (READ_LASTS if self._rows[i].attempts else FRESH):
                raise ReadTooOld("what the write was decided on was read too long ago: nothing was sent", after=0.0)

    def alive(self) -> set[int]:
        return self._leased(0.0)

    def _leased(self, seconds: float) -> set[int]:
        """The links whose lease holds for so long; all are renewed together before the first of them runs out."""
        with self._keeping:
            over = self._finished | self._lost
            open_rows = [row for row in self._rows.values() if row.id not in over]
            if self.clock() - self._renewed + seconds >= leases.LEASE - 1.0:
                held = leases.renew(self._db, open_rows, scope=self._flow.scope)
                self._lost |= {row.id for row in open_rows} - held
                self._renewed = self.clock()
            return {row.id for row in open_rows} - self._lost

    def _first_call(self) -> None:
        """Called right before a request: how long the notices it answers have waited for it."""
        rows, self._unsent = self._unsent, []
        now = self.clock() if rows else 0.0
        for row in rows:
            if row.noticed_at is not None and row.id not in self._begun:
                metrics.notice_reached_vendor(row.flow, max(0.0, now - row.noticed_at))
            self._begun.add(row.id)

    def _save(self, saves: Sequence[Save]) -> list[Touched]:
        if not saves:
            return []
        for one in saves:
            self._note_children(one)
            one.sharing = self._flow.shared_crm
        self._check_unlinks([one for one in saves if one.gone is not None])
        now = self.clock()
        saved = links.save(self._db, saves)
        self._finished.update(one.row.id for one in saves)  # released: no longer ours to renew
        for one in saves:
            self._observe(one, now, lost=one.row.id in saved.lost)
        stuck = [one.row for one in saves if one.row.id in saved.taken or one.row.id in saved.busy]
        if stuck:
            links.save(self._db, [self._stuck(row, saved) for row in self._reload(stuck)])
        return saved.again

    def _note_children(self, one: Save) -> None:
        row = one.row
        for side, old in zip(SIDES, self._children.get(row.id, (None, None)), strict=True):
            new = row.children(side)
            key = row.key(side)
            if new and key is not None and new != (old or {}):
                rows = frozenset((name.partition("@")[0], child) for name, child in new.items() if child)
                one.shown.append(Shown(self._flow.systems[side], key, rows))

    def _check_unlinks(self, gone: Sequence[Save]) -> None:
        """E8: more deletions an hour than allowed pause the flow; those beyond keep waiting for their second look."""
        allowed = self._unlinks_left() if gone else 0
        if len(gone) <= allowed:
            return
        limit, name = self._flow.unlinked_per_hour, self._flow.name
        text = f"more than {counted(limit, 'record')} vanished within an hour; resume the flow if that is right"
        pauses.pause(self._db, "flow", name, MANY_UNLINKED, text)
        log.warning("flow.paused", flow=name, reason=MANY_UNLINKED)
        for one in gone[allowed:]:
            one.gone, one.journal, one.seen = None, [], False
            one.row.state, one.row.cause, one.row.cause_params = "pending", MANY_UNLINKED, {}
            one.row.due_at, one.row.klass = self.clock(), "retry"
        gone[allowed].journal = [{"what": "paused", "why": MANY_UNLINKED}]

    def _unlinks_left(self) -> int:
        """How many records may still vanish this hour. A person who resumes the flow grants as many again."""
        name, c = self._flow.name, journal.c
        if ("flow", name) in pauses.current(self._db):
            return 0
        with self._db.read() as conn:
            paused = select(func.max(c.at)).where(c.flow == name, c.what == "paused", c.why == MANY_UNLINKED)
            since = max(self.clock() - 3600, conn.execute(paused).scalar_one() or 0.0)
            seen = select(func.count()).where(c.flow == name, c.what == "unlinked", c.actor == "worker", c.at > since)
            return max(0, self._flow.unlinked_per_hour - int(conn.execute(seen).scalar_one()))

    def _stuck(self, fresh: LinkRow, saved: Saved) -> Save:
        """The key just found stands elsewhere: on a full link (a person decides) or a row that is creating (wait)."""
        fresh.opens = {}
        if fresh.id in saved.busy:
            fresh.attempts += 1
            fresh.due_at, fresh.klass = self.clock() + states.until_created(fresh.attempts), "retry"
            fresh.state, fresh.cause, fresh.cause_params = "pending", "intent_open", {}
            return Save(fresh, seen=False)
        fresh.state, fresh.cause = "conflict", "already_linked"
        fresh.cause_params = {"link": saved.taken[fresh.id]}
        fresh.due_at = None
        return Save(fresh)

    def _observe(self, one: Save, now: float, *, lost: bool) -> None:
        row = one.row
        outcome = "lost" if lost else "retry" if not one.seen else row.state
        metrics.pass_ended(row.flow, outcome)
        if one.seen and not lost and row.noticed_at is not None:
            metrics.notice_done(row.flow, max(0.0, now - row.noticed_at))
        log.debug("sync.ended", link=row.id, outcome=outcome, cause=row.cause)

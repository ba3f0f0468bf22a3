"""The list of what happens by the clock: rings, polls, sweeps, checks of paused systems, cleaning up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sync_worker import directories
from sync_worker.alerts.turn import Alerts
from sync_worker.connectors.base import Ask
from sync_worker.doorbell import Rings
from sync_worker.engine import sub_companies
from sync_worker.errors import AuthFailed, PermanentError, RetryableError
from sync_worker.events import Side
from sync_worker.ringer import Ringer
from sync_worker.store import counters, managers, pauses, retention
from sync_worker.store.schedules import directory_task
from sync_worker.task import Task

if TYPE_CHECKING:
    from sync_worker.connectors.base import Connector
    from sync_worker.store.session import Database
    from sync_worker.store.touches import Touched
    from sync_worker.wiring import App

RING_SECONDS = 1.0
FOLD_SECONDS = 5.0
WAIT_SWEEP_SECONDS = 300.0
DIRECTORY_SECONDS = 900.0  # people come and go slowly; a notice about one of them makes it due at once
RECHECK_SECONDS = 5.0
ALERT_SECONDS = 60.0
RETENTION_SECONDS = 3600.0
# A stop signal waits for a task that runs: it must be far shorter than the time to stop.
FORGET_SECONDS = 8.0
# A paused system is asked again after a quarter of the time it has been paused, within these bounds: soon after a
# short trouble, rarely while a password is wrong, since vendors lock accounts that keep trying.
FIRST_RECHECK = 10.0
LONGEST_RECHECK = 900.0
# No vendor has come this far in its keys: asking for it needs sign-in and permission, and reads nothing. It must look
# like a key to every connector (0 does not to Sage CRM's), or nobody is asked at all.
NOBODY = "2147483647"

log = structlog.get_logger(__name__)


def tasks_for(app: App, doorbell: Rings, ringer: Ringer) -> list[Task]:
    """Everything a scheduler does for this configuration."""
    tasks = [
        Task("ring", RING_SECONDS, ringer.tick, steady=True),
        Task("counters", FOLD_SECONDS, partial(counters.fold, app.db)),
        Task("waits", WAIT_SWEEP_SECONDS, lambda: doorbell.ring(_ended_waits(app))),
        Task("paused", RECHECK_SECONDS, Recheck(app.db, app.systems).turn),
        Task("retention", RETENTION_SECONDS, lambda: forget_old(app)),
    ]
    if app.config.alerts.tells_somebody:
        tasks.append(Task("alerts", ALERT_SECONDS, Alerts(app.db, app.config).turn))
    for name in app.systems:
        settings = app.config.systems[name]
        tasks.append(Task(f"poll:{name}", settings.poll_seconds, _ringing(doorbell, app.feeds.poll, name)))
        tasks.append(Task(f"sweep:{name}", settings.sweep_seconds, _ringing(doorbell, app.feeds.sweep, name)))
        look = _ringing(doorbell, lambda system: directories.refresh(app.db, app.systems[system]), name)
        tasks.append(Task(directory_task(name), DIRECTORY_SECONDS, look))
        if app.feeds.reads_invoices(name):
            asked = _ringing(doorbell, app.feeds.poll_invoices, name)
            tasks.append(Task(f"invoices:{name}", settings.poll_seconds, asked))
        if settings.event_queue:
            tasks.append(Task(f"events:{name}", settings.poll_seconds, _ringing(doorbell, app.feeds.drain, name)))
    return tasks


def _ended_waits(app: App) -> tuple[Touched, ...]:
    """Waits that could end all the same: a mapping made, or a configuration changed, between a look and its save."""
    return (*managers.wait_sweep(app.db), *sub_companies.release_mapped(app.db, app.flows))


def _ringing(doorbell: Rings, look: Callable[[str], Sequence[Touched]], system: str) -> Callable[[], None]:
    return lambda: doorbell.ring(look(system))


def forget_old(app: App) -> None:
    """Delete what is older than the configuration says, for a few seconds; the next hour goes on with the rest."""
    keep = app.config.retention
    showing: dict[str, list[tuple[str, str, Side]]] = {}
    for flow in app.flows.values():
        for side, system in flow.systems.items():
            showing.setdefault(system, []).append((flow.name, flow.entity, side))
    forgotten = retention.forget(
        app.db, events_days=keep.events_days, journal_days=keep.journal_days, showing=showing, seconds=FORGET_SECONDS
    )
    events, entries = (forgotten.rows.get(table, 0) for table in ("event", "journal"))
    others = sum(forgotten.rows.values()) - events - entries
    log.info("retention.done", events=events, journal=entries, others=others, finished=forgotten.finished)


def recheck_due(paused_for: float, since_last: float) -> bool:
    """Whether to ask a system that has been paused for so long, and was last asked so long ago (both seconds)."""
    return since_last >= min(LONGEST_RECHECK, max(FIRST_RECHECK, paused_for / 4))


class Recheck:
    """Asks systems that the worker paused whether they let us in again, and resumes them by itself.

    A person's pause is left alone, and so is one that ends by itself.
    """

    def __init__(
        self, db: Database, systems: Mapping[str, Connector], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._systems = systems
        self._monotonic = monotonic
        self._asked_at: dict[str, float] = {}

    def turn(self) -> None:
        """Ask each paused system whose time has come. Raises ``SQLAlchemyError``."""
        with self._db.read() as conn:
            now = self._db.now(conn)
        for (kind, name), pause in pauses.current(self._db).items():
            if kind != "system" or name not in self._systems or pause.until is not None:
                continue
            if pause.reason == pauses.BY_PERSON:
                continue
            since_last = self._monotonic() - self._asked_at.get(name, float("-inf"))
            if recheck_due(now - pause.since, min(since_last, now - pause.since)):
                self._asked_at[name] = self._monotonic()
                if lets_us_in(self._systems[name]):
                    pauses.resume(self._db, "system", name, reason=pause.reason)
                    log.info("system.resumed", system=name, reason=pause.reason)


def lets_us_in(connector: Connector) -> bool:
    """Whether the system answers and accepts our credentials: one read of a record that does not exist."""
    try:
        connector.read_many("customer", [Ask(NOBODY, parts=1)])
    except (AuthFailed, RetryableError) as error:
        log.info("system.still_paused", system=connector.system, reason=error.code)
        return False
    except PermanentError:
        return True  # it refused the question, not us
    return True

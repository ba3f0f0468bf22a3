"""What stands now that somebody should know of: asked of our own tables only, in a handful of grouped queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, Subquery, and_, func, or_, select

from sync_worker.alerts.rule import Standing, Subject
from sync_worker.config import Config
from sync_worker.store import pauses, schedules
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field

HOUR = 3600.0
# A pause that ends by itself is told after `lag_seconds`; one that waits for a person after this long, since the
# worker asks again within seconds and may be let in.
PAUSE_SECONDS = 60.0
STUCK = ("waiting", "conflict", "failing", "pending")
WATCHED_TASKS = ("poll", "events", "sweep", "managers")

Held = Mapping[tuple[pauses.Kind, str], pauses.Pause]


def standing(db: Database, config: Config) -> list[Standing]:
    """Everything that stands, of the flows and systems that are configured. Raises ``SQLAlchemyError``."""
    held = _held(db, config)
    with db.read() as conn:
        now = db.now(conn)
        found = [*_links(conn, config, now, held), *_lags(conn, config, now, held)]
    return [*found, *_paused(config, held), *_tasks(db, config, now, held)]


def _held(db: Database, config: Config) -> Held:
    known: set[tuple[pauses.Kind, str]] = {("flow", name) for name in config.flows}
    known |= {("system", name) for name in config.systems}
    held = pauses.current(db, lately=pauses.PROBE_SECONDS)
    return {key: pause for key, pause in held.items() if key in known}


def _going(config: Config, held: Held) -> list[str]:
    """The flows that nobody paused, and whose systems are both up: what the others owe is told by the pause."""
    return [
        name
        for name, flow in config.flows.items()
        if ("flow", name) not in held and ("system", flow.erp) not in held and ("system", flow.crm) not in held
    ]


def _links(conn: Connection, config: Config, now: float, held: Held) -> Iterator[Standing]:
    """Links that have failed or waited for ``after_hours``, by flow, state and cause."""
    c = link.c
    since = func.coalesce(c.state_at, c.created_at)
    # What is due and was not tried is no trouble of its own: the flow lags.
    tried = or_(c.attempts > 0, c.due_at.is_(None), c.due_at > now)
    stuck = (
        select(c.id, c.flow, c.state, c.cause, since.label("since"))
        .where(c.state.in_(STUCK), c.flow.in_(list(config.flows)), since <= now - config.alerts.after_hours * HOUR)
        .where(or_(c.state != "pending", and_(tried, c.flow.in_(_going(config, held)))))
        .subquery()
    )
    s = stuck.c
    keys = _keys(conn, stuck)
    counted = select(s.flow, s.state, s.cause, func.count(), func.min(s.since), func.min(s.id))
    groups = conn.execute(counted.group_by(s.flow, s.state, s.cause)).all()
    firsts = select(c.id, c.erp_key, c.crm_key).where(c.id.in_([group[-1] for group in groups]))
    records = {link_id: (erp, crm) for link_id, erp, crm in conn.execute(firsts)}
    for flow, state, cause, count, oldest, first in groups:
        subject = Subject("links", flow, state, cause)
        erp, crm = records[first]
        example = (config.flows[flow].erp, erp) if erp is not None else (config.flows[flow].crm, crm)
        yield Standing(subject, oldest, count, keys=tuple(keys.get(subject, ())), example=example)


def _keys(conn: Connection, stuck: Subquery) -> dict[Subject, list[tuple[str, int]]]:
    """What most of them wait on, where many wait on one: managers. Keys of systems, nobody's name."""
    s, o = stuck.c, open_field.c
    count = func.count()
    waits = (
        select(s.flow, s.state, s.cause, o.waiting_on, count)
        .join(open_field, o.link_id == s.id)
        .where(o.waiting_on.like("account_manager:%"))
        .group_by(s.flow, s.state, s.cause, o.waiting_on)
        .order_by(count.desc(), o.waiting_on)
    )
    found: dict[Subject, list[tuple[str, int]]] = {}
    for flow, state, cause, key, links in conn.execute(waits):
        found.setdefault(Subject("links", flow, state, cause), []).append((key, links))
    return found


def _lags(conn: Connection, config: Config, now: float, held: Held) -> Iterator[Standing]:
    """Flows whose due work is not done: live and retried work for ``lag_seconds``, bulk work for ``after_hours``."""
    c = link.c
    settings = config.alerts
    bulk_late = c.due_at <= now - max(settings.lag_seconds, settings.after_hours * HOUR)
    rows = (
        select(c.flow, func.count(), func.min(c.due_at))
        .where(c.due_at <= now - settings.lag_seconds, or_(c.klass != "bulk", bulk_late))
        .where(or_(c.lease_until.is_(None), c.lease_until <= now), c.flow.in_(_going(config, held)))
        .group_by(c.flow)
    )
    for flow, count, oldest in conn.execute(rows):
        yield Standing(Subject("lag", flow), oldest, count)


def _paused(config: Config, held: Held) -> Iterator[Standing]:
    for (kind, name), pause in held.items():
        ripe_after = min(PAUSE_SECONDS, config.alerts.lag_seconds)
        if pause.until is not None:
            ripe_after = config.alerts.lag_seconds
        yield Standing(Subject("paused", name, kind, pause.reason), pause.since, ripe_after=ripe_after)


def _tasks(db: Database, config: Config, now: float, held: Held) -> Iterator[Standing]:
    """Looks at a system that is up and that fail again and again: what changes there goes unseen.

    They count from when we first see them fail, and are told once a retry has failed too.
    """
    for one in schedules.statuses(db):
        kind, _, system = one.name.partition(":")
        if kind not in WATCHED_TASKS or system not in config.systems or ("system", system) in held:
            continue
        if one.last_error is not None:
            settings = config.systems[system]
            every = settings.poll_seconds if kind in ("poll", "events") else settings.sweep_seconds
            ripe_after = config.alerts.lag_seconds + 2 * every
            yield Standing(Subject("task", one.name), now, ripe_after=ripe_after, detail=one.last_error)

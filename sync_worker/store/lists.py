"""Lists, a page at a time. A page begins after the last row of the one before (keyset paging), never at a number of
rows: what is there from the first page to the last is listed exactly once, whatever comes and goes meanwhile.

Links, managers and mapping rows go by their keys, upwards. Events, journal entries and runs begin with the latest;
what comes in while somebody pages is newer than the first page, and is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, false, func, or_, select, tuple_

from sync_worker.events import Side
from sync_worker.store.rows import shown_as
from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal, link, manager, manager_map, open_field, run, run_row

Row = dict[str, Any]
Position = tuple[Any, ...]
Seat = tuple[str, str, Side]
"""Where a system sits: flow, entity, side."""

_LINK = (
    "id", "flow", "entity", "erp_key", "erp_ref", "crm_key", "crm_ref", "state", "cause", "cause_params", "due_at",
    "noticed_at", "created_at", "last_synced_at", "first_synced_at", "state_at", "is_default",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next page begins; None: there is none."""

    rows: list[Row]
    next: Position | None


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """Which links. ``seats``: only these flows, by the sides that ``key`` is looked for on.

    ``unsynced``: only what has never been synced.
    """

    seats: Sequence[Seat]
    state: str | None = None
    cause: str | None = None
    waiting_on: str | None = None
    key: str | None = None
    unsynced: bool = False


EVER_SYNCED = or_(link.c.first_synced_at.is_not(None), link.c.last_synced_at.is_not(None))


def named_by(side: Side, key: str) -> ColumnElement[bool]:
    """Links of a record by API key or human reference; ``key:K`` and ``ref:R`` say which of the two is meant."""
    kind, _, rest = key.partition(":")
    columns, wanted = ((kind,), rest) if kind in ("key", "ref") and rest else (("key", "ref"), key)
    return or_(*(link.c[f"{side}_{column}"] == wanted for column in columns))


def links(db: Database, wanted: LinkFilter, after: Position | None, limit: int) -> Page:
    """Links by id, each with ``waiting_on``: the first key that one of its fields waits on."""
    c = link.c
    query = select(*(c[name] for name in _LINK)).where(_in_seats(wanted))
    if wanted.waiting_on is not None:
        waiting = select(open_field.c.link_id).where(open_field.c.waiting_on == wanted.waiting_on)
        query = query.where(c.id.in_(waiting))
    if wanted.unsynced:
        query = query.where(~EVER_SYNCED)
    with db.read() as conn:
        query = query.where(shown_as(db.now(conn), state=wanted.state, cause=wanted.cause))
        found = conn.execute(_from(query, (c.id,), after, limit)).mappings()
        page = _page([dict(row) for row in found], ("id",), limit)
        ids = [row["id"] for row in page.rows]
        waits = select(open_field.c.link_id, open_field.c.waiting_on).where(
            open_field.c.link_id.in_(ids), open_field.c.waiting_on.is_not(None)
        )
        first: dict[int, str] = {}
        for link_id, key in conn.execute(waits.order_by(open_field.c.link_id, open_field.c.field)):
            first.setdefault(link_id, key)
    for row in page.rows:
        row["waiting_on"] = first.get(row["id"])
    return page


def _in_seats(wanted: LinkFilter) -> ColumnElement[bool]:
    c = link.c
    if wanted.key is None:
        # Nearly all links are of these flows: as an expression no index is taken for it, and the ids give the order.
        return func.coalesce(c.flow, "").in_({flow for flow, _, _ in wanted.seats})
    at = [and_(c.flow == flow, c.entity == entity, named_by(side, wanted.key)) for flow, entity, side in wanted.seats]
    return or_(false(), *at)


def latest_events(
    db: Database, where: Mapping[str, str], since: float | None, after: Position | None, limit: int
) -> Page:
    """Events, the latest first. ``where``: column -> value; ``since``: seconds, by our clock."""
    return _latest(db, event, "received_at", where, since, after, limit)


def latest_entries(
    db: Database, where: Mapping[str, Any], since: float | None, after: Position | None, limit: int
) -> Page:
    """Journal entries, the latest first. ``where``: column -> value; ``since``: seconds, by our clock."""
    return _latest(db, journal, "at", where, since, after, limit)


def _latest(
    db: Database,
    table: Table,
    time: str,
    where: Mapping[str, Any],
    since: float | None,
    after: Position | None,
    limit: int,
) -> Page:
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    if since is not None:
        query = query.where(table.c[time] >= since)
    return _read(db, query, table, (time, "id"), after, limit, downwards=True)


def latest_runs(db: Database, where: Mapping[str, str], after: Position | None, limit: int) -> Page:
    """Runs, the latest first. ``where``: column -> value; one over all flows (a link file's) is a run of each."""
    given = {name: (value, "") if name == "flow" else (value,) for name, value in where.items()}
    query = select(run).where(*(run.c[name].in_(values) for name, values in given.items()))
    return _read(db, query, run, ("id",), after, limit, downwards=True)


def one_run(db: Database, run_id: int) -> Row | None:
    """A run by its id."""
    with db.read() as conn:
        found = conn.execute(select(run).where(run.c.id == run_id)).mappings().first()
    return None if found is None else dict(found)


def rows_of_run(db: Database, run_id: int, verdict: str | None, after: Position | None, limit: int) -> Page:
    """What a run says about each record, by key."""
    query = select(run_row).where(run_row.c.run_id == run_id)
    if verdict is not None:
        query = query.where(run_row.c.verdict == verdict)
    return _read(db, query, run_row, ("key",), after, limit)


def known_managers(db: Database, systems: Sequence[str], after: Position | None, limit: int) -> Page:
    """The directories of these systems, by system and key."""
    query = select(manager).where(manager.c.system.in_(systems))
    return _read(db, query, manager, ("system", "key"), after, limit)


def mapped_managers(db: Database, flows: Sequence[str], after: Position | None, limit: int) -> Page:
    """The mapping rows of these flows, by flow and ERP key."""
    query = select(manager_map).where(manager_map.c.flow.in_(flows))
    return _read(db, query, manager_map, ("flow", "erp_key"), after, limit)


def mapping_row(db: Database, flow: str, erp_key: str) -> Row | None:
    """One mapping row."""
    with db.read() as conn:
        wanted = select(manager_map).where(manager_map.c.flow == flow, manager_map.c.erp_key == erp_key)
        found = conn.execute(wanted).mappings().first()
    return None if found is None else dict(found)


def _read(
    db: Database,
    query: Select[Any],
    table: Table,
    order: tuple[str, ...],
    after: Position | None,
    limit: int,
    *,
    downwards: bool = False,
) -> Page:
    paged = _from(query, tuple(table.c[name] for name in order), after, limit, downwards=downwards)
    with db.read() as conn:
        return _page([dict(row) for row in conn.execute(paged).mappings()], order, limit)


def _from(
    query: Select[Any],
    order: tuple[ColumnElement[Any], ...],
    after: Position | None,
    limit: int,
    *,
    downwards: bool = False,
) -> Select[Any]:
    """The query from a position on, with one row more than asked for: it says whether there is a next page."""
    if after is not None:
        here = tuple_(*order)
        query = query.where(here < after if downwards else here > after)
    return query.order_by(*(column.desc() if downwards else column for column in order)).limit(limit + 1)


def _page(rows: list[Row], order: tuple[str, ...], limit: int) -> Page:
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], tuple(rows[limit - 1][name] for name in order))

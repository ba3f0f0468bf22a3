"""What was heard and what was done: events and the journal."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from sync_worker import reports
from sync_worker.events import LARGEST_ID
from sync_worker.store import lists
from sync_worker.web.api import shapes
from sync_worker.web.api.here import Here, may_answer
from sync_worker.web.api.paging import Paged, Word, cursor, position

router = APIRouter(tags=["history"])

Since = Annotated[
    AwareDatetime | None,
    Field(default=None, description="from this moment on, by our clock", examples=["2026-11-22T10:00:00Z"]),
]


class EventQuery(Paged):
    """Which events; all that is given must hold."""

    system: Word | None = Field(default=None, description="that sent the notice")
    entity: Word | None = Field(default=None, description="what kind of record it was about")
    key: Word | None = Field(default=None, description="the API key that the notice named")
    since: Since


class EntryQuery(Paged):
    """Which entries; all that is given must hold."""

    link: int | None = Field(default=None, ge=1, le=LARGEST_ID, description="of one link")
    flow: Word | None = Field(default=None, description="of one flow")
    actor: Word | None = Field(default=None, description="`worker`, `cli`, or a token's name")
    since: Since


@router.get("/events", summary="List events", responses=may_answer())
def list_events(here: Here, query: Annotated[EventQuery, Query()]) -> shapes.Events:
    """Accepted notices, the latest first. They are kept for `retention.events_days`."""
    after = position("events", query.after, float, int)
    where = {name: value for name in ("system", "entity", "key") if (value := getattr(query, name)) is not None}
    page = lists.latest_events(here.app.db, where, _seconds(query), after, query.limit)
    return shapes.Events(items=[_event(row) for row in page.rows], next=cursor("events", page))


@router.get("/journal", summary="List the journal", responses=may_answer())
def list_journal(here: Here, query: Annotated[EntryQuery, Query()]) -> shapes.Entries:
    """Remote writes, changes of links and what people did, the latest first. Kept for `retention.journal_days`."""
    after = position("journal", query.after, float, int)
    asked = {"link_id": query.link, "flow": query.flow, "actor": query.actor}
    where = {name: value for name, value in asked.items() if value is not None}
    page = lists.latest_entries(here.app.db, where, _seconds(query), after, query.limit)
    return shapes.Entries(items=[_entry(row) for row in page.rows], next=cursor("journal", page))


def _seconds(query: EventQuery | EntryQuery) -> float | None:
    return None if query.since is None else query.since.timestamp()


def _event(row: lists.Row) -> shapes.Event:
    return shapes.Event(**{**row, "at": _vendor_time(row["at"]), "received_at": reports.iso(row["received_at"])})


def _vendor_time(at: float | None) -> str | None:
    """A vendor's stamp may be of a year that no calendar has."""
    try:
        return reports.iso(at)
    except (ValueError, OverflowError, OSError):
        return None


def _entry(row: lists.Row) -> shapes.Entry:
    told: dict[str, Any] = {**row, "at": reports.iso(row["at"]), "link": row["link_id"], "run": row["run_id"]}
    return shapes.Entry(**{name: told[name] for name in shapes.Entry.model_fields})

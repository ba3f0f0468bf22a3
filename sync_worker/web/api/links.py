"""Links: list, explain, retry, settle; and syncing a record by hand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from sync_worker import causes, desk, reports
from sync_worker.desk.refusals import NotKnown
from sync_worker.events import LARGEST_ID, SIDES
from sync_worker.store import lists
from sync_worker.store.rows import LinkRow
from sync_worker.web.api import shapes
from sync_worker.web.api.here import CHANGES, Context, Here, may_answer
from sync_worker.web.api.paging import Paged, Word, cursor, position
from sync_worker.web.api.problems import AMBIGUOUS, NOT_FOUND, NOT_OPEN, REFUSED
from sync_worker.web.api.shapes import State

router = APIRouter(tags=["links"])

LinkId = Annotated[int, Path(alias="link", ge=1, le=LARGEST_ID, description="`link` in the list")]


class LinkQuery(Paged):
    """Which links; all that is given must hold."""

    flow: Word | None = Field(default=None, description="a flow from sync.toml")
    state: State | None = Field(default=None, description="their state")
    cause: Word | None = Field(default=None, description="a cause's code", examples=["manager_unmapped"])
    waiting_on: Word | None = Field(default=None, description="a key", examples=["account_manager:erp:E-12"])
    system: Word | None = Field(default=None, description="links of this system's records")
    key: Word | None = Field(default=None, description="API key or human reference; `key:77`, `ref:77` say which")


class Settle(shapes.Wish):
    """A person's choice for a field that is open."""

    field: Word = Field(examples=["name"])
    take: str = Field(description="`erp`, `crm`, or `=VALUE` for both sides", max_length=8000, examples=["crm"])


class Record(shapes.Wish):
    """A record to sync."""

    system: Word = Field(examples=["crm"])
    key: Word = Field(description="API key; of a record that is known here the human reference too", examples=["43"])
    flow: Word | None = Field(default=None, description="which one, where several could create its partner")


@router.get("/links", summary="List links", responses=may_answer(NOT_FOUND))
def list_links(here: Here, query: Annotated[LinkQuery, Query()]) -> shapes.Links:
    """Records and their partners, by `link`. Those of flows that are not configured any more are left out."""
    after = position("links", query.after, int)
    systems = here.systems(query.system)
    seats = [
        (flow.name, flow.entity, side)
        for flow in here.flows(query.flow)
        for side in SIDES
        if flow.systems[side] in systems
    ]
    wanted = lists.LinkFilter(seats, query.state, query.cause, query.waiting_on, query.key)
    page = lists.links(here.app.db, wanted, after, query.limit)
    now = here.app.clock()
    return shapes.Links(items=[_row(here, row, now) for row in page.rows], next=cursor("links", page))


def _row(here: Context, row: lists.Row, now: float) -> shapes.LinkRow:
    state, code, params = reports.shown(row["state"], row["cause"], row["cause_params"], row["due_at"], now)
    systems = here.app.flows[row["flow"]].systems
    sides: dict[str, Any] = {
        side: {"system": systems[side], "key": row[f"{side}_key"], "ref": row[f"{side}_ref"]} for side in SIDES
    }
    times = {name: reports.iso(row[name]) for name in ("due_at", "noticed_at", "last_synced_at")}
    return shapes.LinkRow(
        link=row["id"],
        flow=row["flow"],
        entity=row["entity"],
        state=state,
        cause=shapes.Cause(code=code, text=causes.text(code, params)),
        waiting_on=row["waiting_on"],
        created_at=reports.iso(row["created_at"]) or "",
        **sides,
        **times,
    )


@router.get(
    "/links/{link}",
    summary="Explain a link",
    responses=may_answer(NOT_FOUND),
    response_model_exclude_unset=True,
)
def explain_link(here: Here, link_id: LinkId) -> shapes.Explanation:
    """Why it is the way it is, and what happens next: both sides field by field, candidates, timeline."""
    row = _known(here, link_id)
    return shapes.Explanation(**reports.explain(here.app.db, here.app.flows[row.flow], row))


@router.post("/links/{link}/replay", status_code=202, summary="Try a link again", responses=may_answer(*CHANGES))
def replay_link(here: Here, link_id: LinkId) -> shapes.Due:
    """Make it due; values that a vendor refused are tried once more."""
    _known(here, link_id)
    if not desk.replay(here.app, link=link_id, actor=here.actor, bell=here.bell):
        raise _gone(link_id)
    return shapes.Due(links=[link_id])


@router.post(
    "/links/{link}/resolve",
    status_code=202,
    summary="Settle a conflict",
    responses=may_answer(*CHANGES, NOT_OPEN, REFUSED),
)
def resolve_link(here: Here, link_id: LinkId, wish: Settle) -> shapes.Due:
    """Take one side's value for an open field, or one of your own for both."""
    row = _known(here, link_id)
    called = f"link {link_id}"
    desk.settle(here.app, [row], wish.field, wish.take, called=called, actor=here.actor, bell=here.bell)
    return shapes.Due(links=[link_id])


@router.post("/sync", status_code=202, summary="Sync a record", responses=may_answer(*CHANGES, AMBIGUOUS, REFUSED))
def sync_record(here: Here, wish: Record) -> shapes.Due:
    """Have the workers look at it now; it may be created on the other side, however old it is."""
    touched = desk.ask_sync(here.app, wish.system, wish.key, wish.flow, actor=here.actor, bell=here.bell)
    return shapes.Due(links=[one.link_id for one in touched])


def _known(here: Context, link_id: int) -> LinkRow:
    row = reports.find_link(here.app.db, here.app.flows, link_id)
    if row is None:
        raise _gone(link_id)
    return row


def _gone(link_id: int) -> NotKnown:
    return NotKnown(f"there is no link {link_id}: it was joined to another one, or never was; ask for its record's")

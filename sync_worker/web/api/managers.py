"""Account managers: each system's directory, and who stands for whom in a flow."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from sync_worker import reports
from sync_worker.desk import managers as desk
from sync_worker.desk.refusals import NotKnown
from sync_worker.store import lists
from sync_worker.web.api import shapes
from sync_worker.web.api.here import CHANGES, Here, may_answer
from sync_worker.web.api.paging import Paged, Word, cursor, position
from sync_worker.web.api.problems import AMBIGUOUS, NOT_FOUND

router = APIRouter(tags=["managers"])

FlowName = Annotated[Word, Path(description="a flow from sync.toml")]
DryRun = Annotated[bool, Query(description="only say what it would release; changes nothing")]
Erp = Annotated[Word, Path(description="the ERP manager's API key or reference")]


class ManagerQuery(Paged):
    """Whose directory; without a system, everybody's."""

    system: Word | None = Field(default=None, description="a system from sync.toml")


class MapQuery(Paged):
    """Which flow's mapping rows; without a flow, all."""

    flow: Word | None = Field(default=None, description="a flow from sync.toml")


class Partner(shapes.Wish):
    """The CRM user that stands for an ERP manager."""

    crm: Word = Field(description="the CRM user's API key or reference", examples=["4"])
    preferred: bool = Field(
        default=False, description="the way back, where several ERP managers stand for the same CRM user"
    )


@router.get("/managers", summary="List managers", responses=may_answer(NOT_FOUND))
def list_managers(here: Here, query: Annotated[ManagerQuery, Query()]) -> shapes.Managers:
    """The directories as the systems gave them; who left stays, inactive."""
    after = position("managers", query.after, str, str)
    page = lists.known_managers(here.app.db, here.systems(query.system), after, query.limit)
    items = [shapes.Manager(**{**row, "seen_at": reports.iso(row["seen_at"])}) for row in page.rows]
    return shapes.Managers(items=items, next=cursor("managers", page))


@router.get("/managers/map", summary="List mapping rows", responses=may_answer(NOT_FOUND))
def list_mappings(here: Here, query: Annotated[MapQuery, Query()]) -> shapes.MappingRows:
    """Which ERP manager and which CRM user stand for one another."""
    after = position("map", query.after, str, str)
    flows = [flow.name for flow in here.flows(query.flow)]
    page = lists.mapped_managers(here.app.db, flows, after, query.limit)
    return shapes.MappingRows(items=[_row(row) for row in page.rows], next=cursor("map", page))


@router.put("/managers/map/{flow}/{erp:path}", summary="Map a manager", responses=may_answer(*CHANGES, AMBIGUOUS))
def map_manager(here: Here, flow: FlowName, erp: Erp, wish: Partner, dry_run: DryRun = False) -> shapes.Mapped:
    """Let an ERP manager and a CRM user stand for one another; links that waited for that are due at once.

    Records that have a manager keep the one they have. Both must be in their system's directory. A dry run says how
    many links wait for it, and whether the row could be made.
    """
    proposal = desk.propose(here.app, flow, erp, wish.crm, preferred=wish.preferred, ask=False)
    foreseen = {"waiting": proposal.waiting, "replaces": proposal.replaces}
    if dry_run:
        desk.check_managers(here.app, [proposal])
        return shapes.Mapped(row=None, released=0, **foreseen)
    released = desk.map_managers(here.app, [proposal], actor=here.actor, bell=here.bell)
    found = lists.mapping_row(here.app.db, flow, proposal.erp.key)
    if found is None:
        raise NotKnown(f"flow {flow}: the row of {erp} was removed again just now; look at it, and map them again")
    return shapes.Mapped(row=_row(found), released=released, **foreseen)


@router.delete(
    "/managers/map/{flow}/{erp:path}",
    status_code=204,
    response_class=Response,
    summary="Unmap a manager",
    responses=may_answer(*CHANGES, AMBIGUOUS),
)
def unmap_manager(here: Here, flow: FlowName, erp: Erp) -> None:
    """Remove a mapping row. Records keep the manager they have."""
    desk.unmap_manager(here.app, flow, erp, actor=here.actor)


def _row(row: lists.Row) -> shapes.MappingRow:
    return shapes.MappingRow(**{**row, "at": reports.iso(row["at"])})

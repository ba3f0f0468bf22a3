"""Runs: imports, uploads and the like, and what each says about every record."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from sync_worker import reports
from sync_worker.desk.refusals import NotKnown
from sync_worker.events import LARGEST_ID
from sync_worker.store import lists
from sync_worker.web.api import shapes
from sync_worker.web.api.here import Context, Here, may_answer
from sync_worker.web.api.paging import Paged, Word, cursor, position
from sync_worker.web.api.problems import NOT_FOUND

router = APIRouter(tags=["runs"])

RunId = Annotated[int, Path(alias="run", ge=1, le=LARGEST_ID, description="`id` in the list")]


class RunQuery(Paged):
    """Which runs; all that is given must hold."""

    flow: Word | None = Field(default=None, description="of one flow")
    kind: Word | None = Field(default=None, description="of one kind", examples=["import"])
    state: Word | None = Field(default=None, description="in one state")


class RowQuery(Paged):
    """Which rows of the run."""

    verdict: Word | None = Field(default=None, description="those with this verdict")


@router.get("/runs", summary="List runs", responses=may_answer())
def list_runs(here: Here, query: Annotated[RunQuery, Query()]) -> shapes.Runs:
    """The latest first."""
    after = position("runs", query.after, int)
    where = {name: value for name in ("flow", "kind", "state") if (value := getattr(query, name)) is not None}
    page = lists.latest_runs(here.app.db, where, after, query.limit)
    return shapes.Runs(items=[_run(row) for row in page.rows], next=cursor("runs", page))


@router.get("/runs/{run}", summary="Show a run", responses=may_answer(NOT_FOUND))
def show_run(here: Here, run_id: RunId) -> shapes.Run:
    """What was asked for, how far it is, and its counts."""
    return _run(_known(here, run_id))


@router.get("/runs/{run}/rows", summary="List a run's rows", responses=may_answer(NOT_FOUND))
def list_run_rows(here: Here, run_id: RunId, query: Annotated[RowQuery, Query()]) -> shapes.RunRows:
    """What the run says about each record, by key."""
    after = position(f"run {run_id}", query.after, str)
    _known(here, run_id)
    page = lists.rows_of_run(here.app.db, run_id, query.verdict, after, query.limit)
    rows = [{**row, "link": row["link_id"]} for row in page.rows]
    items = [shapes.RunRow(**{name: row[name] for name in shapes.RunRow.model_fields}) for row in rows]
    return shapes.RunRows(items=items, next=cursor(f"run {run_id}", page))


def _known(here: Context, run_id: int) -> lists.Row:
    found = lists.one_run(here.app.db, run_id)
    if found is None:
        raise NotKnown(f"there is no run {run_id}; GET /api/v1/runs lists those there are")
    return found


def _run(row: lists.Row) -> shapes.Run:
    times = {name: reports.iso(row[name]) for name in ("started_at", "ended_at")}
    return shapes.Run(**{name: {**row, **times}[name] for name in shapes.Run.model_fields})

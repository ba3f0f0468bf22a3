"""How it stands."""

from __future__ import annotations

from fastapi import APIRouter

from sync_worker import desk
from sync_worker.web.api import shapes
from sync_worker.web.api.here import Here, may_answer

router = APIRouter(tags=["status"])


@router.get("/status", summary="Show the status", responses=may_answer())
def show_status(here: Here) -> shapes.Status:
    """Links by state, due now, oldest due, lag per flow, systems up or down."""
    return shapes.Status(**desk.status(here.app))

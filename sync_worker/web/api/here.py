"""What every route needs: the application, who asks, and how the workers hear of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from sync_worker.desk.managers import flow_of
from sync_worker.desk.shared import Bell, known_system
from sync_worker.engine.flow import Flow
from sync_worker.web.api import problems
from sync_worker.web.api.problems import Kind, Problem
from sync_worker.wiring import App


@dataclass(frozen=True, slots=True)
class Context:
    """One request's surroundings. ``actor``: the token's name, which signs the journal."""

    app: App
    bell: Bell
    actor: str

    def flows(self, name: str | None) -> list[Flow]:
        """This flow, or all of them. Raises ``NotKnown``."""
        return list(self.app.flows.values()) if name is None else [flow_of(self.app, name)]

    def systems(self, name: str | None) -> list[str]:
        """This system, or all of them. Raises ``NotKnown``."""
        return sorted(self.app.systems) if name is None else [known_system(self.app, name)]


async def _context(request: Request) -> Context:
    return Context(request.app.state.app, request.app.state.bell, request.scope["account"].name)


Here = Annotated[Context, Depends(_context)]

# The gate has asked for the token; this says so in the OpenAPI document.
BEARER = Security(HTTPBearer(auto_error=False, description="made by `sync-worker tokens add NAME`"))


def may_answer(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for the OpenAPI document; those that every route has are added."""
    usual = (problems.UNAUTHORIZED, problems.INVALID, problems.UNAVAILABLE)
    listed: dict[int | str, dict[str, Any]] = {}
    for kind in sorted({*usual, *kinds}, key=lambda kind: (kind.status, kind.name)):
        said = listed.get(kind.status, {}).get("description")
        listed[kind.status] = {"model": Problem, "description": f"{said}; {kind.title}" if said else kind.title}
    return listed


CHANGES = (problems.FORBIDDEN, problems.NOT_FOUND, problems.TOO_LARGE)

"""The API put together: routes, problems, the OpenAPI document, its page, the gate around all of it."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from sync_worker.desk.shared import Bell
from sync_worker.web.api import history, links, managers, overview, page, problems, runs
from sync_worker.web.api.gate import Gate
from sync_worker.web.api.here import BEARER
from sync_worker.wiring import App

DOCUMENT = "/api/openapi.json"
VERSION = "1"
ABOUT = (
    "Links, events, managers and runs, for scripts. Send `Authorization: Bearer TOKEN`; `sync-worker tokens add NAME` "
    "makes a token. A token of role `read` sees customers' data and changes nothing; `operate` may change things too, "
    "and its name signs the journal.\n\n"
    "Lists come in pages: give `next` of one page as `after` of the next. What goes wrong is answered as a problem "
    "document (RFC 9457)."
)
_DONE = {"200": "OK", "202": "Stored; the workers do it", "204": "Done"}


def build(app: App, bell: Bell) -> ASGIApp:
    """The application to be mounted at ``/api``. ``bell``: tells the workers what a request made due; must not wait."""
    api = make()
    api.state.app = app
    api.state.bell = bell
    return Gate(api, app.db)


def make() -> FastAPI:
    """The routes alone, with the document and its page."""
    api = FastAPI(
        title="sync-worker",
        version=VERSION,
        description=ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for subject in (overview, links, history, managers, runs):
        api.include_router(subject.router, prefix="/api/v1", dependencies=[BEARER])
    problems.handle(api)

    @functools.cache
    def document() -> dict[str, Any]:
        return describe(api)

    def show_document(_request: Request) -> Response:
        return JSONResponse(document())

    def show_page(_request: Request) -> Response:
        return HTMLResponse(page.render(document()), headers=page.HEADERS)

    api.add_route(DOCUMENT, show_document, include_in_schema=False)
    api.add_route(problems.DOCS, show_page, include_in_schema=False)
    return api


def describe(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. Problems have a media type of their own, and every change says which role it needs."""
    document = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method != "get":
                operation["description"] += "\n\nNeeds a token of role `operate`."
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    response["description"] = _DONE[status]
                else:
                    response["content"] = {problems.MEDIA_TYPE: response["content"]["application/json"]}
    return document

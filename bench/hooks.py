"""Webhook acknowledgements a second: verified, deduplicated, durably stored (SQLite FULL), rings sent.

Against a Starlette route that reads the body, verifies the signature and answers: same uvicorn settings, same process
that posts, in turns. ``python -m bench.hooks PORT`` is that route. The notices are about linked customers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import uvicorn
from sqlalchemy import func, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bench import instant
from bench.figures import Figure, Size, ratio
from bench.filling import FIRST, link_all
from bench.rig import SECRET, Rig, rig
from sync_worker.connectors import CONNECTORS
from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.standard_webhooks import verify
from sync_worker.demo.ports import answers, free_ports
from sync_worker.processes import end_with_parent, exit_on_signal, listen
from sync_worker.store.tables import event
from sync_worker.web.app import GRACE_SECONDS

NOTICES = 8000
CUSTOMERS = 2000


def measure(size: Size) -> list[Figure]:
    """Acknowledgements a second of the web process against the bare route."""
    count = size.of(NOTICES)
    real = dict(CONNECTORS)
    instant.use(edited=False)
    try:
        with rig() as stage:
            link_all(stage, [(str(n), str(n)) for n in range(FIRST, FIRST + CUSTOMERS)])
            stage.start_web()
            (port,) = free_ports(1)
            stage.spawn("bare", [sys.executable, "-m", "bench.hooks", str(port)])
            stage.wait_for("bare", lambda: answers(port, "/healthz"))
            mine, base = [], []
            for _ in range(size.repeats):
                base.append(_rate(port, count))
                mine.append(_rate(stage.web_port, count))
            _check_stored(stage, count * size.repeats)
    finally:
        CONNECTORS.update(real)
    name = "webhook acknowledgements, against a route that only verifies"
    return [ratio(name, mine, base, 0.45, "a second", goal=0.5)]


def _rate(port: int, count: int) -> float:
    argv = [sys.executable, "-m", "bench.load", *(str(n) for n in (port, count, FIRST, CUSTOMERS))]
    answer = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert answer["good"] == count, f"{answer['good']} of {count} notices were acknowledged"
    return count / float(answer["seconds"])


def _check_stored(stage: Rig, count: int) -> None:
    with stage.db.read() as conn:
        stored = conn.execute(select(func.count()).select_from(event)).scalar_one()
    assert stored == count, f"{stored} of {count} acknowledged notices were stored"


async def only_verify(request: Request) -> Response:
    """The bare route."""
    body = await request.body()
    try:
        verify(SECRET, request.headers, body, time.time())
    except HookRefused as refused:
        return JSONResponse({"error": refused.reason}, status_code=refused.status)
    return JSONResponse({"status": "ok"})


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def main(port: int) -> None:
    """Serve the bare route as ``sync_worker.web.app`` serves ours."""
    exit_on_signal()
    end_with_parent()
    routes = [Route("/hooks/{system}", only_verify, methods=["POST"]), Route("/healthz", _alive)]
    settings = uvicorn.Config(
        Starlette(routes=routes),
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(settings).run(sockets=[listen("127.0.0.1", port)])


if __name__ == "__main__":
    main(int(sys.argv[1]))

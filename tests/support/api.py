"""The web process's site served over a real socket, in a thread of the test, for a world with both vendors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import uvicorn

from support.valkey import QueueServer
from support.waiting import until
from support.world import World
from sync_worker.processes import listen
from sync_worker.store import accounts
from sync_worker.web.app import Site


class Answer:
    """What came back. ``json``: the document, if there is one."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, {name.lower(): value for name, value in headers.items()}, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:400]!r}"


class Api:
    """Asks as a script would. ``token``: of role operate, unless said otherwise; ``reader``: of role read."""

    def __init__(self, world: World, port: int) -> None:
        self.world, self.port = world, port
        self.token = accounts.add_token(world.db, "ops", "operate", actor="cli")
        self.reader = accounts.add_token(world.db, "viewer", "read", actor="cli")

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """``path``: below /api/v1 unless it begins with /api. ``body``: bytes as they are, else sent as JSON."""
        where = path if path.startswith("/api") else f"/api/v1{path}"
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("authorization", f"Bearer {token or self.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, where + (f"?{urlencode(query)}" if query else ""), body, sent)
            found = connection.getresponse()
            return Answer(found.status, dict(found.getheaders()), found.read())

    def get(self, path: str, **query: Any) -> Any:
        """The document of a GET that must succeed."""
        answer = self.ask("GET", path, token=self.reader, **query)
        assert answer.status == 200, answer
        return answer.json

    def pages(self, path: str, limit: int, **query: Any) -> Iterator[list[Any]]:
        """The items of each page, until there is no next one."""
        after: dict[str, str] = {}
        while True:
            page = self.get(path, limit=limit, **query, **after)
            yield page["items"]
            if page["next"] is None:
                return
            after = {"after": page["next"]}


@contextmanager
def served(world: World, queue: QueueServer) -> Iterator[Api]:
    """The site of a world's application, up until the end of the block."""
    sock = listen("127.0.0.1", 0)
    site = Site(world.app, queue.url, supervised=False)
    settings = uvicorn.Config(site.build(), lifespan="on", access_log=False, log_config=None, server_header=False)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="site")
    thread.start()
    try:
        until(lambda: server.started)
        yield Api(world, sock.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()

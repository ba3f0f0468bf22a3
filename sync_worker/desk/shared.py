"""What all that a person does has in common: the application, who signs, which records are meant, ringing for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from sqlalchemy import Connection, insert

from mappings.memory import SIDES
from sync_worker import broker, reports, wiring
from sync_worker.config import Config
from sync_worker.connectors.shared_slots import RedisLimiter
from sync_worker.desk.refusals import Ambiguous, NotKnown
from sync_worker.doorbell import Doorbell
from sync_worker.errors import ConfigError
from sync_worker.processes import worker_processes
from sync_worker.queue_server import socket_url
from sync_worker.store import migrate
from sync_worker.store.rows import LinkRow
from sync_worker.store.tables import journal
from sync_worker.store.touches import Touched
from sync_worker.wiring import App

ACTOR = "cli"

Bell = Callable[[Sequence[Touched]], None]
"""How the workers hear at once of what a person made due."""


@contextmanager
def opened(config: Config) -> Iterator[App]:
    """An application for one command. Raises ConfigError when the database was never migrated."""
    if migrate.standing(config.database.url) == "behind":
        raise ConfigError("the database is not at this version's tables: run sync-worker migrate (or run)")
    limiter = _limiter(config)
    app = wiring.build(config, starting=False, limiter=limiter)
    try:
        yield app
    finally:
        app.close()
        if limiter is not None:
            limiter.close()


def _limiter(config: Config) -> RedisLimiter | None:
    """The vendors' call slots that the workers share, so that a command does not come on top; None: nobody is up."""
    url = config.queue.url or socket_url(config.data_dir)
    if not url:
        return None
    client = broker.connect(url, timeout=1.0)
    try:
        client.ping()
    except redis.RedisError:
        client.close()
        return None
    return RedisLimiter(client, processes=worker_processes())


def note(
    conn: Connection,
    app: App,
    links: Sequence[tuple[int | None, str]],
    what: str,
    actor: str,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Journal what a person did to links, given by id and flow, or to a whole flow or system (no id)."""
    told = {"at": app.db.now(conn), "what": what, "after": after, "why": "a person's choice", "actor": actor}
    if links:
        conn.execute(insert(journal), [{"link_id": link_id, "flow": flow, **told} for link_id, flow in links])


def known_system(app: App, system: str) -> str:
    """A configured system. Raises ``NotKnown``."""
    if system not in app.systems:
        raise NotKnown(f"no system {system}; there are: {', '.join(sorted(app.systems))}")
    return system


def records(app: App, system: str, key: str) -> list[LinkRow]:
    """The links of a record, by API key or human reference. Raises ``NotKnown`` and ``Ambiguous``."""
    rows = reports.find_links(app.db, app.flows, known_system(app, system), key)
    if not rows:
        raise NotKnown(f"{system} {key}: this record is not known here; sync it first: sync-worker sync {system} {key}")
    one_key(app, system, rows)
    return rows


def one_key(app: App, system: str, rows: list[LinkRow]) -> str:
    """The API key these rows share; several keys mean the reference was ambiguous."""
    keys = {row.key(side) for row in rows for side in SIDES if app.flows[row.flow].systems[side] == system}
    if len(keys) > 1:
        named = ", ".join(f"key:{k}" for k in sorted(map(str, keys)))
        raise Ambiguous(f"{system} has several records of this key or reference; name one: {named}")
    return str(next(iter(keys)))


def ring(app: App, touched: tuple[Touched, ...], bell: Bell | None = None) -> None:
    """Ring at once where a queue server is known; otherwise the ringer finds them within a second."""
    if bell is not None:
        return bell(touched)
    if not app.config.queue.url:
        return None
    queue = broker.make_broker(app.config.queue.url)
    try:
        Doorbell(queue).ring(touched)
    except redis.RedisError:
        return None
    finally:
        queue.close()

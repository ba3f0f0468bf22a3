"""``doctor``: is everything as it must be? One line each, with the fix; nothing is written anywhere."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from sync_worker import broker, wiring
from sync_worker.alerts.turn import targets
from sync_worker.config import Config
from sync_worker.connectors.base import Check, Connector
from sync_worker.connectors.exchange import LOOPBACK
from sync_worker.errors import SyncError
from sync_worker.events import SIDES
from sync_worker.store import migrate
from sync_worker.store.session import Database

# Workers count as up by signs of life a few seconds old, and webhooks by their age: both by the machine's own clock.
CLOCKS_APART = 2.0


def run(config: Config) -> list[Check]:
    """All checks, in the order in which a person would mend them."""
    queue, hosts = _queue(config)
    found = [Check("config", ok=True, detail=str(config.path)), *_flows(config), _secrets(config, hosts)]
    return [*found, *_database(config), queue, *_hosts(config, hosts), *_systems(config), *_alerts(config)]


def _flows(config: Config) -> list[Check]:
    if config.flows:
        return []
    return [Check("flows", ok=False, detail="there is none, so nothing is synced", fix="add [flows.customers]")]


def _secrets(config: Config, hosts: Collection[str]) -> Check:
    if config.secrets.key is not None:
        keys = len(config.secret_keys())
        if keys == 1:
            return Check("secrets.key", ok=True, detail="given by the configuration")
        fix = "sync-worker secrets rotate moves everything to the first; then leave only that one"
        return Check("secrets.key", ok=True, detail=f"{keys} keys, given by the configuration", fix=fix)
    detail = f"a key file in {config.data_dir} (mode 0600)"
    if config.key_path.exists() and len(config.secret_keys()) > 1:
        fix = "a rotation was stopped: run sync-worker secrets rotate again"
        return Check("secrets.key", ok=False, detail=f"{detail} with two keys", fix=fix)
    if len(hosts) > 1:
        detail += f", but workers report from {len(hosts)} hosts: with a key file each, they cannot share tokens"
    fix = 'keep a copy of it; for several machines set [secrets] key = "env:SYNC_SECRET_KEY"'
    return Check("secrets.key", ok=True, detail=detail, fix=fix)


def _database(config: Config) -> list[Check]:
    db = Database(config.database.url)
    try:
        ahead = _seconds_ahead(db)
        standing = migrate.standing(config.database.url)
    except SQLAlchemyError as error:
        file = "is the file a whole database, and ours to write in? else restore a backup"
        fix = file if db.is_sqlite else "is the server up, and the URL right?"
        return [Check("database.url", ok=False, detail=f"{_place(config)}: {type(error).__name__}", fix=fix)]
    finally:
        db.close()
    if standing == "behind":
        return [Check("database", ok=False, detail="tables are missing or old", fix="sync-worker migrate")]
    newer = "a newer version of sync-worker has migrated it" if standing == "ahead" else ""
    database = Check("database", ok=True, detail=newer, fix="bring this machine to that version" if newer else "")
    if abs(ahead) > CLOCKS_APART:
        detail = f"this machine's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        return [database, Check("clock", ok=False, detail=detail, fix="set both by NTP")]
    return [database]


def _place(config: Config) -> str:
    """Where the database is, without user and password."""
    url = make_url(config.database.url)
    return str(url.database) if url.host is None else f"{url.host}:{url.port or 5432}"


def _seconds_ahead(db: Database) -> float:
    """This machine's clock minus the database's. Raises ``SQLAlchemyError``."""
    with db.read() as conn:
        return time.time() - db.now(conn)


def _hosts(config: Config, hosts: Collection[str]) -> list[Check]:
    if len(hosts) < 2 or not config.database.url.startswith("sqlite"):
        return []
    detail = f"workers report from {len(hosts)} hosts ({', '.join(sorted(hosts))}), and SQLite serves one"
    return [Check("hosts", ok=False, detail=detail, fix="PostgreSQL for all of them: [database] url or DATABASE_URL")]


def _queue(config: Config) -> tuple[Check, set[str]]:
    """The check, and the hosts whose workers report to this queue server."""
    if config.queue.url is None:
        return Check("queue", ok=True, detail="none configured: `sync-worker run` starts one of its own"), set()
    hosts: set[str] = set()
    client = broker.connect(config.queue.url, timeout=2.0)
    try:
        hosts = broker.hosts_up(client)
        policy = dict(client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except redis.ResponseError as error:  # hosted servers keep their configuration to themselves
        detail = f"its maxmemory-policy cannot be asked for ({str(error).partition(' ')[0]})"
        return Check("queue", ok=True, detail=detail, fix="see for yourself that it is noeviction"), hosts
    except redis.RedisError as error:
        detail = f"{broker.place_of(client)}: {type(error).__name__}"
        fix = "start the queue server, or correct REDIS_URL or [queue] url"
        return Check("queue.url", ok=False, detail=detail, fix=fix), set()
    finally:
        client.close()
    if policy != "noeviction":
        return Check("queue", ok=False, detail=f"maxmemory-policy is {policy}", fix="set it to noeviction"), hosts
    return Check("queue", ok=True), hosts


def _systems(config: Config) -> list[Check]:
    """Each vendor's own checks."""
    found = [one for name, system in config.systems.items() if (one := _plain(name, system.base_url)) is not None]
    with apart(config) as app:
        for name, connector in app.systems.items():
            views = [f.connectors[side] for f in app.flows.values() for side in SIDES if f.systems[side] == name]
            for view in views or [connector]:  # every flow has columns and ids of its own
                found += [one for one in _checks(name, view) if one not in found]
    return found


@contextmanager
def apart(config: Config) -> Iterator[wiring.App]:
    """The application over a database that is thrown away: a stored token would hide wrong credentials."""
    with tempfile.TemporaryDirectory(prefix="sync-doctor-") as folder:
        url = f"sqlite:///{folder}/doctor.db"
        migrate.upgrade(url)
        app = wiring.build(config, db=Database(url), starting=False)
        try:
            yield app
        finally:
            app.close()


def _plain(name: str, url: str) -> Check | None:
    """What to say of an address without TLS; some systems inside a company's network have no other."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname in LOOPBACK:
        return None
    detail = f"{parts.scheme}:// sends password and customers readably over the network"
    return Check(f"systems.{name}: base_url", ok=True, detail=detail, fix=f"https:// in systems.{name}.base_url")


def _alerts(config: Config) -> list[Check]:
    """Would a message be taken? Signs in at the mail server, looks for the webhook's receiver, and sends nothing."""
    if not config.alerts.tells_somebody:
        fix = "to be told of what waits too long, set smtp and to, or webhook and webhook_secret, under [alerts]"
        return [Check("alerts", ok=True, detail="nobody is told", fix=fix)]
    found = []
    for target in targets(config.alerts):
        try:
            target.check()
            found.append(Check(f"alerts: {target.name}", ok=True))
        except SyncError as error:
            fix = "correct [alerts], then try it out: sync-worker alerts test"
            found.append(Check(f"alerts: {target.name}", ok=False, detail=str(error), fix=fix))
    return found


def _checks(name: str, connector: Connector) -> list[Check]:
    try:
        checks = connector.check()
    except SyncError as error:
        fix = f"systems.{name}.base_url, or the network"
        checks = [Check("reach", ok=False, detail=str(error), fix=fix)]
    return [Check(f"systems.{name}: {c.name}", ok=c.ok, detail=c.detail, fix=c.fix) for c in checks]

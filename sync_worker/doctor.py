"""``doctor``: is everything as it must be? One line each, with the fix; nothing is written anywhere."""

from __future__ import annotations

import tempfile

import redis
from sqlalchemy.exc import SQLAlchemyError

from sync_worker import broker, wiring
from sync_worker.alerts.turn import targets
from sync_worker.config import Config
from sync_worker.connectors.base import Check, Connector
from sync_worker.errors import SyncError
from sync_worker.events import SIDES
from sync_worker.store import migrate
from sync_worker.store.session import Database


def run(config: Config) -> list[Check]:
    """All checks, in the order in which a person would mend them."""
    found = [Check("config", ok=True, detail=str(config.path)), _secrets(config)]
    return [*found, _database(config), _queue(config), *_systems(config), *_alerts(config)]


def _secrets(config: Config) -> Check:
    if config.secrets.key is not None:
        return Check("secrets.key", ok=True, detail="given by the configuration")
    return Check(
        "secrets.key",
        ok=True,
        detail=f"a key file in {config.data_dir} (mode 0600)",
        fix='for several machines set [secrets] key = "env:SYNC_SECRET_KEY"',
    )


def _database(config: Config) -> Check:
    db = Database(config.database.url)
    try:
        db.ping()
        current = migrate.is_current(config.database.url)
    except SQLAlchemyError as error:
        return Check("database.url", ok=False, detail=type(error).__name__, fix="is the server up, and the URL right?")
    finally:
        db.close()
    if not current:
        return Check("database", ok=False, detail="tables are missing or old", fix="sync-worker migrate")
    return Check("database", ok=True)


def _queue(config: Config) -> Check:
    if config.queue.url is None:
        return Check("queue", ok=True, detail="none configured: `sync-worker run` starts one of its own")
    try:
        client = broker.connect(config.queue.url, timeout=2.0)
        client.ping()
        policy = dict(client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except redis.RedisError as error:
        return Check(
            "queue.url", ok=False, detail=type(error).__name__, fix="start the queue server or correct the URL"
        )
    if policy != "noeviction":
        return Check("queue", ok=False, detail=f"maxmemory-policy is {policy}", fix="set it to noeviction")
    return Check("queue", ok=True)


def _systems(config: Config) -> list[Check]:
    """Each vendor's own checks, over a database that is thrown away: a stored token would hide wrong credentials."""
    found: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="sync-doctor-") as folder:
        url = f"sqlite:///{folder}/doctor.db"
        migrate.upgrade(url)
        app = wiring.build(config, db=Database(url), starting=False)
        try:
            for name, connector in app.systems.items():
                views = [f.connectors[side] for f in app.flows.values() for side in SIDES if f.systems[side] == name]
                for view in views or [connector]:  # every flow has columns and ids of its own
                    found += [one for one in _checks(name, view) if one not in found]
        finally:
            app.close()
    return found


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

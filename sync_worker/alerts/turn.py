"""One turn of the alerts: look, decide, tell every target, remember.

What was told is stored only once the target took it, so a message may come twice (under the same id) but is never
lost. While a target fails, the turns come with the scheduler's backoff: every four minutes in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import structlog

from sync_worker.alerts import message
from sync_worker.alerts.hook import Hook
from sync_worker.alerts.mail import Mail, server_of
from sync_worker.alerts.message import Message
from sync_worker.alerts.rule import Standing, Subject, Told, decide
from sync_worker.alerts.standing import standing
from sync_worker.config import AlertsConfig, Config
from sync_worker.errors import ConfigError, RetryableError, SyncError
from sync_worker.store import alerts
from sync_worker.store.session import Database

log = structlog.get_logger(__name__)

# A target that refuses (a wrong password) is not asked every few minutes: mail servers lock accounts that keep trying.
REFUSED_SECONDS = 900.0


class Target(Protocol):
    """Somebody to tell. ``name``: mail or webhook."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Raises SyncError when it was not taken."""

    def check(self) -> None:
        """Raises SyncError when a message could not be sent now; sends none."""


class NotTold(RetryableError):
    """A target did not take a message. It is tried again."""

    code = "not_told"


def targets(settings: AlertsConfig, clock: Callable[[], float] = time.time) -> list[Target]:
    """Whom the configuration names."""
    found: list[Target] = []
    if settings.smtp is not None:
        found.append(Mail(server_of(settings.smtp.get_secret_value()), settings.to, settings.sender))
    if settings.webhook is not None and settings.webhook_secret is not None:
        url, secret = settings.webhook.get_secret_value(), settings.webhook_secret.get_secret_value()
        found.append(Hook(url, secret, clock))
    return found


def try_out(config: Config) -> list[tuple[str, str | None]]:
    """Send every target a message marked as a test: its name, and what went wrong. Raises ConfigError: none named."""
    if not config.alerts.tells_somebody:
        raise ConfigError("nobody is told: set smtp and to, or webhook and webhook_secret, under [alerts]")
    now = time.time()
    results: list[tuple[str, str | None]] = []
    for target in targets(config.alerts):
        try:
            target.send(message.trial(target=target.name, public_url=config.web.public_url, now=now))
        except SyncError as error:
            results.append((target.name, f"{error.code}: {error}"))
        else:
            results.append((target.name, None))
    return results


class Alerts:
    """What the scheduler runs. ``to``: the targets, those of the configuration unless given."""

    def __init__(self, db: Database, config: Config, to: Sequence[Target] | None = None) -> None:
        self._db = db
        self._config = config
        self._targets = targets(config.alerts, db.clock) if to is None else to
        self._refusals: dict[str, tuple[float, SyncError]] = {}

    def turn(self) -> None:
        """Tell everybody what is new. Raises NotTold when somebody could not be told, ``SQLAlchemyError``."""
        stands = standing(self._db, self._config)
        failed = []
        for target in self._targets:
            try:
                self._tell(target, stands)
            except SyncError as error:
                failed.append(f"{target.name}: {error.code}: {error}")
        if failed:
            raise NotTold("alerts are kept and sent later; " + "; ".join(failed))

    def _tell(self, target: Target, stands: Sequence[Standing]) -> None:
        now = self._db.clock()
        before = [_told(row) for row in alerts.load(self._db, target.name)]
        turn = decide(stands, before, now)
        if set(turn.seen) != set(before):
            alerts.replace(self._db, target.name, [_row(one) for one in turn.seen])
        if not turn.lines:
            return
        composed = message.compose(turn.lines, target=target.name, public_url=self._config.web.public_url, now=now)
        self._send(target, composed, now)
        alerts.replace(self._db, target.name, [_row(one) for one in turn.told(now)])
        counts = {status: sum(line.status == status for line in turn.lines) for status in message.TITLES}
        log.info("alerts.told", target=target.name, message=composed.id, **counts)

    def _send(self, target: Target, composed: Message, now: float) -> None:
        until, refusal = self._refusals.get(target.name, (0.0, None))
        if refusal is not None and now < until:
            raise refusal
        try:
            target.send(composed)
        except SyncError as error:
            asked = error.after if isinstance(error, RetryableError) else REFUSED_SECONDS
            self._refusals[target.name] = (now + (asked or 0.0), error)
            raise
        self._refusals.pop(target.name, None)


def _told(row: dict[str, Any]) -> Told:
    subject = Subject(row["kind"], row["name"], row["state"], row["cause"])
    return Told(subject, row["since"], row["ended_at"], row["told_at"], row["told_count"])


def _row(one: Told) -> dict[str, Any]:
    values = {name: value for name, value in asdict(one).items() if name != "subject"}
    return {**one.subject._asdict(), **values}

"""Alerts as a person meets them: the test message, doctor, and the scheduler's list of tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.hook_sink import HookSink
from support.mail import MailSink
from support.valkey import until
from sync_worker import config as configuration
from sync_worker import doctor, housekeeping, wiring
from sync_worker.cli import app
from sync_worker.config import Config
from sync_worker.connectors.base import Check
from sync_worker.ringer import Ringer
from sync_worker.store import pauses, schedules
from sync_worker.store.session import Database

SECRET = "whsec_YWxlcnRzLXNlY3JldC1vZi10aGlydHktdHdvLWJ5dGVzLTA="


@pytest.fixture
def mail() -> Iterator[MailSink]:
    sink = MailSink()
    yield sink
    sink.stop()


@pytest.fixture
def hook() -> Iterator[HookSink]:
    sink = HookSink(SECRET)
    yield sink
    sink.close()


def lines(mail: MailSink, hook: HookSink) -> str:
    return (
        f'[alerts]\nsmtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\n'
        f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
    )


def checks(config: Config) -> dict[str, Check]:
    return {one.name: one for one in doctor.run(config) if one.name.startswith("alerts")}


def test_alerts_test_sends_one_marked_message_to_everybody(tmp_path: Path, mail: MailSink, hook: HookSink) -> None:
    file = tmp_path / "sync.toml"
    file.write_text(lines(mail, hook))
    done = CliRunner().invoke(app, ["alerts", "test", "--config", str(file)])
    assert (done.exit_code, done.stdout) == (0, "mail: sent\nwebhook: sent\n")
    assert [m["Subject"] for m in mail.mails] == ["[sync-worker 127.0.0.1] test: alerts reach you"]
    assert [body["type"] for _, body in hook.taken] == ["alerts.test"]


def test_alerts_test_says_who_could_not_be_told_and_why(tmp_path: Path, mail: MailSink, hook: HookSink) -> None:
    file = tmp_path / "sync.toml"
    file.write_text(lines(mail, hook))
    mail.stop()
    hook.status = 302
    done = CliRunner().invoke(app, ["alerts", "test", "--config", str(file)])
    assert done.exit_code == 1
    first, second = done.stdout.splitlines()
    assert first.startswith("mail: system_unavailable: mail server: not reached")
    assert second == "webhook: rejected: alerts.webhook: it answers HTTP 302, which leads elsewhere: give that address"


def test_alerts_test_without_a_target_is_a_matter_of_configuration(tmp_path: Path) -> None:
    file = tmp_path / "sync.toml"
    file.write_text("")
    done = CliRunner().invoke(app, ["alerts", "test", "--config", str(file)])
    assert isinstance(done.exception, configuration.ConfigError)
    assert "nobody is told: set smtp and to" in str(done.exception)


def test_doctor_signs_in_and_looks_for_the_receiver_and_sends_nothing(
    tmp_path: Path, mail: MailSink, hook: HookSink
) -> None:
    env = {"SYNC_DATA_DIR": str(tmp_path)}
    config = configuration.parse(lines(mail, hook), env)
    assert {name: one.ok for name, one in checks(config).items()} == {"alerts: mail": True, "alerts: webhook": True}
    assert (mail.mails, hook.taken) == ([], [])
    assert hook.seen == [("HEAD", "/alerts?token=hush-hush", 405)]
    mail.stop()
    hook.close()
    found = checks(config)
    assert {name: one.ok for name, one in found.items()} == {"alerts: mail": False, "alerts: webhook": False}
    assert all("sync-worker alerts test" in one.fix for one in found.values())
    nobody = checks(configuration.parse("", env))
    assert (nobody["alerts"].ok, nobody["alerts"].detail) == (True, "nobody is told")


NOBODY: Any = None  # the list is looked at, nothing of it runs
SYSTEM = """
[systems.erp]
connector = "intacct"
base_url = "http://127.0.0.1:1/ia/api/v1"
client_id = "a"
client_secret = "b"
username = "u@c"
"""
# A scheduler process with two of its tasks, the alerts every fifth of a second.
SCHEDULER = """
import sys
from sync_worker import config, housekeeping, logs, wiring
from sync_worker.processes import StopSignal, end_with_parent
from sync_worker.ringer import Ringer
from sync_worker.scheduler import Scheduler

end_with_parent()
logs.configure("debug", json=True)
housekeeping.ALERT_SECONDS = 0.2
app = wiring.build(config.load())
tasks = housekeeping.tasks_for(app, None, Ringer(app.db, None, None))
tasks = [task for task in tasks if task.name in ("alerts", "counters")]
sys.exit(Scheduler(app.db, tasks).run(StopSignal()))
"""


def test_the_scheduler_has_alerts_only_where_somebody_is_named(tmp_path: Path, sqlite_url: str) -> None:
    env = {"SYNC_DATA_DIR": str(tmp_path), "DATABASE_URL": sqlite_url}
    for told in ("", '[alerts]\nsmtp = "smtp://127.0.0.1"\nto = ["ops@acme.example"]\n'):
        made = wiring.build(configuration.parse(SYSTEM + told, env))
        names = {task.name for task in housekeeping.tasks_for(made, NOBODY, Ringer(made.db, NOBODY, NOBODY))}
        made.close()
        assert ("alerts" in names) == bool(told)


def test_a_scheduler_whose_mail_server_is_away_goes_on_and_tells_once_it_is_back(
    tmp_path: Path, database_url: str, mail: MailSink
) -> None:
    file = tmp_path / "sync.toml"
    file.write_text(
        f'{SYSTEM}[alerts]\nsmtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\nlag_seconds = 1\n'
    )
    env = {**os.environ, "SYNC_DATA_DIR": str(tmp_path), "DATABASE_URL": database_url, "SYNC_CONFIG": str(file)}
    db = Database(database_url)
    pauses.pause(db, "system", "erp", "auth_failed", "HTTP 401")
    mail.stop()
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-c", SCHEDULER], env=env, stderr=stderr)

    def status(name: str) -> schedules.Status | None:
        return next((one for one in schedules.statuses(db) if one.name == name), None)

    def error() -> str | None:
        found = status("alerts")
        return found.last_error if found else None

    try:
        until(lambda: "mail server: not reached" in (error() or ""), 30)
        mail.start()
        until(lambda: mail.mails, 60)
        until(lambda: error() is None, 60)
        counted = status("counters")
        assert counted is not None and counted.last_error is None and counted.last_at is not None
        assert [m["Subject"] for m in mail.mails] == ["[sync-worker 127.0.0.1] system erp: paused"]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        db.close()
    assert "ops@" not in log.read_text() and "not_told" in log.read_text()

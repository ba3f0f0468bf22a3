"""Alerts from the tables to a real mail server and a real receiver of webhooks, on SQLite and PostgreSQL."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import delete, select

from support.alerts import SECRET, by_hook, by_mail, end_all, make_links, parse, text_of, wait_on
from support.clock import FakeClock
from support.hook_sink import HookSink
from support.mail import MailSink, certificate
from sync_worker import logs
from sync_worker.alerts.turn import Alerts, NotTold
from sync_worker.store.session import Database
from sync_worker.store.tables import alert


@pytest.fixture
def mail() -> Iterator[MailSink]:
    sink = MailSink()
    yield sink
    sink.stop()


@pytest.fixture
def hook(clock: FakeClock) -> Iterator[HookSink]:
    sink = HookSink(SECRET, clock)
    yield sink
    sink.close()


# ----- one message


def test_500_links_of_one_cause_are_one_mail_and_then_there_is_silence(
    db: Database, clock: FakeClock, mail: MailSink
) -> None:
    ids = make_links(db, 500, state="waiting", cause="manager_unmapped", hours=5)
    wait_on(db, ids[:480], "account_manager:erp:E-12")
    wait_on(db, ids[480:], "account_manager:erp:E-13")
    alerts = Alerts(db, by_mail(mail))
    for _ in range(20):
        alerts.turn()
        clock.advance(180)
    assert len(mail.mails) == 1
    assert mail.receivers == [["ops@acme.example", "boss@acme.example"]]
    assert mail.mails[0]["Subject"] == "[sync-worker sync.example] flow customers: waiting 500 links"
    assert mail.mails[0]["From"] == "sync-worker@acme.example"
    assert "500 links, the oldest for 5 h" in text_of(mail)
    assert "no mapping for account_manager:erp:E-12 (480), account_manager:erp:E-13 (20)" in text_of(mail)


def test_all_causes_are_one_message_and_nothing_of_any_customer_is_in_it(
    db: Database, mail: MailSink, hook: HookSink
) -> None:
    make_links(db, 300, state="failing", cause="refused", hours=5)
    make_links(db, 200, state="conflict", cause="both_changed", hours=6)
    make_links(db, 1, state="failing", cause="bug", hours=7)
    config = parse(
        f'smtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\nfrom = "sync@acme.example"\n'
        f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
    )
    Alerts(db, config).turn()
    assert len(mail.mails) == 1 and len(hook.taken) == 1
    assert mail.mails[0]["From"] == "sync@acme.example"
    told = {(one["state"], one["cause"], one["count"]) for one in hook.taken[0][1]["data"]["alerts"]}
    assert told == {("failing", "refused", 300), ("conflict", "both_changed", 200), ("failing", "bug", 1)}
    for text in (text_of(mail), str(mail.mails[0]), str(hook.taken)):
        assert "Northwind" not in text and "ada@" not in text
    assert "sync-worker replay --state failing --flow customers" in text_of(mail)


def test_when_it_is_over_one_last_mail_says_so(db: Database, clock: FakeClock, mail: MailSink) -> None:
    make_links(db, 3, state="failing", cause="refused", hours=5)
    alerts = Alerts(db, by_mail(mail))
    alerts.turn()
    end_all(db)
    for _ in range(20):
        clock.advance(300)
        alerts.turn()
    assert [m["Subject"] for m in mail.mails[1:]] == ["[sync-worker sync.example] all clear"]
    assert "OVER\n- flow customers: failing (refused)\n" in text_of(mail)
    with db.read() as conn:
        assert conn.execute(select(alert)).all() == []


def test_a_webhook_is_signed_and_says_the_same_as_the_mail(db: Database, clock: FakeClock, hook: HookSink) -> None:
    make_links(db, 2, state="failing", cause="refused", hours=5)
    alerts = Alerts(db, by_hook(hook))
    alerts.turn()
    clock.advance(60)
    alerts.turn()
    ((message_id, body),) = hook.taken
    assert message_id.startswith("msg_")
    assert body["type"] == "alerts" and "failing" in body["text"]
    assert body["data"]["alerts"][0]["commands"][0] == "sync-worker explain erp key:refused-failing-0"
    step = "correct the value on either side, or retry: sync-worker replay --state failing --flow customers"
    assert body["data"]["alerts"][0]["next_step"] == step
    assert hook.seen == [("POST", "/alerts?token=hush-hush", 204)]


# ----- trouble on the way


def test_a_mail_server_that_is_down_and_comes_back_leads_to_one_mail(
    db: Database, clock: FakeClock, mail: MailSink
) -> None:
    make_links(db, 5, state="failing", cause="refused", hours=5)
    alerts = Alerts(db, by_mail(mail))
    mail.stop()
    for _ in range(5):
        with pytest.raises(NotTold, match="mail: system_unavailable: mail server: not reached"):
            alerts.turn()
        clock.advance(240)
    mail.start()
    for _ in range(5):
        alerts.turn()
        clock.advance(60)
    assert len(mail.mails) == 1


def test_what_ended_while_nobody_could_be_told_is_never_told(db: Database, clock: FakeClock, mail: MailSink) -> None:
    make_links(db, 5, state="failing", cause="refused", hours=5)
    alerts = Alerts(db, by_mail(mail))
    mail.stop()
    with pytest.raises(NotTold):
        alerts.turn()
    mail.start()
    end_all(db)
    for _ in range(10):
        clock.advance(300)
        alerts.turn()
    assert mail.mails == []


def test_one_target_that_is_away_does_not_double_the_message_of_the_other_and_gets_its_own_later(
    db: Database, clock: FakeClock, mail: MailSink, hook: HookSink
) -> None:
    make_links(db, 5, state="failing", cause="refused", hours=5)
    config = parse(
        f'smtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\n'
        f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
    )
    alerts = Alerts(db, config)
    hook.status = 503
    for _ in range(3):
        with pytest.raises(NotTold, match="webhook: "):
            alerts.turn()
        clock.advance(60)
    hook.status = 204
    alerts.turn()
    alerts.turn()
    assert len(mail.mails) == 1 and len(hook.taken) == 1


def test_a_message_that_was_taken_and_not_remembered_comes_again_under_the_same_id(
    db: Database, clock: FakeClock, mail: MailSink, hook: HookSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sync_worker.store import alerts

    make_links(db, 5, state="failing", cause="refused", hours=5)
    config = parse(
        f'smtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\n'
        f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
    )
    plain = alerts.replace

    def forgetful(database: Database, target: str, rows: Any) -> None:
        if all(row["told_at"] is None for row in rows):
            plain(database, target, rows)

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "replace", forgetful)  # the process dies before the commit
        Alerts(db, config).turn()
    clock.advance(60)
    make_links(db, 5, state="failing", cause="refused", hours=9, first=5)
    Alerts(db, config).turn()
    clock.advance(60)
    Alerts(db, config).turn()
    assert len({m["Message-ID"] for m in mail.mails}) == 1 and len(mail.mails) == 2
    assert len({message_id for message_id, _ in hook.taken}) == 1 and len(hook.taken) == 2


def test_a_refused_login_is_named_and_not_repeated_every_few_minutes(db: Database, clock: FakeClock) -> None:
    sink = MailSink(login=("ops@acme.example", "another one"))
    try:
        make_links(db, 5, state="failing", cause="refused", hours=5)
        alerts = Alerts(db, by_mail(sink, user="ops%40acme.example:correct%20horse@"))
        for _ in range(14):
            with pytest.raises(
                NotTold, match=r"auth_failed: mail server: it refuses user and password .*\(535 5.7.8\)"
            ):
                alerts.turn()
            clock.advance(60)
        assert sink.logins == 1
    finally:
        sink.stop()


def test_with_user_and_password_the_mail_comes_from_that_user(db: Database) -> None:
    sink = MailSink(login=("ops@acme.example", "correct horse"))
    try:
        make_links(db, 5, state="failing", cause="refused", hours=5)
        Alerts(db, by_mail(sink, user="ops%40acme.example:correct%20horse@")).turn()
        assert [m["From"] for m in sink.mails] == ["ops@acme.example"]
    finally:
        sink.stop()


def test_one_address_that_is_refused_does_not_keep_the_mail_from_the_other(db: Database, mail: MailSink) -> None:
    make_links(db, 5, state="failing", cause="refused", hours=5)
    mail.refuse = {"boss@acme.example"}
    alerts = Alerts(db, by_mail(mail))
    alerts.turn()
    alerts.turn()
    assert mail.receivers == [["ops@acme.example"]]


def test_a_server_that_takes_no_mail_now_is_asked_again(db: Database, clock: FakeClock, mail: MailSink) -> None:
    make_links(db, 5, state="failing", cause="refused", hours=5)
    alerts = Alerts(db, by_mail(mail))
    mail.answer = "452 4.3.1 full"
    with pytest.raises(NotTold, match=r"it answered 452 4\.3\.1"):
        alerts.turn()
    mail.answer = "250 OK"
    clock.advance(60)
    alerts.turn()
    assert len(mail.mails) == 1


def test_a_server_that_says_nothing_is_given_up_after_the_limit(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync_worker.alerts.mail.SECONDS", 0.3)
    make_links(db, 5, state="failing", cause="refused", hours=5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = parse(f'smtp = "smtp://127.0.0.1:{silent.getsockname()[1]}"\nto = ["ops@acme.example"]\n')
        with pytest.raises(NotTold, match="mail server: not reached, or it hung up"):
            Alerts(db, config).turn()


# ----- encryption (one database will do)


@pytest.fixture
def sqlite_db(sqlite_url: str, clock: FakeClock) -> Iterator[Database]:
    database = Database(sqlite_url, clock=clock, durable=False)
    make_links(database, 1, state="failing", cause="refused", hours=5)
    yield database
    database.close()


@pytest.mark.parametrize(("scheme", "option"), [("smtps", ""), ("smtp", "?starttls")])
def test_tls_is_used_and_the_certificate_must_be_trusted(
    sqlite_db: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, option: str
) -> None:
    context, public = certificate(tmp_path)
    sink = MailSink(tls=context, implicit=scheme == "smtps")
    try:
        with pytest.raises(NotTold, match="its certificate is not trusted"):
            Alerts(sqlite_db, by_mail(sink, scheme, option=option)).turn()
        assert sink.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        Alerts(sqlite_db, by_mail(sink, scheme, option=option)).turn()
        assert sink.encrypted == [True]
    finally:
        sink.stop()


def test_starttls_that_was_asked_for_and_is_not_offered_sends_nothing(sqlite_db: Database, mail: MailSink) -> None:
    with pytest.raises(NotTold, match="it offers no STARTTLS"):
        Alerts(sqlite_db, by_mail(mail, option="?starttls")).turn()
    assert mail.mails == []


# ----- what is never said


def test_no_secret_and_no_address_is_ever_in_a_log_line_or_an_error(
    db: Database, clock: FakeClock, hook: HookSink, capture: Callable[[], str]
) -> None:
    sink = MailSink(login=("ops@acme.example", "another one"))
    hook.status = 400
    errors = []
    try:
        make_links(db, 5, state="failing", cause="refused", hours=5)
        config = parse(
            f'smtp = "smtp://ops%40acme.example:correct%20horse@127.0.0.1:{sink.port}"\nto = ["ops@acme.example"]\n'
            f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
        )
        for _ in range(2):
            with pytest.raises(NotTold) as raised:
                Alerts(db, config).turn()
            errors.append(str(raised.value))
            sink.stop()
            clock.advance(60)
    finally:
        sink.stop()
    said = capture() + repr(config) + "".join(errors)
    assert "alerts" in said
    for hidden in ("horse", "hush", "whsec", SECRET[8:], "ops@", "acme.example:"):
        assert hidden not in said.replace("'ops@acme.example'", ""), hidden


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Everything the product logs, at the lowest level."""
    stream = io.StringIO()
    before = structlog.get_config()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("debug", json=True)
    yield stream.getvalue
    structlog.configure(**before)


def test_rows_of_a_target_are_its_own(db: Database, mail: MailSink, hook: HookSink) -> None:
    make_links(db, 1, state="failing", cause="refused", hours=5)
    Alerts(db, by_mail(mail)).turn()
    Alerts(db, by_hook(hook)).turn()
    with db.read() as conn:
        rows = conn.execute(select(alert.c.target, alert.c.told_count).order_by(alert.c.target)).all()
    assert [tuple(row) for row in rows] == [("mail", 1), ("webhook", 1)]
    with db.write() as conn:
        conn.execute(delete(alert).where(alert.c.target == "mail"))
    Alerts(db, by_hook(hook)).turn()
    assert len(hook.taken) == 1

"""Alerts from the tables to a real mail server and a real receiver of webhooks, on SQLite and PostgreSQL."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import delete, insert, select, update

from support.clock import FakeClock
from support.hook_sink import HookSink
from support.mail import MailSink, certificate
from support.rules import Make, answering, pair, row_of, worlds
from sync_worker import config as configuration
from sync_worker import logs
from sync_worker.alerts.rule import Subject
from sync_worker.alerts.standing import standing
from sync_worker.alerts.turn import Alerts, NotTold
from sync_worker.config import Config
from sync_worker.store import counters, pauses, schedules
from sync_worker.store.session import Database
from sync_worker.store.tables import alert, link, open_field

HOUR = 3600.0
SECRET = "whsec_YWxlcnRzLXNlY3JldC1vZi10aGlydHktdHdvLWJ5dGVzLTA="
PASSWORD = "correct horse"
CUSTOMER = "Northwind Tools Ltd"
CONFIG = """
[web]
public_url = "https://sync.example"
[systems.erp]
connector = "intacct"
client_id = "a"
client_secret = "b"
username = "sync@ACME"
[systems.crm]
connector = "sage_crm"
base_url = "http://crm.test/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
[alerts]
"""


def parse(lines: str) -> Config:
    return configuration.parse(CONFIG + lines, environ={})


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


def by_mail(sink: MailSink, scheme: str = "smtp", user: str = "", option: str = "") -> Config:
    url = f"{scheme}://{user}127.0.0.1:{sink.port}{option}"
    return parse(f'smtp = "{url}"\nto = ["ops@acme.example", "boss@acme.example"]\n')


def by_hook(sink: HookSink) -> Config:
    return parse(f'webhook = "{sink.url}"\nwebhook_secret = "{SECRET}"\n')


def make_links(db: Database, count: int, *, state: str, cause: str, hours: float, **columns: Any) -> list[int]:
    """Links that have been in this state for so long, with a customer's name in their parameters."""
    now = db.clock()
    first = columns.pop("first", 0)
    values = {
        "flow": "customers", "entity": "customer", "state": state, "cause": cause, "created_at": now - 900 * HOUR,
        "state_at": now - hours * HOUR, "cause_params": {"reason": f"{CUSTOMER} is wrong", "fields": ["email"]},
        "erp_was": {"name": CUSTOMER, "email": "ada@northwind.example"},
    }  # fmt: skip
    rows = [{**values, "erp_key": f"{cause}-{state}-{first + n}", **columns} for n in range(count)]
    with db.write() as conn:
        return list(conn.execute(insert(link).returning(link.c.id), rows).scalars())


def wait_on(db: Database, ids: list[int], key: str) -> None:
    rows = [{"link_id": i, "field": "account_manager", "why": "waiting", "waiting_on": key, "at": 0.0} for i in ids]
    with db.write() as conn:
        conn.execute(insert(open_field), rows)


def end_all(db: Database) -> None:
    with db.write() as conn:
        conn.execute(update(link).values(state="in_sync", cause="", state_at=db.clock(), due_at=None))


def subjects(db: Database, config: Config) -> dict[Subject, int]:
    return {one.subject: one.count for one in standing(db, config)}


def text_of(sink: MailSink, number: int = -1) -> str:
    return str(sink.mails[number].get_content()).replace("\r\n", "\n")


# ----- one message


def test_500_links_of_one_cause_are_one_mail_and_then_there_is_silence(
    db: Database, clock: FakeClock, mail: MailSink
) -> None:
    ids = make_links(db, 500, state="waiting", cause="manager_unmapped", hours=5)
    wait_on(db, ids[:480], "account_manager:erp:E-12")
    wait_on(db, ids[480:], "account_manager:erp:E-13")
    alerts = Alerts(db, by_mail(mail))
    for _ in range(60):
        alerts.turn()
        clock.advance(60)
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
    for _ in range(120):
        clock.advance(60)
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
    assert body["data"]["alerts"][0]["next_step"] == "correct the value on either side, or retry: sync-worker replay"
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
    for _ in range(60):
        clock.advance(60)
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
    from sync_worker.store import told

    make_links(db, 5, state="failing", cause="refused", hours=5)
    config = parse(
        f'smtp = "smtp://127.0.0.1:{mail.port}"\nto = ["ops@acme.example"]\n'
        f'webhook = "{hook.url}"\nwebhook_secret = "{SECRET}"\n'
    )
    plain = told.replace

    def forgetful(database: Database, target: str, rows: Any) -> None:
        if all(row["told_at"] is None for row in rows):
            plain(database, target, rows)

    with monkeypatch.context() as patched:
        patched.setattr(told, "replace", forgetful)  # the process dies before the commit
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
    sink = MailSink(login=("ops@acme.example", PASSWORD))
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


# ----- what stands


def test_only_what_lasts_longer_than_after_hours_stands(db: Database) -> None:
    config = parse("after_hours = 4\n")
    make_links(db, 2, state="waiting", cause="match", hours=3.9)
    make_links(db, 3, state="waiting", cause="match", hours=4.1, first=2)
    make_links(db, 4, state="not_synced", cause="needs_manual", hours=99)
    make_links(db, 5, state="in_sync", cause="", hours=99)
    make_links(db, 6, state="waiting", cause="match", hours=99, first=9, flow="gone")
    assert subjects(db, config) == {Subject("links", "customers", "waiting", "match"): 3}


def test_a_link_that_is_tried_again_and_again_stands_and_one_that_nobody_tries_is_a_lag(db: Database) -> None:
    config = parse("after_hours = 4\n")
    now = db.clock()
    make_links(db, 2, state="pending", cause="rate_limited", hours=5, attempts=9, due_at=now + 200)
    make_links(db, 3, state="pending", cause="new", hours=5, due_at=now - 5 * HOUR)
    assert subjects(db, config) == {
        Subject("links", "customers", "pending", "rate_limited"): 2,
        Subject("lag", "customers"): 3,
    }


def test_a_flow_lags_when_work_is_due_for_longer_than_lag_seconds_and_bulk_work_has_more_time(db: Database) -> None:
    config = parse("after_hours = 4\nlag_seconds = 600\n")
    now = db.clock()
    make_links(db, 1, state="in_sync", cause="", hours=0, due_at=now - 599)
    make_links(db, 1, state="pending", cause="new", hours=1, due_at=now - HOUR, klass="bulk")
    assert subjects(db, config) == {}
    make_links(db, 1, state="in_sync", cause="", hours=0, first=1, due_at=now - 601)
    make_links(db, 1, state="pending", cause="new", hours=1, first=1, due_at=now - 601, lease_until=now + 9)
    assert subjects(db, config) == {Subject("lag", "customers"): 1}


@pytest.mark.parametrize(("kind", "name"), [("system", "crm"), ("flow", "customers")])
def test_what_a_pause_holds_up_is_told_by_the_pause_alone(
    db: Database, clock: FakeClock, mail: MailSink, kind: pauses.Kind, name: str
) -> None:
    pauses.pause(db, kind, name, "auth_failed", "HTTP 401")
    clock.advance(5 * HOUR)
    make_links(db, 9, state="pending", cause="new", hours=5, due_at=db.clock() - 5 * HOUR)
    make_links(db, 9, state="pending", cause="retrying", hours=5, attempts=3, due_at=db.clock() + 9)
    Alerts(db, by_mail(mail)).turn()
    assert mail.mails[0]["Subject"] == f"[sync-worker sync.example] {kind} {name}: paused"
    assert f"{kind} {name}: paused: for 5 h" in text_of(mail) and "links" not in text_of(mail)


def test_a_breaker_that_opens_for_a_moment_is_silent_and_one_that_keeps_opening_is_told_once(
    db: Database, clock: FakeClock, mail: MailSink
) -> None:
    alerts = Alerts(db, by_mail(mail))
    pauses.pause(db, "system", "crm", "unavailable", "", until=clock() + 60)
    alerts.turn()
    pauses.resume(db, "system", "crm")
    clock.advance(HOUR)
    alerts.turn()
    assert mail.mails == []
    for _ in range(30):
        pauses.pause(db, "system", "crm", "unavailable", "", until=clock() + 45)
        clock.advance(60)
        alerts.turn()
    assert [m["Subject"] for m in mail.mails] == ["[sync-worker sync.example] system crm: paused"]


def test_a_feed_that_fails_again_and_again_is_told(db: Database, clock: FakeClock, mail: MailSink) -> None:
    alerts = Alerts(db, by_mail(mail))
    schedules.ensure(db, {"poll:crm": clock(), "poll:gone": clock(), "retention": clock()})
    for _ in range(25):
        for claimed in schedules.claim_due(db, limit=9):
            schedules.finish(db, claimed.name, claimed.token, clock() + 60, "rejected: HTTP 400")
        alerts.turn()
        clock.advance(60)
    assert [m["Subject"] for m in mail.mails] == ["[sync-worker sync.example] task poll:crm: fails"]
    assert "rejected: HTTP 400" in text_of(mail)


# ----- since when


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


def test_a_link_remembers_since_when_it_fails_over_tries_and_forgets_it_when_it_is_well(make: Make) -> None:
    world = make()
    one = pair(world)
    well_since = row_of(world, crm=one.crm).state_at
    assert well_since is not None
    started = world.clock()
    with answering(world.erp, lambda request: request.method == "PATCH", "400"):
        world.edit_crm(one.crm, Comp_Name="Changed")
        world.settle()
        failing = row_of(world, crm=one.crm)
        assert failing.state == "failing" and failing.state_at is not None and failing.state_at >= started
        for turn in range(3):
            world.clock.advance(HOUR)
            world.edit_crm(one.crm, Comp_Name=f"Changed again {turn}")
            world.settle()
            assert row_of(world, crm=one.crm).state_at == failing.state_at
    world.clock.advance(HOUR)
    world.edit_crm(one.crm, Comp_Name="Accepted")
    world.settle()
    mended = row_of(world, crm=one.crm)
    assert mended.state == "in_sync" and mended.state_at is not None and mended.state_at > failing.state_at


def test_a_refused_create_that_is_tried_again_fails_since_the_first_time_and_is_counted_once(make: Make) -> None:
    world = make()
    with answering(world.erp, lambda request: request.method == "POST" and "customer" in request.path, "400"):
        key = world.new_crm(CUSTOMER)
        world.settle()
        first = row_of(world, crm=key)
        assert first.state == "failing"
        for _ in range(2):
            world.clock.advance(HOUR)
            world.notice("crm", key)
            world.settle()
    again = row_of(world, crm=key)
    assert (again.state, again.state_at) == ("failing", first.state_at)
    assert counters.by_state(world.db) == {("customers", "failing"): 1}
    world.notice("crm", key)
    world.settle()
    assert counters.by_state(world.db) == {("customers", "in_sync"): 1}


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

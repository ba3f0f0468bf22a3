"""The API's door and manners, over a real socket: who gets in, what is refused and how, what hostile input meets."""

from __future__ import annotations

import io
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from support.api import Answer, Api
from support.waiting import until
from sync_worker import desk, logs
from sync_worker.store import accounts
from sync_worker.store.tables import account

pytest_plugins = ("support.queues", "support.api_fixtures")

NOUGHT = "\x00"
ODD = (
    "'; DROP TABLE link; --",
    '"',
    "\\",
    "%",
    "_",
    "<script>alert(1)</script>",
    "👩‍👩‍👧",
    "ß",
    "${x}",
    "{0}",
    "../../etc",
)


@pytest.fixture
def api(web_api: Api) -> Api:
    return web_api


def assert_problem(answer: Answer, status: int, *words: str) -> None:
    """A problem document of this status whose detail says these words."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json
    assert found["status"] == status
    assert found["type"].startswith("/api/docs#") and found["title"]
    assert all(word in found["detail"] for word in words), found["detail"]
    assert "Traceback" not in found["detail"]


# --- who gets in -----------------------------------------------------------------------------------------------------


def test_without_a_token_or_with_a_wrong_one_nobody_gets_in_and_is_told_how(api: Api) -> None:
    missing = api.ask("GET", "/links", token=None)
    assert_problem(missing, 401, "Authorization: Bearer", "tokens add")
    assert missing.headers["www-authenticate"] == 'Bearer realm="sync-worker"'
    for header in ("Bearer", "Bearer ", "Basic b3BzOm9wcw==", "", f"Token {api.token}", api.token):
        assert_problem(api.ask("GET", "/links", token=None, headers={"authorization": header}), 401)
    for token in ("swk_wrong", api.token[:-1], api.token + "x", accounts.hash_of(api.token), "ü", "a b"):
        wrong = api.ask("GET", "/links", headers={"authorization": f"Bearer {token}".encode().decode("latin-1")})
        assert_problem(wrong, 401, "not known")
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert api.ask("GET", "/links", headers={"authorization": f"bearer   {api.token} "}).status == 200


def test_every_address_below_the_api_asks_for_a_token_before_it_says_anything_else(api: Api) -> None:
    asked = [("GET", "/nowhere"), ("POST", "/links/1/replay"), ("PUT", "/managers/map/x/y"), ("DELETE", "/links")]
    for method, path in [*asked, ("OPTIONS", "/links"), ("HEAD", "/links"), ("GET", "/api/docs/"), ("GET", "/api/")]:
        assert api.ask(method, path, b"{not json" if method == "PUT" else None, token=None).status == 401, path
    assert_problem(api.ask("GET", "/nowhere"), 404, "/api/docs")
    wrong_method = api.ask("DELETE", "/links")
    assert_problem(wrong_method, 405, "Allow")
    assert wrong_method.headers["allow"] == "GET"
    assert api.ask("HEAD", "/links", token=api.reader).status == 405


def test_a_removed_token_is_refused_at_once(api: Api) -> None:
    assert api.ask("GET", "/status").status == 200
    assert accounts.remove_token(api.world.db, "ops", actor="cli")
    assert_problem(api.ask("GET", "/status"), 401, "removed")
    assert not accounts.remove_token(api.world.db, "ops", actor="cli")


def test_a_reading_token_may_look_and_not_touch(api: Api) -> None:
    changes = [
        ("POST", "/links/1/replay", None),
        ("POST", "/links/1/resolve", {"field": "name", "take": "erp"}),
        ("POST", "/sync", {"system": "crm", "key": "43"}),
        ("PUT", "/managers/map/customers/E-1", {"crm": "4"}),
        ("DELETE", "/managers/map/customers/E-1", None),
    ]
    for method, path, body in changes:
        refused = api.ask(method, path, body, token=api.reader)
        assert_problem(refused, 403, "viewer", "--role operate")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert api.get("/status")["links"]["pending"] == 0


def test_a_token_is_stored_as_a_hash_and_its_name_cannot_forge_the_journal(api: Api) -> None:
    with api.world.db.read() as conn:
        stored = [dict(row) for row in conn.execute(account.select()).mappings()]
    assert api.token not in str(stored) and api.token.removeprefix("swk_") not in str(stored)
    assert {row["password_hash"] for row in stored} == {""}
    for name in ("worker", "CLI", "", "a b", "x" * 65, "-x", "naïve", "a\nb"):
        with pytest.raises(accounts.PermanentError, match="cannot be a token's name"):
            accounts.add_token(api.world.db, name, "read", actor="cli")
    with pytest.raises(accounts.PermanentError, match="already"):
        accounts.add_token(api.world.db, "ops", "read", actor="cli")
    assert [(one.name, one.role) for one in accounts.tokens(api.world.db)] == [("ops", "operate"), ("viewer", "read")]
    told = api.get("/journal", actor="cli")["items"]
    assert [(one["what"], one["key"]) for one in told] == [("token_added", "viewer"), ("token_added", "ops")]


def test_removing_the_token_of_somebody_with_a_password_leaves_them_their_login(api: Api) -> None:
    with api.world.db.write() as conn:
        conn.execute(account.update().where(account.c.name == "ops").values(password_hash="argon"))
    assert accounts.remove_token(api.world.db, "ops", actor="cli")
    assert_problem(api.ask("GET", "/status"), 401)
    with api.world.db.read() as conn:
        assert conn.execute(account.select().where(account.c.name == "ops")).mappings().one()["token_hash"] is None


# --- manners ---------------------------------------------------------------------------------------------------------


def test_every_answer_forbids_caching_and_guessing_and_offers_nothing_to_other_origins(api: Api) -> None:
    answers = [
        api.ask("GET", "/status", headers={"origin": "https://evil.example"}),
        api.ask("GET", "/nowhere"),
        api.ask("GET", "/links", token=None),
        api.ask("GET", "/api/docs", token=None),
        api.ask("GET", "/api/openapi.json", token=None),
        api.ask(
            "OPTIONS", "/links", headers={"origin": "https://evil.example", "access-control-request-method": "PUT"}
        ),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_all_that_is_wrong_with_a_request_is_said_at_once(api: Api) -> None:
    wrong = api.ask("GET", "/links", limit=0, state="asleep", sate="x", key="")
    assert_problem(wrong, 422, "query limit", "query state", "in_sync, pending", "query sate", "query key")
    assert [one["place"] for one in wrong.json["errors"]] == ["query limit", "query state", "query key", "query sate"]
    body = api.ask("POST", "/links/1/resolve", {"field": 7, "colour": "red"})
    assert_problem(body, 422)
    assert {one["place"] for one in body.json["errors"]} == {"body field", "body take", "body colour"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{not json", "application/json"),
        (b"", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b'{"system": ' + b"9" * 20_000 + b"}", "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'{"system": "crm", "key": "1"}', "text/plain"),
        (b'{"system": "crm", "key": "1"}', "application/x-www-form-urlencoded"),
        (b'{"system": "crm", "key": 43}', "application/json"),
        (b'{"system": "crm", "key": "a\\u0000b"}', "application/json"),
        (b'{"system": "crm", "key": "\\ud800"}', "application/json"),
        (b'{"system": "crm", "key": "1", "\\ud800\\u0000<b>": 1}', "application/json"),
    ],
)
def test_an_unreadable_or_hostile_body_is_refused_in_words(api: Api, body: bytes, content_type: str) -> None:
    answer = api.ask("POST", "/sync", body, headers={"content-type": content_type})
    assert_problem(answer, 422, "body")
    assert api.get("/links")["items"] == []


def test_a_body_over_64_kib_is_refused_announced_or_not(api: Api) -> None:
    large = b" " * (64 * 1024) + b"{}"
    assert_problem(api.ask("POST", "/sync", large), 413, "64 KiB")
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as raw:
        head = f"POST /api/v1/sync HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.token}\r\n"
        raw.sendall(head.encode() + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        raw.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large))
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    fits = b'{"system": "crm", "key": "1"}'
    assert (
        api.ask(
            "POST", "/sync", fits + b" " * (64 * 1024 - len(fits)), headers={"content-type": "application/json"}
        ).status
        == 202
    )


@pytest.mark.parametrize("odd", ODD)
def test_odd_text_in_filters_and_keys_finds_nothing_and_breaks_nothing(api: Api, odd: str) -> None:
    for name in ("cause", "waiting_on", "key"):
        assert api.get("/links", **{name: odd})["items"] == []
    assert api.get("/events", system=odd, entity=odd, key=odd)["items"] == []
    assert api.get("/journal", flow=odd, actor=odd)["items"] == []
    assert api.get("/runs", flow=odd, kind=odd, state=odd)["items"] == []
    for path, name in (("/links", "flow"), ("/links", "system"), ("/managers", "system"), ("/managers/map", "flow")):
        assert_problem(api.ask("GET", path, **{name: odd}), 404, "there are: ")


@pytest.mark.parametrize("bad", [NOUGHT, f"a{NOUGHT}b", "x" * 256, ""])
def test_text_that_no_database_can_hold_is_refused(api: Api, bad: str) -> None:
    for path, name in (("/links", "key"), ("/events", "entity"), ("/journal", "flow"), ("/managers", "system")):
        assert_problem(api.ask("GET", path, **{name: bad}), 422, f"query {name}", "1 to 255 characters")


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "9" * 5000, "1e3", "0x10", "NaN", "%00"])
def test_a_number_that_is_no_id_is_refused(api: Api, number: str) -> None:
    assert_problem(api.ask("GET", "/journal", link=number), 422, "query link")
    assert_problem(api.ask("GET", "/links", limit=number), 422, "query limit")
    assert_problem(api.ask("GET", f"/links/{number}"), 422, "path link")
    assert_problem(api.ask("GET", f"/runs/{number}"), 422, "path run")


def test_an_id_that_nobody_has_is_not_found(api: Api) -> None:
    assert_problem(api.ask("GET", f"/links/{2**63 - 1}"), 404, "no link")
    assert_problem(api.ask("POST", "/links/1/replay"), 404, "no link 1")
    assert_problem(api.ask("POST", "/links/1/resolve", {"field": "name", "take": "erp"}), 404, "no link 1")
    assert_problem(api.ask("GET", "/runs/1"), 404, "no run 1")
    assert_problem(api.ask("GET", "/runs/1/rows"), 404, "no run 1")


@pytest.mark.parametrize(
    "since", ["yesterday", "2026-11-22T10:00:00", "1e400", "0", "2026-13-01T00:00:00Z", "9" * 400, "inf", NOUGHT]
)
def test_a_moment_without_a_time_zone_or_meaning_is_refused(api: Api, since: str) -> None:
    answer = api.ask("GET", "/events", since=since)
    if since == "0":  # seconds since 1970 are a moment
        assert answer.status == 200
    else:
        assert_problem(answer, 422, "query since")


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T10:00:00Z"])
def test_the_first_and_the_last_moment_of_the_calendar_are_moments(api: Api, since: str) -> None:
    assert api.get("/journal", since=since)["next"] is None


def test_an_unknown_error_and_a_database_that_is_away_are_answered_without_a_trace(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bug(_app: object) -> None:
        raise ZeroDivisionError("customer Jane Doe")

    def away(_app: object) -> None:
        raise OperationalError("SELECT secret", {}, OSError("gone"))

    monkeypatch.setattr(desk, "status", bug)
    answer = api.ask("GET", "/status")
    assert_problem(answer, 500, "log")
    assert b"Jane" not in answer.body
    monkeypatch.setattr(desk, "status", away)
    answer = api.ask("GET", "/status")
    assert_problem(answer, 503, "Try again")
    assert answer.headers["retry-after"] == "5"
    assert b"SELECT" not in answer.body
    monkeypatch.setattr(accounts, "by_token", lambda _db, _token: away(None))
    assert_problem(api.ask("GET", "/status"), 503)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that this process logs, on the most talkative level."""
    handlers, level, kept, stderr = logging.root.handlers[:], logging.root.level, structlog.get_config(), sys.stderr
    sys.stderr = lines = io.StringIO()
    logs.configure("debug", json=True)
    yield lines
    sys.stderr = stderr
    structlog.configure(**kept)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)


def test_logs_never_carry_a_token_nor_what_was_sent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_app: object) -> None:
        raise ZeroDivisionError(f"Jane Doe {api.token}")

    monkeypatch.setattr(desk, "status", bug)
    with logged() as lines:
        api.ask("GET", "/links", key="Jane Doe")
        api.ask("GET", "/links", headers={"authorization": "Bearer swk_somebody-elses-token"})
        api.ask("POST", "/sync", {"system": "crm", "key": "1"}, token=api.reader)
        api.ask("POST", "/sync", {"system": "crm", "key": "Jane Doe"})
        assert api.ask("GET", "/status").status == 500
        until(lambda: "ZeroDivisionError" in lines.getvalue())
        said = lines.getvalue()
        assert logs.redact(None, "", {"event": f"x {api.token}"})["event"] == f"x {logs.MASK}"
    assert '"api.refused"' in said
    for secret in (api.token, api.reader, "somebody-elses", "Jane"):
        assert secret not in said

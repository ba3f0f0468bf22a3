"""Logs: what may never stand in a line, and what must."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sync_worker import logs
from sync_worker.errors import ConfigError, Rejected

EMAIL = "jane.doe@acme.example"
BEARER = "Bearer abcdef0123456789"


class Written:
    """What was written to stderr so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """stderr from now on; logging is left as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Written(capsys)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def read(stream: Written) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "key",
    ["name", "email", "token", "password", "secret", "body", "authorization", "Authorization", "customer_name",
     "client_secret", "access_token", "token_value", "erp.email", "headers", "username"],
)  # fmt: skip
def test_a_forbidden_key_never_shows_its_value(lines: Written, key: str) -> None:
    logs.configure("info", json=True)
    structlog.get_logger().info(
        "sync.done", **{key: "Acme Ltd", "inner": {key: "Acme Ltd"}, "list": [{key: "Acme Ltd"}]}
    )
    assert "Acme" not in lines.getvalue()
    assert read(lines)[0][key] == logs.MASK


def test_ids_counts_and_codes_stay_readable(lines: Written) -> None:
    logs.configure("info", json=True)
    structlog.get_logger().info(
        "sync.done", link=7, contact_key="31", status=409, seconds=0.25, token=None, rows=[1, 2]
    )
    line = read(lines)[0]
    assert (line["link"], line["contact_key"], line["status"], line["seconds"]) == (7, "31", 409, 0.25)
    assert line["token"] is None
    assert line["rows"] == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        f"sent to {EMAIL}.",
        f"<{EMAIL}>",
        "login as sync@ACME failed",
        f"header was {BEARER}",
        "Authorization: Basic c3luYzpwYXNz",
        "redis://:hunter22@127.0.0.1:6379/0",
        "postgresql+psycopg://sync:hunter22@db/sync",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJTYWdlIn0.c2ln",
        "grant?client_secret=hunter22&x=1",
        '{"password": "hunter22"}',
        "Login(user_password='hunter22')",
    ],
)
def test_credentials_and_addresses_are_masked_inside_any_text(lines: Written, text: str) -> None:
    logs.configure("info", json=True)
    structlog.get_logger().info(text, reason=text, deep={"a": ["b", {"c": text}]})
    shown = lines.getvalue()
    for leak in (
        "jane",
        "acme.example",
        "sync@",
        "abcdef0123456789",
        "c3luYzpwYXNz",
        "hunter22",
        "MfKQ9r8",
        "eyJhbGci",
    ):
        assert leak not in shown
    assert logs.MASK in shown


@given(
    st.recursive(
        st.sampled_from([EMAIL, BEARER, f"x {EMAIL} y", b"jane.doe@acme.example", Rejected(EMAIL)]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "reason"]), inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_nothing_leaks_however_deep_it_lies(value: Any) -> None:
    shown = json.dumps(logs.redact(None, "info", {"event": "x", "value": value}))
    assert "jane" not in shown
    assert "abcdef" not in shown


def test_a_message_about_a_setting_is_left_whole(lines: Written) -> None:
    logs.configure("info", json=True)
    text = "sync.toml line 9: systems.erp.client_secret: is missing"
    structlog.get_logger().error(text)
    assert read(lines)[0]["event"] == text


def test_a_traceback_shows_places_and_kinds_but_no_foreign_text(lines: Written) -> None:
    logs.configure("info", json=True)
    try:
        try:
            raise KeyError("Acme Ltd")
        except KeyError as cause:
            raise ValueError("row of Jane Doe") from cause
    except ValueError:
        structlog.get_logger().exception("sync.bug", link=3)
    line = read(lines)[0]
    assert "ValueError" in line["exception"]
    assert "KeyError" in line["exception"]
    assert "test_logs.py" in line["exception"]
    assert "Jane" not in lines.getvalue()
    assert "Acme" not in lines.getvalue()


def test_our_own_errors_keep_their_text(lines: Written) -> None:
    logs.configure("info", json=True)
    structlog.get_logger().warning("task.failed", exc_info=Rejected("HTTP 422"), error=Rejected("HTTP 422"))
    line = read(lines)[0]
    assert line["exception"].startswith("Rejected: HTTP 422")
    assert line["error"] == "Rejected: HTTP 422"


def test_libraries_log_through_the_same_net(lines: Written) -> None:
    logs.configure("info", json=True)
    try:
        raise RuntimeError("[parameters: ('Acme Ltd',)]")
    except RuntimeError:
        logging.getLogger("some.library").exception("failed for %s", EMAIL)
    warnings.warn(f"odd value {EMAIL}", stacklevel=1)
    first, second = read(lines)
    assert (first["logger"], first["level"]) == ("some.library", "error")
    assert second["logger"] == "py.warnings"
    assert "Acme" not in lines.getvalue()
    assert "jane" not in lines.getvalue()


def test_libraries_below_a_warning_are_silent_even_at_debug(lines: Written) -> None:
    logs.configure("debug", json=True)
    logging.getLogger("httpx").info("GET https://crm.example/?where=comp_name='Acme'")
    logging.getLogger("sqlalchemy.engine").debug("('Acme',)")
    structlog.get_logger().debug("vendor.call", system="crm")
    assert [line["event"] for line in read(lines)] == ["vendor.call"]


def test_every_line_of_a_sync_carries_its_context(lines: Written) -> None:
    logs.configure("info", json=True)
    with structlog.contextvars.bound_contextvars(flow="customers", link=12, system="crm"):
        structlog.get_logger().info("sync.done")
        logging.getLogger("dramatiq").warning("slow")
    structlog.get_logger().info("idle")
    first, second, third = read(lines)
    assert (first["flow"], first["link"], first["system"]) == ("customers", 12, "crm")
    assert second["link"] == 12
    assert "link" not in third


def test_lines_under_the_chosen_level_are_not_written(lines: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_LOG_LEVEL", "error")
    logs.configure(json=True)
    structlog.get_logger().warning("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in read(lines)] == ["loud"]


@pytest.mark.parametrize(
    ("variable", "given", "said"),
    [
        ("SYNC_LOG_LEVEL", "verbose", "SYNC_LOG_LEVEL is 'verbose'; allowed: debug, info, warning, error, critical"),
        ("SYNC_LOG_FORMAT", "xml", "SYNC_LOG_FORMAT is 'xml'; allowed: json, console"),
    ],
)
def test_a_word_for_logs_that_there_is_not_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, variable: str, given: str, said: str
) -> None:
    monkeypatch.setenv(variable, given)
    with pytest.raises(ConfigError, match=said):
        logs.configure()


def test_a_pipe_gets_json_and_a_person_may_ask_for_text(lines: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure()
    structlog.get_logger().info("one")
    assert read(lines)[0]["event"] == "one"
    monkeypatch.setenv("SYNC_LOG_FORMAT", "console")
    logs.configure()
    structlog.get_logger().info("two", link=1)
    last = lines.getvalue().splitlines()[-1]
    assert "two" in last
    assert "link=1" in last
    assert not last.startswith("{")


def test_a_value_of_absurd_length_is_cut_and_takes_no_time() -> None:
    began = time.perf_counter()
    shown = logs.redact(None, "info", {"event": "x", "code": "a" * 1_000_000, "list": ["b" * 10_000]})
    assert time.perf_counter() - began < 1.0
    assert (len(shown["code"]), shown["code"][-5:]) == (logs.LONGEST + len(logs.CUT), logs.CUT)
    assert shown["list"][0].endswith(logs.CUT)

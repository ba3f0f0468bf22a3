"""The watch over the suite's own logs and errors sees what it is there for, and fails the test that let it out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from support.redaction import WATCH, leaks
from sync_worker import logs
from sync_worker.errors import Rejected

ROOT = Path(__file__).parents[2]
LEAKING = """
import subprocess, sys
import pytest, structlog
from sync_worker.errors import Rejected

log = structlog.get_logger()

def test_quiet(): log.debug("sync.done", link=7)
def test_below_what_is_shown(): log.debug("sync.done", to="jane.doe@acme.example")
def test_a_text_of_an_error(): Rejected("swk_0123456789abcdef0123")
def test_a_child(): subprocess.run([sys.executable, "-c", "import os; os.write(2, b'mail jane.doe@acme.example')"])
@pytest.mark.shows_secrets
def test_allowed(): log.debug("sync.done", to="jane.doe@acme.example")
"""


def test_every_way_out_is_watched_and_fails_the_test_that_ran(tmp_path: Path) -> None:
    file = tmp_path / "test_leaking.py"
    file.write_text(LEAKING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfp", "-p", "conftest", "-c", ROOT / "pyproject.toml", file],
        env={"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    ended = {line.split("::")[1].split()[0]: line.split()[0] for line in done.stdout.splitlines() if "::test_" in line}
    assert ended == {
        "test_quiet": "PASSED",
        "test_allowed": "PASSED",
        "test_below_what_is_shown": "FAILED",
        "test_a_text_of_an_error": "FAILED",
        "test_a_child": "FAILED",
    }, done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "to jane.doe@acme.example",
        "whsec_c2ltdWxhdGlvbi1z",
        "Bearer abcdefghijkl",
        "eyJhbGciOiJIUzI1NiIsInR5",
        "x hunter22 y",
    ],
)
def test_what_a_leak_is(text: str) -> None:
    assert len(list(leaks(f"before {text} behind", {"hunter22"}))) == 1


@pytest.mark.parametrize("text", ["sync@ACME", "@2026-11-22@", "a @decorator.of x", "link 7", "Bearer [removed]", ""])
def test_what_none_is(text: str) -> None:
    assert list(leaks(text, {"hunter22"})) == []


def test_a_secret_of_any_configuration_is_looked_for_from_then_on() -> None:
    SecretStr("correct-horse").get_secret_value()
    structlog.get_logger().debug("sync.done", code="correct-horse")
    Rejected("correct-horse")
    (found,) = WATCH.found()
    assert "a secret of the configuration" in found and "sync.done" in found


def test_a_log_line_is_seen_under_the_products_own_configuration_too(capsys: pytest.CaptureFixture[str]) -> None:
    kept = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    structlog.get_logger().info("sync.done", to="jane.doe@acme.example")
    structlog.configure(**kept)
    assert len(WATCH.found()) == 1
    assert logs.redact(None, "", {"to": "jane.doe@acme.example"}) == {"to": logs.MASK}

"""Long jobs in a pipe: a line now and then with rate and remaining time, and one at the end."""

from __future__ import annotations

import os
import signal

import pytest
import typer

from sync_worker.cli.progress import LINE_SECONDS, Lines, long_job, once
from sync_worker.errors import RetryableError, SystemUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_tells_rate_and_remaining_time_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.tell("customers", 0, 10_000)
    assert capsys.readouterr().err == ""
    clock.now += LINE_SECONDS + 1
    lines.tell("customers", 1_100, 10_000)
    lines.tell("customers", 1_200, 10_000)
    assert capsys.readouterr().err == "customers: 1100 of 10000, 100/s, 89 s left\n"
    clock.now += LINE_SECONDS + 1
    lines.tell("customers", 1_122, None)
    assert capsys.readouterr().err == "customers: 1122 of ?, 51/s\n"


def test_the_end_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Clock())
    lines.tell("erp", 5, 5)
    lines.tell("erp", 5, 5)
    assert capsys.readouterr().err == "erp: 5 of 5\n"


def test_a_job_that_begins_twice_says_nothing_twice() -> None:
    said: list[str] = []
    tell = once(said.append)
    for line in ("one", "two", "one"):
        tell(line)
    assert said == ["one", "two"]


def test_slow_work_is_told_by_the_minute_and_in_hours(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.tell("rows", 0, 1_000)
    clock.now += 100
    lines.tell("rows", 10, 1_000)
    assert capsys.readouterr().err == "rows: 10 of 1000, 6/min, 2.8 h left\n"


def test_a_vendor_that_is_away_leaves_a_job_to_go_on_with() -> None:
    told = "away; sync-worker import customers --resume goes on from here"
    with pytest.raises(RetryableError, match=told), long_job("sync-worker import customers --resume"):
        raise RetryableError("away")
    with pytest.raises(RetryableError, match=r"^crm: HTTP 503; --resume goes on from here$"), long_job("--resume"):
        raise SystemUnavailable("HTTP 503", system="crm")


def test_ctrl_c_is_answered_before_what_has_begun_is_finished(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    answered = ""
    with pytest.raises(typer.Exit) as ended, long_job("sync-worker import customers --resume"):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            answered = capfd.readouterr().err
            assert signal.getsignal(signal.SIGINT) is before  # a second one does not wait
    assert answered.startswith("\nsync-worker: stopping; what has begun is finished first")
    assert ended.value.exit_code == 130
    assert capfd.readouterr().err == "sync-worker: stopped; sync-worker import customers --resume goes on from here\n"
    assert signal.getsignal(signal.SIGINT) is before

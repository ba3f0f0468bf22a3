"""Signing in to Sage CRM: a refused login rests, because bad passwords can lock the account."""

from __future__ import annotations

import base64

import pytest

from sync_worker.connectors.answers import Answer
from sync_worker.connectors.sage_crm.auth import BasicLogin
from sync_worker.errors import AuthFailed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def login(clock: Clock) -> BasicLogin:
    return BasicLogin("sync", "pässword", clock=clock)


def answer(login: BasicLogin, status: int) -> None:
    login.classify(Answer(status, {}, b"{}"))


def let_through(login: BasicLogin) -> bool:
    headers: dict[str, str] = {}
    try:
        login.prepare(headers)
    except AuthFailed:
        return False
    return "Authorization" in headers


def test_the_header_is_sent_without_being_asked_for(login: BasicLogin) -> None:
    headers: dict[str, str] = {}
    login.prepare(headers)
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "sync:pässword"


def test_after_a_refusal_one_call_is_let_through_per_pause_and_pauses_double(login: BasicLogin, clock: Clock) -> None:
    waits = []
    for _ in range(7):
        answer(login, 401)
        started = clock.now
        while not let_through(login):
            clock.now += 10
        assert not let_through(login)
        waits.append(clock.now - started)
    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_refusals_of_calls_that_were_under_way_together_count_once(login: BasicLogin, clock: Clock) -> None:
    for _ in range(4):
        answer(login, 401)
    clock.now += 30
    assert let_through(login)


def test_a_taken_login_ends_the_rest_but_a_failing_server_does_not(login: BasicLogin, clock: Clock) -> None:
    answer(login, 401)
    clock.now += 30
    assert let_through(login)
    answer(login, 503)
    assert not let_through(login)
    clock.now += 30
    assert let_through(login)
    answer(login, 200)
    assert let_through(login)
    assert let_through(login)

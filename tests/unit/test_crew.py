"""Threads of a run's own look for work when they are told of some, and now and then when they are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest

from sync_worker.engine import crew
from sync_worker.engine.core import Engine, Worked
from tests.support.waiting import until

LONG = 600.0  # seconds: no test waits for it


class Looks:
    """Stands in for the engine: nothing is ever due. Counts the looks at one of the classes."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.looks: list[str] = []  # appended to by several threads
        self.meanwhile = meanwhile

    @property
    def count(self) -> int:
        return len(self.looks)

    def run_due(self, _flow: str, klass: str) -> Worked:
        if klass == crew.CLASSES[-1]:
            self.looks.append(klass)
            self.meanwhile()
        return Worked()


def engine(looks: Looks) -> Engine:
    return cast(Engine, looks)


@pytest.fixture(autouse=True)
def _idle_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "IDLE_SECONDS", LONG)


def test_who_idles_looks_when_something_has_become_due() -> None:
    looks = Looks()
    with crew.working(engine(looks), ["customers"], threads=1) as wake:
        until(lambda: looks.count == 1)
        wake()
        until(lambda: looks.count == 2)


def test_what_becomes_due_while_one_looks_is_looked_for_again() -> None:
    told = threading.Event()
    looks = Looks()
    with crew.working(engine(looks), ["customers"], threads=1) as wake:
        until(lambda: looks.count == 1)

        def meanwhile() -> None:
            if not told.is_set():
                told.set()
                wake()

        looks.meanwhile = meanwhile
        wake()
        until(lambda: looks.count == 3)


def test_nobody_is_waited_for_who_idles_when_the_run_ends() -> None:
    looks = Looks()
    with crew.working(engine(looks), ["customers"], threads=3):
        until(lambda: looks.count == 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crew-")]


def test_without_being_told_one_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "IDLE_SECONDS", 0.001)
    looks = Looks()
    with crew.working(engine(looks), ["customers"], threads=1):
        until(lambda: looks.count >= 3)

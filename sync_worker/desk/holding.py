"""One run of a kind and flow at a time: held by a lease, prolonged while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync_worker.errors import PermanentError
from sync_worker.store import schedules
from sync_worker.wiring import App

LEASE = 30.0
RENEW_SECONDS = 5.0
LOOK_SECONDS = 0.5

Say = Callable[[str], None]


class TakenOver(PermanentError):
    """Another process goes on with this one's run, which is no longer this one's to end."""

    code = "taken_over"


def lease_of(kind: str, flow: str) -> str:
    """The lease that a run of this kind holds, one for each flow it is about."""
    return f"{kind}:{flow}"


def is_held(app: App, name: str) -> bool:
    """Does a process hold it that lives, or was killed just now?"""
    return schedules.leased(app.db, name)[1] > 0


@contextmanager
def held(app: App, name: str, what: str, say: Say | None = None) -> Iterator[Callable[[], None]]:
    """Yields what is to be called now and then. ``what``: as errors name it.

    A run that was killed keeps its lease until that ends. ``say``: is told so, once, and the lease is waited for;
    without it nobody waits. Raises PermanentError while a process that lives holds it, and TakenOver from that
    call where another one has taken it over.
    """
    token = schedules.claim(app.db, name, lease=LEASE)
    if token is None and say is not None:
        token = _after_the_dead(app, name, what, say)
    if token is None:
        raise PermanentError(f"{what} is running; wait until it has ended")
    renewed = time.monotonic()

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > RENEW_SECONDS:
            renewed = time.monotonic()
            if not schedules.renew(app.db, name, token, lease=LEASE):
                raise TakenOver(f"{what} was taken over by another process, which goes on with this one's work")

    try:
        yield renew
    finally:
        schedules.finish(app.db, name, token, time.time())


def _after_the_dead(app: App, name: str, what: str, say: Say) -> int | None:
    """Wait for the lease to end; None as soon as it is prolonged: whoever holds it lives."""
    before, left = schedules.leased(app.db, name)
    if left > 0:
        say(f"{what} is running, or was killed just now: waiting, at most {left:.0f} s")
    while True:
        token = schedules.claim(app.db, name, lease=LEASE)
        if token is not None or schedules.leased(app.db, name)[0] > before:
            return token
        time.sleep(LOOK_SECONDS)

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


@contextmanager
def held(app: App, name: str, what: str) -> Iterator[Callable[[], None]]:
    """Yields what is to be called now and then. ``what``: as errors name it.

    Raises PermanentError while another process holds it, and from that call where one has taken it over.
    """
    token = schedules.claim(app.db, name, lease=LEASE)
    if token is None:
        raise PermanentError(f"{what} is running; wait for it, or half a minute if it was killed just now")
    renewed = time.monotonic()

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > RENEW_SECONDS:
            renewed = time.monotonic()
            if not schedules.renew(app.db, name, token, lease=LEASE):
                raise PermanentError(f"{what} was taken over by another process, which goes on with this one's work")

    try:
        yield renew
    finally:
        schedules.finish(app.db, name, token, time.time())

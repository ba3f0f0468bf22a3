"""A process of ours with something taken out, with a wrong clock, or that stops or dies at one certain line.

What follows the three options is a command line of ``sync-worker``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from faults.plan import HOT_FIELD


def main(argv: list[str]) -> None:
    """``--control NAME --ahead SECONDS --orders PATH COMMAND ...``; an empty name or path: nothing of that."""
    _, control, _, ahead, _, orders, *command = argv
    if float(ahead):
        _run_ahead(float(ahead))
    if orders:
        _obey(orders)
    if control:
        from faults.controls import CONTROLS

        CONTROLS[control].apply()
    from sync_worker import cli

    sys.argv = ["sync-worker", *command]
    cli.main()


def _run_ahead(seconds: float) -> None:
    """This host's clock is wrong; ``time.monotonic`` is not."""
    true = time.time
    time.time = lambda: true() + seconds


def _obey(orders: str) -> None:
    """Files beside ``orders``: ``.halt``: stop right before the next write of a hot field, on a read that grows old;

    ``.die``: end right after the next create was answered, before anybody could store that.
    """
    from sync_worker.connectors.intacct.client import IntacctConnector
    from sync_worker.connectors.sage_crm.client import SageCrmConnector
    from sync_worker.engine import writing

    halt, die = Path(f"{orders}.halt"), Path(f"{orders}.die")
    plain = writing.write

    def write(flow: Any, side: Any, jobs: Sequence[writing.Job], clock: Callable[[], float]) -> None:
        if side == "crm" and halt.exists() and any(HOT_FIELD in job.values for job in jobs):
            halt.unlink(missing_ok=True)
            # to this thread: sent to the process, it goes on for a moment, past the last look at how old the read is
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        plain(flow, side, jobs, clock)

    writing.write = write
    for connector in (IntacctConnector, SageCrmConnector):
        connector.write_many = _deadly(connector.write_many, die)  # type: ignore[method-assign]


def _deadly(plain: Callable[..., Any], die: Path) -> Callable[..., Any]:
    def write_many(self: Any, entity: str, writes: Sequence[Any]) -> Any:
        outcomes = plain(self, entity, writes)
        if die.exists() and any(one.key is None and done.key for one, done in zip(writes, outcomes, strict=True)):
            die.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes

    return write_many


if __name__ == "__main__":
    main(sys.argv[1:])

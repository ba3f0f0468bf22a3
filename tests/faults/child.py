"""A process of ours with something taken out, or with a wrong clock: ``python -m faults.child --control NAME ...``.

What follows the two options is a command line of ``sync-worker``.
"""

from __future__ import annotations

import sys
import time


def main(argv: list[str]) -> None:
    """``--control NAME --ahead SECONDS COMMAND ...``"""
    _, control, _, ahead, *command = argv
    if float(ahead):
        _run_ahead(float(ahead))
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


if __name__ == "__main__":
    main(sys.argv[1:])

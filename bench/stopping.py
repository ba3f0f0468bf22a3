"""How a long measurement ends when a person has had enough of it."""

from __future__ import annotations

import sys
from collections.abc import Callable


def until_ctrl_c(main: Callable[[], int], kept: str) -> int:
    """The exit code of ``main``; after Ctrl-C 130, and one line that says what is ``kept`` as it was."""
    try:
        return main()
    except KeyboardInterrupt:
        print(f"stopped: everything that was started has ended, and {kept} is as it was", file=sys.stderr)
        return 130

"""Vendors that live in the calling process and answer at once: what the engine costs without any vendor.

``python -m bench.instant --config F --threads N`` is a worker process over them. To this process every customer has
just been renamed in the CRM; to a process that only calls ``use`` nobody has touched anything.
"""

from __future__ import annotations

from sync_worker.connectors import CONNECTORS

EDITED = False
"""Whether the CRM shows every customer's name as edited."""


def use(*, edited: bool) -> None:
    """Put these vendors in the place of the real ones, in this process."""
    global EDITED  # noqa: PLW0603  # one process is either the one that fills or one that works
    EDITED = edited
    CONNECTORS.update(dict.fromkeys(CONNECTORS, __name__))

"""Keeping the directories of account managers fresh: who is new, renamed, disabled or gone."""

from __future__ import annotations

import structlog

from sync_worker.connectors.base import Connector
from sync_worker.store import directory
from sync_worker.store.session import Database
from sync_worker.store.touches import Touched

log = structlog.get_logger(__name__)


def refresh(db: Database, connector: Connector) -> tuple[Touched, ...]:
    """Read one system's directory; returns the links that waited for somebody in it, released.

    Raises SyncError; then the directory stays as it was.
    """
    found = directory.refresh(db, connector.system, connector.list_managers())
    counts = {name: getattr(found, name) for name in ("new", "renamed", "disabled", "enabled", "left")}
    if any(counts.values()):
        log.info("directory.changed", system=connector.system, released=len(found.released), **counts)
    return found.released

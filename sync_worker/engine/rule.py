"""What a handler tells the engine: who takes part and when a record may be created. Reads like the user guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sync_worker.connectors.base import Record
from sync_worker.engine.flow import Flow
from sync_worker.events import Side
from sync_worker.store.rows import LinkRow

INSISTED = "insisted"  # asked for once more, of a record that waits because others resemble it
TO_ONE = ("manual", INSISTED)  # what a person permitted one record; only this ends `unlinked` (E19)
BY_A_PERSON = (*TO_ONE, "import")  # and to a whole run: everybody
LONGEST_NAME = 255  # characters of what somebody typed that is kept with a link to say why it waits


@dataclass(frozen=True, slots=True)
class Permission:
    """May the partner be created? When not: the cause, and what would allow it."""

    allowed: bool
    cause: str = ""
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a record takes no part now. ``waiting``: it would once ``waiting_on`` is there; else the flow's filter."""

    state: Literal["excluded", "waiting"]
    cause: str
    params: Mapping[str, Any]
    waiting_on: str | None = None


class Rule(Protocol):
    """One entity's business rules; pure."""

    def takes_part(self, flow: Flow, side: Side, record: Record) -> LeftOut | None:
        """None when the record takes part."""

    def may_create(self, flow: Flow, row: LinkRow, record: Record, into: Side) -> Permission:
        """May the partner of an unlinked record be created on ``into``?"""

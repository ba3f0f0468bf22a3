"""What a pass needs of the worker that runs it: time, chance, the store, and its leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mappings.merge import Plan, Sides
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.events import Side
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save


class Desk(Protocol):
    """Implemented by ``core.Engine`` for one batch."""

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970, as the leases go by."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""

    def planned(self, p: Pass, sides: Sides, plan: Plan) -> None:
        """Told what was decided about a link, before anything of it is done."""

    def hold(self, passes: Sequence[Pass]) -> list[Pass]:
        """Renew the leases and store what is about to be written; the passes whose token still counts."""

    def alive(self) -> set[int]:
        """Ids of this batch's links whose lease still counts; leases with little left are renewed (E2)."""

    def commit(self, saves: Sequence[Save]) -> set[int]:
        """Store links in the middle of their passes, keeping the leases; ids of those whose token still counts."""

    def finish(self, *saves: Save) -> None:
        """Store links at the end of their passes, before the rest of their batch."""

    def portion(self, target: Side) -> int:
        """How many links may be read and written in one go where ``target`` is written (E22)."""

    def note_portion(self, target: Side, seconds: float, count: int) -> None:
        """Say how long such a portion took; the next is sized by it."""

    def open_intents(self, row: LinkRow, side: Side) -> int:
        """Open creates towards ``side`` that were opened before this row was first heard of (E17)."""

    def linked_elsewhere(self, flow: Flow, row: LinkRow) -> str | None:
        """The flow through which this CRM record is a customer of another ERP company already (E21)."""

    def linked_keys(self, flow: str, entity: str, side: Side, keys: Sequence[str]) -> set[str]:
        """Which of these keys stand on a full link already."""

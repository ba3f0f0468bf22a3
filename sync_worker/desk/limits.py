"""What a run may do without a person saying so: ``limits`` of the flow. Live edits are not bound by them."""

from __future__ import annotations

from dataclasses import dataclass

from sync_worker.config.flows import LimitsConfig
from sync_worker.errors import PermanentError
from sync_worker.wording import counted


class LimitReached(PermanentError):
    """A run would do more than its flow's limits let it do unasked; nothing was done."""

    code = "limit_reached"

    def __init__(self, why: str, look: str) -> None:
        """``look``: the command that shows what would be done."""
        super().__init__(f"{why}; nothing was done; look with {look}, then give --yes")
        self.why = why


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a run would do at most. ``changed``: records created or changed; ``blanked``: fields emptied."""

    changed: int = 0
    blanked: int = 0


def passed(extent: Extent, limits: LimitsConfig) -> str:
    """Which limit would be passed, and by how much; "" for none."""
    changed, blanked = counted(extent.changed, "record"), counted(extent.blanked, "field")
    if extent.changed > limits.changed:
        return f"up to {changed} would be created or changed, more than limits.changed = {limits.changed}"
    if extent.blanked > limits.blanked:
        return f"up to {blanked} would be emptied, more than limits.blanked = {limits.blanked}"
    return ""


def check(extent: Extent, limits: LimitsConfig, look: str) -> None:
    """Stop a run that would do too much. ``look``: the command that shows what. Raises LimitReached."""
    why = passed(extent, limits)
    if why:
        raise LimitReached(why, look)

"""Faults on request: everything that can go wrong with a vendor, switchable while it runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from sync_worker.connectors.emulation.wire import Operation

_BEFORE = (
    ("p_before_apply", "before_apply"),
    ("p_500", "500"),
    ("p_503", "503"),
    ("p_429", "429"),
    ("p_429_no_hint", "429_no_hint"),
)


class UnknownFault(ValueError):
    """A fault that does not exist, or a value of the wrong type; the message names it."""


class ValueRefused(Exception):
    """The vendor does not take this value; the emulator answers in its own error form."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason


@dataclass
class Faults:
    """All faults of an emulator. ``p_*`` are probabilities per call, notice or record read.

    ``fail_next``: one-shot faults ``{"operation": name | "read" | "write" | "*", "fault": one of ONE_SHOTS}``; the
    first that fits a call strikes it and is gone. ``lost_after_apply``: a write is applied, the connection dropped;
    ``before_apply``: dropped before anything happened; ``reset``: dropped in the middle of the answer.
    ``latency_ms``: what a call over sockets takes from its arrival to its answer, the emulator's own work included.
    ``stale_seconds``: how long after a write a read may still show the version before it.
    ``p_notice_reordered``: a notice is overtaken by those after it; ``notices_reordered``: any order at all.
    ``max_in_flight``: calls at once before 429, over sockets only; 0: no limit.
    ``cut`` / ``refuse_longer``: column -> length; ``upper``: columns a script re-cases; ``refuse``: column -> values.
    """

    ONE_SHOTS: ClassVar[frozenset[str]] = frozenset(
        {"500", "503", "429", "429_no_hint", "lost_after_apply", "before_apply", "reset", "slow", "401"}
    )

    latency_ms: float = 0.0
    p_500: float = 0.0
    p_503: float = 0.0
    p_429: float = 0.0
    p_429_no_hint: float = 0.0
    retry_after_s: int = 1
    p_before_apply: float = 0.0
    p_lost_after_apply: float = 0.0
    p_reset_mid_body: float = 0.0
    p_slow: float = 0.0
    slow_ms: float = 1000.0
    fail_next: list[dict[str, str]] = field(default_factory=list)
    blackout: bool = False
    max_in_flight: int = 0
    p_notice_lost: float = 0.0
    p_notice_doubled: float = 0.0
    p_notice_reordered: float = 0.0
    notices_reordered: bool = False
    notices_off: bool = False
    p_stale_read: float = 0.0
    stale_seconds: float = 30.0
    cut: dict[str, int] = field(default_factory=dict)
    refuse_longer: dict[str, int] = field(default_factory=dict)
    upper: list[str] = field(default_factory=list)
    refuse: dict[str, list[Any]] = field(default_factory=dict)

    def merge(self, values: Mapping[str, Any]) -> None:
        """Set faults by name; nothing is set when one of them is wrong. Raises ``UnknownFault``."""
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise UnknownFault(f"unknown fault: {name}")
            if not _fits(getattr(self, name), value):
                raise UnknownFault(f"wrong type for fault: {name}")
        for shot in values.get("fail_next", ()):
            if shot.get("fault") not in self.ONE_SHOTS or not isinstance(shot.get("operation"), str):
                raise UnknownFault(f"fail_next: unknown one-shot fault {shot.get('fault')!r}")
        for name, value in values.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def strike(self, operation: Operation, rng: random.Random) -> str | None:
        """Which fault hits this call, if any. Sign-in calls are hit only by one-shot faults."""
        for i, shot in enumerate(self.fail_next):
            if shot["operation"] in ("*", operation.kind, operation.name):
                del self.fail_next[i]
                return shot["fault"]
        if operation.kind not in ("read", "write"):
            return None
        for name, fault in _BEFORE:
            if (p := getattr(self, name)) and rng.random() < p:
                return fault
        if operation.kind == "write" and self.p_lost_after_apply and rng.random() < self.p_lost_after_apply:
            return "lost_after_apply"
        if self.p_reset_mid_body and rng.random() < self.p_reset_mid_body:
            return "reset"
        if self.p_slow and rng.random() < self.p_slow:
            return "slow"
        return None

    @property
    def touches_values(self) -> bool:
        """Whether ``store`` can change or refuse anything: lets the common case skip it."""
        return bool(self.cut or self.upper or self.refuse or self.refuse_longer)

    def store(self, column: str, value: Any) -> Any:
        """What the vendor makes of a written value. Raises ``ValueRefused``."""
        if value in self.refuse.get(column, ()):
            raise ValueRefused(column, "value not allowed")
        if not isinstance(value, str):
            return value
        limit = self.refuse_longer.get(column)
        if limit is not None and len(value) > limit:
            raise ValueRefused(column, f"longer than {limit}")
        length = self.cut.get(column)
        if length is not None:
            value = value[:length]
        return value.upper() if column in self.upper else value


def _fits(current: Any, value: Any) -> bool:
    if isinstance(current, bool):
        return isinstance(value, bool)
    if isinstance(current, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(current))

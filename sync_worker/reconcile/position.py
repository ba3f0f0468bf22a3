"""How far a verify run has come: what has to survive a Ctrl-C. It stays small however many records there are."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_worker.events import SIDES, Side


class Bits:
    """A set of link ids at one bit each."""

    def __init__(self, content: bytes = b"") -> None:
        self._bits = bytearray(content)

    def add(self, number: int) -> None:
        byte = number >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1024 - len(self._bits)))
        self._bits[byte] |= 1 << (number & 7)

    def discard(self, number: int) -> None:
        if number in self:
            self._bits[number >> 3] &= ~(1 << (number & 7))

    def __contains__(self, number: int) -> bool:
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (number & 7) & 1)

    def dump(self) -> str:
        return base64.b64encode(zlib.compress(bytes(self._bits), 1)).decode()

    @classmethod
    def load(cls, text: str) -> Bits:
        return cls(zlib.decompress(base64.b64decode(text)))


@dataclass(slots=True)
class Range:
    """A stretch of keys, up to and including ``last``: how many records were shown, and how many take no part."""

    last: str
    shown: int
    left_out: int


@dataclass
class Position:
    """``walked``: sides whose walk has ended, with whether it was complete. ``links``: per side, the links seen."""

    ranges: dict[Side, list[Range]] = field(default_factory=lambda: {side: [] for side in SIDES})
    totals: dict[Side, int | None] = field(default_factory=dict)
    walked: dict[Side, bool] = field(default_factory=dict)
    links: dict[Side, Bits] = field(default_factory=lambda: {side: Bits() for side in SIDES})
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def seen(self, side: Side) -> int:
        """Records shown so far: the sum over the ranges."""
        return sum(one.shown for one in self.ranges[side])

    def left_out(self, side: Side) -> int:
        """Records without a link that the flow leaves out."""
        return sum(one.left_out for one in self.ranges[side])

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ranges": {s: [[r.last, r.shown, r.left_out] for r in self.ranges[s]] for s in SIDES},
            "links": {s: self.links[s].dump() for s in SIDES},
            "totals": self.totals,
            "walked": self.walked,
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def load(cls, raw: Mapping[str, Any] | None) -> Position:
        """From JSON; None: the beginning."""
        if raw is None:
            return cls()
        return cls(
            ranges={s: [Range(*one) for one in raw["ranges"][s]] for s in SIDES},
            totals=dict(raw["totals"]),
            walked=dict(raw["walked"]),
            links={s: Bits.load(raw["links"][s]) for s in SIDES},
            calls=dict(raw["calls"]),
            seconds=float(raw["seconds"]),
        )

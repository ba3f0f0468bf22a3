"""What a rewrite wants of one link, and what came of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mappings.fields import Value
from sync_worker.engine.flow import Flow
from sync_worker.events import Side
from sync_worker.store.rows import LinkRow
from sync_worker.store.session import dumps

# why a field is left as it is: code -> what people read
LEFT = {
    "edited": "edited since",
    "direction": "the flow does not write it there",
    "refused": "the vendor refused it",
    "excluded": "the flow's filter leaves the record out",
    "relinked": "the record is linked otherwise by now",
    "unlinked": "no longer linked: link it again first",
    "busy": "its partner is just being made",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """``takes``: field -> choice, as ``Memory.take`` has it. ``left``: field -> why it is left ("" = all of the link).

    ``unlink``: its partner was created by what is undone, so the link ends when all else is done. ``join``: the ERP's
    and the CRM's key, to be linked again before anything else. ``linked``: the link itself was made by what is undone.
    """

    link_id: int
    flow: str
    takes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    unlink: bool = False
    join: tuple[str, str] | None = None
    linked: bool = False

    @property
    def idle(self) -> bool:
        """Nothing is to be done; it is only told of."""
        return not (self.takes or self.unlink or self.join)

    def detail(self) -> dict[str, Any]:
        """As a run's row keeps it."""
        values = {name: dict(take["values"]) for name, take in self.takes.items()}
        kept = {"values": values, "left": dict(self.left), "unlink": self.unlink, "linked": self.linked}
        kept["plan"] = self._plan()
        return {name: value for name, value in kept.items() if value}

    def _plan(self) -> str:
        """A hash of what is wanted, and of what both sides hold for it; "" for nothing."""
        if self.idle:
            return ""
        told = [{name: [take["values"], take["if"]] for name, take in self.takes.items()}, self.unlink, self.join]
        return hashlib.blake2b(dumps(told).encode(), digest_size=8).hexdigest()


Wishes = Iterator[tuple[int, list[Wish]]]
"""Portions in the order of link ids, each with the last id that it has looked at."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of the fields of a wish: those written, and those left with the reason."""

    written: tuple[str, ...]
    left: Mapping[str, str]

    @property
    def verdict(self) -> str:
        if "refused" in self.left.values():
            return "failed"
        if self.written:
            return "partly" if self.left else "changed"
        return "left_out" if self.left else "unchanged"


def came_of(flow: Flow, row: LinkRow, detail: Mapping[str, Any], written: Mapping[tuple[str, Side], Value]) -> Came:
    """``detail``: of the wish. ``written``: (field, side) -> what was, or would be, stored there for it."""
    done: list[str] = []
    left = dict(detail.get("left", {}))
    for name, values in detail.get("values", {}).items():
        for side, value in values.items():
            fmap = flow.maps[side]
            fitted = fmap.fit(name, value)
            stored = written.get((name, side))
            if (name, side) in written and (fmap.same(name, fitted, stored) or fmap.loss(name, fitted, stored)):
                done.append(name)
            elif name in row.opens and row.opens[name].why == "refused":
                left[name] = "refused"
            elif name in row.was(side) and fmap.same(name, row.was(side)[name], fitted):
                continue
            elif row.state == "excluded":
                left[name] = "excluded"
            else:
                left[name] = "edited" if flow.policy.may_write(side, name) else "direction"
    return Came(tuple(dict.fromkeys(done)), left)

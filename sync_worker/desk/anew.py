"""With whom a run did something else than the preview foretold that a person had looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

Name = TypeVar("Name", str, int)

NAMED = 100  # in a report: more are counted only


@dataclass(frozen=True, slots=True)
class Anew(Generic[Name]):
    """Records that were planned anew: the first ``NAMED``, how many there are, and how many of them the preview did not
    know at all."""

    named: tuple[Name, ...]
    count: int
    new: int = 0

    @classmethod
    def of(cls, found: Iterator[tuple[Name, bool]]) -> Anew[Name]:
        """From each, and whether the preview knew it."""
        first = list(islice(found, NAMED))
        known = Counter(known for _, known in first) + Counter(known for _, known in found)
        return cls(tuple(name for name, _ in first), known.total(), known[False])

    def document(self, what: str) -> dict[str, Any]:
        """As reports have it. ``what``: the names are."""
        return {"planned_anew": self.count, "planned_anew_new": self.new, f"planned_anew_{what}": [*self.named]}

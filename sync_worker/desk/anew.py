"""With whom a run did something else than the preview foretold that a person had looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

Name = TypeVar("Name", str, int)

NAMED = 100  # in a report: more are counted only


@dataclass(frozen=True, slots=True)
class Anew(Generic[Name]):
    """Records that were planned anew: the first ``NAMED``, and how many there are."""

    named: tuple[Name, ...]
    count: int

    @classmethod
    def of(cls, found: Iterator[Name]) -> Anew[Name]:
        named = tuple(islice(found, NAMED))
        return cls(named, len(named) + sum(1 for _ in found))

    def document(self, what: str) -> dict[str, Any]:
        """As reports have it. ``what``: the names are."""
        return {"planned_anew": self.count, f"planned_anew_{what}": [*self.named]}

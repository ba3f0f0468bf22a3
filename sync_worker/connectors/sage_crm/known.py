"""What one batch of reads knows so far of its customers' rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mappings.sage_crm import PARTS
from sync_worker.connectors.base import Ask
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.tables import BIT, EMAIL, PHONE, PRIMARY, TICKED, Linked, Row, Shape

LINKED: tuple[Linked, ...] = (PHONE, EMAIL)
TIED = (*LINKED, TICKED)


@dataclass(frozen=True, slots=True)
class Tie:
    """A row of a link table: a child of some type on a company."""

    link_id: int
    kind: str  # case folded
    child: str


@dataclass
class Known:
    """Per table: key -> row, None when the vendor showed none; per link table: company -> its ties."""

    rows: dict[str, dict[str, Row | None]] = field(default_factory=lambda: {part: {} for part in PARTS})
    ties: dict[str, dict[str, list[Tie]]] = field(default_factory=lambda: {of.part: {} for of in TIED})

    def primary(self, part: str, ask: Ask) -> str | None:
        """Id of the primary child as far as known: "" = there is none, None = not known."""
        company = self.rows["company"].get(ask.key)
        if company is not None and company.has(PRIMARY[part][1]):
            named = company.id(PRIMARY[part][1])
            return named if not named or where.is_id(named) else None  # what is no id says nothing
        key = ask.children.get(part, "")
        return key if where.is_id(key) else None

    def shows(self, part: str, key: str, ask: Ask) -> bool:
        """Asked for, or found to be another row than the one known."""
        switched = ask.key in self.rows["company"] and key != ask.children.get(part)
        return bool(ask.parts & BIT[part]) or (switched and not ask.alone)


def ticked(shape: Shape, ties: Iterable[Tie]) -> list[str]:
    """The addresses that are ticked with the type that is shown."""
    kind = shape.address_type.casefold()
    return list(dict.fromkeys(tie.child for tie in ties if tie.kind == kind))

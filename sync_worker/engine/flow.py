"""A flow as the engine uses it: one ERP and one CRM joined for one entity, everything looked up beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mappings.codecs import collapse, fold
from mappings.fields import FieldMap
from mappings.matching import MatchPolicy
from mappings.merge import InStep, Policy, Translate
from sync_worker.connectors.base import Connector, Record
from sync_worker.events import Side
from sync_worker.store.waiting import Scope


@dataclass(frozen=True)
class SubCompanies:
    """Which of a CRM's sub-companies a flow takes (LAY-15), by folded name; "" stands for having none.

    ``column``: where a record names its own. ``mapped``: what any flow over this CRM takes. ``tells``: this flow shows
    the records of those that no flow takes; the others leave them out.
    """

    column: str
    mine: frozenset[str]
    mapped: frozenset[str]
    tells: bool


@dataclass(frozen=True)
class Flow:
    """``create``: when a record may be created per side. ``filters``: per side column -> allowed values.

    ``translator``: makes the translate and in_step functions for one batch (it reads the manager mapping once).
    ``invoices_of``: the sides whose final invoices permit a partner on the other.
    ``switched_on_at``: seconds; what the vendors stamped before that is no notice (E7). ``ways_opened_at``: since when
    the direction leads to a side. ``shared_crm``: all flows over the same CRM records, itself included (E21);
    ``others_create``: another of them makes customers in its own ERP by itself. ``create_without_manager``: are
    customers made in the ERP whose manager cannot be translated yet (AM-9)?
    """

    name: str
    entity: str
    systems: Mapping[Side, str]
    connectors: Mapping[Side, Connector]
    maps: Mapping[Side, FieldMap]
    policy: Policy
    create: Mapping[Side, str]
    translator: Callable[[], tuple[Translate, InStep]]
    switched_on_at: float
    ways_opened_at: Mapping[Side, float] = field(default_factory=dict)
    filters: Mapping[Side, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    match_policy: MatchPolicy = "ladder"
    company: str = ""
    unlinked_per_hour: int = 20
    shared_crm: tuple[str, ...] = ()
    others_create: bool = False
    crm_ref_column: str = ""
    crm_company_column: str = ""
    invoices_of: tuple[Side, ...] = ()
    sub_companies: SubCompanies | None = None
    create_without_manager: bool = True

    def linked_ref(self, crm: Record) -> str | None:
        """The ERP's human id that a CRM record names in its own column."""
        return _text(crm, self.crm_ref_column)

    def linked_company(self, crm: Record) -> str | None:
        """The ERP company that a CRM record names: its ids count only inside that company (GUMU-8)."""
        return _text(crm, self.crm_company_column)

    def is_own_company(self, named: str) -> bool:
        """Is this the ERP company of this flow, by the name that people see?"""
        return fold(collapse(named)) == fold(collapse(self.company))

    def opened_at(self, side: Side) -> float:
        """Since when records may be written to ``side``: what is older waits to be asked for (GUMU-15)."""
        return self.ways_opened_at.get(side, self.switched_on_at)

    @property
    def scope(self) -> Scope:
        return Scope(self.name, self.entity, (self.systems["erp"], self.systems["crm"]), self.shared_crm)

    def stale(self, side: Side) -> float:
        return self.connectors[side].capabilities.stale_seconds

    def parts_mask(self, side: Side, fields: set[str]) -> int:
        """The tables of ``side`` that hold these fields, as a parts mask."""
        parts = self.connectors[side].capabilities.parts
        wanted = self.maps[side].parts_of(fields)
        return sum(1 << i for i, part in enumerate(parts) if part in wanted)


def _text(record: Record, column: str) -> str | None:
    value = record.native.get(column) if column else None
    return str(value) if value not in (None, "") else None

"""A flow as the engine uses it: one ERP and one CRM joined for one entity, everything looked up beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mappings.fields import FieldMap
from mappings.matching import MatchPolicy
from mappings.merge import InStep, Policy, Translate
from sync_worker.connectors.base import Connector, Record
from sync_worker.events import Side
from sync_worker.store.waiting import Scope

NOT_SHARED = frozenset({"account_manager"})  # E21: all that a link keeps that is not its CRM record's default


@dataclass(frozen=True)
class Flow:
    """``create``: when a record may be created per side. ``filters``: per side column -> allowed values.

    ``translator``: makes the translate and in_step functions for one batch (it reads the manager mapping once).
    ``switched_on_at``: seconds; what the vendors stamped before that is no notice (E7).
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
    filters: Mapping[Side, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    match_policy: MatchPolicy = "ladder"
    company: str = ""
    unlinked_per_hour: int = 20
    shared_crm: tuple[str, ...] = ()
    crm_ref_column: str = ""
    crm_company_column: str = ""

    def linked_ref(self, crm: Record) -> str | None:
        """The ERP's human id that a CRM record names in its own column."""
        return _text(crm, self.crm_ref_column)

    def linked_company(self, crm: Record) -> str | None:
        """The ERP company that a CRM record names: its ids count only inside that company (GUMU-8)."""
        return _text(crm, self.crm_company_column)

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

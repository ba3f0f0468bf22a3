"""A customer of the API as a record: its members by their pointers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings.codecs import collapse, fold
from mappings.fields import FieldMap
from mappings.rest import PART
from sync_worker.config.profile import Profile
from sync_worker.connectors import stamps
from sync_worker.connectors.base import MAX_KEY, Record
from sync_worker.connectors.rest import pointers
from sync_worker.connectors.rest.calls import is_deleted


class Records:
    """``columns``: the pointers that make up a native customer; what an answer leaves out is left out here (E8)."""

    def __init__(self, profile: Profile, customer: FieldMap | None) -> None:
        self.profile = profile
        own = [*profile.columns.values(), profile.customers.sub_company]
        mapped = customer.columns if customer else ()
        self.columns = tuple(dict.fromkeys(c for c in (*mapped, *own) if c))

    def native(self, document: dict[str, Any], columns: Iterable[str] | None = None) -> dict[str, Any]:
        found = {c: pointers.get(document, c) for c in (self.columns if columns is None else columns)}
        return {c: value for c, value in found.items() if value is not pointers.MISSING}

    def record(self, document: dict[str, Any]) -> Record:
        layout = self.profile.customers
        key = pointers.text(document, layout.key)
        return Record(
            key,
            pointers.text(document, layout.ref)[:MAX_KEY] or key,
            self.native(document),
            parts=1,
            created_at=self.stamp(document, layout.created_at),
            updated_at=self.stamp(document, layout.updated_at),
            stamps={PART: stamps.kept(pointers.text(document, layout.updated_at))} if layout.updated_at else {},
        )

    def live(self, documents: Iterable[dict[str, Any]]) -> list[Record]:
        """The records of a page: those with a key that can be kept, and that are not deleted."""
        found = [self.record(one) for one in documents if not is_deleted(one, self.profile.customers.deleted)]
        return [record for record in found if 0 < len(record.key) <= MAX_KEY]

    def stamp(self, document: dict[str, Any], pointer: str) -> float | None:
        return stamps.utc(pointers.text(document, pointer)) if pointer else None

    def own(self, record: Record, name: str) -> str:
        """What stands at the place of a field or id; "" where it has none."""
        column = self.profile.columns.get(name)
        value = record.native.get(column) if column else None
        return "" if value is None else str(value).strip()


class Ours:
    """Do the ids on a customer speak about the flow's own ERP company? (GUMU-8)"""

    def __init__(self, records: Records, company: str, *, shared: bool) -> None:
        self._records = records
        self._company = fold(collapse(company))
        self._shared = shared

    def key(self, record: Record, name: str = "erp_key") -> str:
        """An id of our company that the customer names; where ours is the only one, no company named means it."""
        named = fold(collapse(self._records.own(record, "erp_company")))
        ours = not self._shared if not named else not self._company or named == self._company
        return self._records.own(record, name) if ours else ""

"""Finding customers that might be the one we look for: one call per value that is asked, exact tests here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from mappings.codecs import email_key
from mappings.names import search_names
from sync_worker.connectors.base import Criteria, Record
from sync_worker.connectors.evidence import MOST, Mark, Marked, marks, same_name, same_tax, same_text, tax_forms
from sync_worker.connectors.fanout import Fanout
from sync_worker.connectors.rest.calls import Calls
from sync_worker.connectors.rest.records import Ours, Records

_SIMILAR = 100  # rows looked at per value
_RESOLUTION = 1.0  # seconds: a stamp may carry no fraction


class Finder:
    """Searches customers by the query parameters that the profile names; what it does not name is not searched."""

    def __init__(self, calls: Calls, records: Records, fanout: Fanout, ours: Ours) -> None:
        self._calls = calls
        self._records = records
        self._fanout = fanout
        self._ours = ours

    def find(self, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Per criteria the customers that match any of its parts, best evidence first, at most 20."""
        queries = dict.fromkeys(query for one in criteria for query in self._queries(one))
        jobs = [partial(self._ask, name, value) for name, value in queries]
        known = {record.key: record for found in self._fanout.run(jobs) for record in found}
        own, marked = self._records.own, Marked()
        for record in known.values():
            ids = self._ours.key(record), self._ours.key(record, "erp_ref"), own(record, "tax_number")
            marked.add(record.key, marks(*ids, [own(record, "email")], own(record, "name")))
        found = ([known[key] for key in marked.sharing(_marks(one))] for one in criteria)
        return [self._matching(one, some) for one, some in zip(criteria, found, strict=True)]

    def _queries(self, one: Criteria) -> list[tuple[str, str]]:
        layout = self._records.profile.find
        asked: list[tuple[str, Sequence[str | None]]] = [
            (layout.erp_key, [one.correlation]),
            (layout.erp_ref, [one.ref]),
            (layout.tax_number, tax_forms(one.tax_number)),
            (layout.email, [(one.email or "").strip()]),
            (layout.name, search_names(one.name) if one.name else []),
        ]
        return [(parameter, value) for parameter, values in asked if parameter for value in values if value]

    def _ask(self, parameter: str, value: str) -> list[Record]:
        found: list[Record] = []
        for page in self._calls.pages({parameter: value}):
            found += self._records.live(page)
            if len(found) >= _SIMILAR:
                break
        return found

    def _matching(self, one: Criteria, known: Iterable[Record]) -> list[Record]:
        ranked = []
        for at, record in enumerate(known):
            strength = self._strength(one, record)
            born = record.created_at
            if strength and (one.created_since is None or born is None or born >= one.created_since - _RESOLUTION):
                ranked.append((-strength, at, record))
        return [record for _, _, record in sorted(ranked, key=lambda row: row[:2])[:MOST]]

    def _strength(self, one: Criteria, record: Record) -> int:
        """0 = matches nothing asked for; higher = stronger evidence."""
        own = self._records.own
        if same_text(one.correlation, self._ours.key(record)):
            return 5
        if same_text(one.ref, self._ours.key(record, "erp_ref")):
            return 4
        if same_tax(one.tax_number, own(record, "tax_number")):
            return 3
        if one.email and email_key(one.email) == email_key(own(record, "email")):
            return 2
        return 1 if same_name(one.name, own(record, "name")) else 0


def _marks(one: Criteria) -> set[Mark]:
    return marks(one.correlation, one.ref, one.tax_number, [one.email], one.name)

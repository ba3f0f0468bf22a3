"""GET: one entry, or a feed by predicate, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sync_worker.connectors.emulation import Response, json_response
from sync_worker.connectors.sage_crm.emulator.answers import Problem, View, feed, view_of
from sync_worker.connectors.sage_crm.emulator.database import Database
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.paths import Target
from sync_worker.connectors.sage_crm.emulator.predicate import Options
from sync_worker.connectors.sage_crm.emulator.query import parse_order, select_keys
from sync_worker.connectors.sage_crm.emulator.schema import COMPANY_ENTITY, Row
from sync_worker.connectors.sage_crm.emulator.store import Table
from sync_worker.connectors.sage_crm.emulator.where import parse

READ_OPTIONS = frozenset({"where", "count", "startIndex", "orderBy", "select", "include"})
DEFAULT_COUNT = 10


class Versions(Protocol):
    """The kit's memory of versions that a stale read may still show."""

    def seen(self, entity: str, key: str, current: Any) -> Any: ...

    def recently_replaced(self, entity: str) -> list[str]: ...

    def touched(self, records: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Answers reads. Raises ``Problem`` and ``BadWhere``."""

    database: Database
    faults: SageCrmFaults
    versions: Versions

    def get(self, table: Table, target: Target, options: Mapping[str, str], base: str) -> Response:
        only(options, READ_OPTIONS)
        if "include" in options and not self.faults.include_allowed:
            raise Problem(400, "BadQueryParameter", "include is not supported")
        view = view_of(table.spec, base, self.faults, _selected(table, options.get("select")))
        included = [name.strip().lower() for name in options.get("include", "").split(",") if name.strip()]
        if target.form != "entry":
            return self._feed(table, target, options, view, included)
        row = self.versions.seen(table.spec.name, str(target.key), table.live(target.key))
        if row is None:
            raise Problem(404, "ResourceNotFound", "No such record")
        return json_response(200, self._entry(view, target.key, row, included))

    def _feed(
        self,
        table: Table,
        target: Target,
        options: Mapping[str, str],
        view: View,
        included: Sequence[str],
    ) -> Response:
        rules = self._rules()
        texts = [text for text in (target.text, options.get("where")) if text is not None and text != ""]
        if options.get("where") == "" or len(texts) > 1:
            raise Problem(400, "BadWhereSyntax", "One predicate is expected")
        if "orderBy" in options and not self.faults.order_allowed:
            raise Problem(400, "BadQueryParameter", "orderBy is not supported")
        order = parse_order(options["orderBy"], table, rules) if "orderBy" in options else ()
        older = self._older(table)
        keys = select_keys(table, parse(texts[0]) if texts else None, order, rules, older)
        start = _number(options, "startIndex", 1)
        size = min(_number(options, "count", DEFAULT_COUNT), self.faults.page_cap)
        entries = [
            self._entry(view, key, row, included)
            for key in keys[start - 1 : start - 1 + size]
            if (row := older[key] if key in older else table.rows[key]) is not None
        ]
        self.versions.touched(len(entries))
        return json_response(200, feed(f"{view.base}{table.spec.name}", len(keys), start, size, entries))

    def _rules(self) -> Options:
        faults = self.faults
        hidden = frozenset(column.lower() for column in faults.hidden_columns)
        return Options(timestamps=faults.timestamp_literals, day_is_whole=faults.day_is_whole, hidden=hidden)

    def _older(self, table: Table) -> dict[int, Row | None]:
        """The versions this read is shown instead of the present ones, by key; and deleted rows, where they show."""
        name, deleted = table.spec.name, table.spec.deleted
        shows = self.faults.deleted_in_feeds
        out: dict[int, Row | None] = {k: row for k, row in table.rows.items() if row.get(deleted)} if shows else {}
        for text in self.versions.recently_replaced(name):
            current = table.live(int(text))
            shown = self.versions.seen(name, text, current)
            if shown is not current:
                out[int(text)] = shown
        return out

    def _entry(self, view: View, key: int, row: Row, included: Sequence[str]) -> dict[str, Any]:
        entry = view.entry(key, row)
        for name in included:
            self._include(view, entry, row, name)
        return entry

    def _include(self, view: View, entry: dict[str, Any], row: Row, name: str) -> None:
        """Expand the primary person or address, or the phones or e-mails (documented for the 1.1 contract only)."""
        for title, (table_name, column) in view.spec.references.items():
            table = self.database.tables[table_name]
            linked = table.live(row[column]) if title.lower() == name and column in row else None
            if linked is not None:
                entry[title] = view_of(table.spec, view.base, self.faults).entry(row[column], linked)
        for kind, prefix in (("Phone", "PLink"), ("Email", "ELink")):
            if name != f"{kind.lower()}collection" or view.spec.name != "Company":
                continue
            links, table = self.database.tables[f"{kind}Link"], self.database.tables[kind]
            inner = view_of(table.spec, view.base, self.faults)
            keys = links.equal(f"{prefix}_RecordID", row[view.spec.key]) or ()
            own = [links.rows[key] for key in keys if links.rows[key][f"{prefix}_EntityID"] == COMPANY_ENTITY]
            rows = [(link[f"{prefix}_{kind}Id"], table.live(link[f"{prefix}_{kind}Id"])) for link in own]
            entry[f"{kind}Collection"] = {"$resources": [inner.entry(k, r) for k, r in rows if r is not None]}


def _selected(table: Table, text: str | None) -> list[str] | None:
    """The columns of a projection; hidden ones are dropped later, like from any answer."""
    if not text:
        return None
    columns = [table.spec.spelled(name.strip()) for name in text.split(",")]
    known = [column for column in columns if column is not None]
    if len(known) < len(columns):
        raise Problem(400, "BadQueryParameter", "Unknown column in select")
    return known


def only(options: Mapping[str, str], known: frozenset[str]) -> None:
    """Our assumption, on the strict side: an unknown query option is refused, not ignored."""
    for name in options:
        if name not in known:
            raise Problem(400, "BadQueryParameter", f"Unknown query option {name[:60]}")


def _number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise Problem(400, "BadQueryParameter", f"{name} must be a positive number")
    return int(text)

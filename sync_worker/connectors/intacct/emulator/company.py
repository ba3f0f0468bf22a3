"""The emulated company: its tables, keys, users, and how records look from outside (nested, or as flat columns)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sync_worker.connectors.emulation import Emulator
from sync_worker.connectors.intacct.emulator.schema import (
    CONTACT,
    CUSTOMER,
    EMBEDDED_CONTACT,
    EMPLOYEE,
    Leaf,
    Node,
    Ref,
    Type,
    object_types,
)
from sync_worker.connectors.intacct.emulator.tables import Table, Version

_NO_TARGET = {"key": None, "id": None, "href": None}


@dataclass(frozen=True, slots=True)
class Column:
    """A dotted column of an object: its type, its value in a version, and the index that finds it, if any."""

    type: Type
    get: Callable[[Version], Any]
    find: Callable[[Iterable[Any]], dict[str, None]] | None = None


class UnknownColumn(Exception):
    """No such column; the message is its dotted name."""


class Company:
    """All records. ``look`` is how every read sees one: possibly the version before the last write."""

    def __init__(self, emulator: Emulator, custom_fields: Mapping[str, tuple[str, ...]]) -> None:
        self._emulator = emulator
        self.kinds = object_types(custom_fields)
        self.tables = {path: Table(kind) for path, kind in self.kinds.items()}
        self.by_entity = {kind.entity: path for path, kind in self.kinds.items()}
        self.targets = {path: dict(_targets(kind.tree, "")) for path, kind in self.kinds.items()}
        self.contact_shows_audit = False
        self._next_key = dict.fromkeys(self.kinds, 0)
        self._columns: dict[tuple[str, str], Column] = {}
        self._looked: dict[tuple[str, str], Version | None] = {}
        self._stamp = (0, "")

    def next_key(self, path: str) -> str:
        self._next_key[path] += 1
        return str(self._next_key[path])

    def stamp(self) -> str:
        """Now by the vendor's clock, whole seconds."""
        second = int(self._emulator.clock())
        if second != self._stamp[0]:
            self._stamp = (second, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)))
        return self._stamp[1]

    # --- reading -----------------------------------------------------------------------------------------------------

    def start_reading(self) -> None:
        """Called once per request: within one answer a record is seen in one version."""
        self._looked.clear()

    def look(self, path: str, key: str) -> Version | None:
        table = self.tables.get(path)
        if table is None:
            return None
        row = table.rows.get(key)
        if not self._emulator.faults.p_stale_read:
            return row
        if (path, key) not in self._looked:
            self._looked[path, key] = self._emulator.seen(table.kind.entity, key, row)
        return self._looked[path, key]

    def stale_keys(self, path: str) -> list[str]:
        """Keys whose older version a read may still show; a customer's embedded contact counts as its own."""
        keys = self._emulator.recently_replaced(self.tables[path].kind.entity)
        if keys and path == CUSTOMER:
            contacts = self._emulator.recently_replaced("contact")
            keys += self.tables[CUSTOMER].equal_to("contacts.default", contacts)
        return keys

    def name_of(self, path: str, row: Version) -> Any:
        """What a reference calls its target. An employee is called what their contact prints (our assumption)."""
        if path == EMPLOYEE:
            contact = self.look(CONTACT, row["primaryContact"] or "")
            return contact.get("printAs") if contact else None
        return row.get("name")

    def reference(self, ref: Ref, key: str | None) -> dict[str, Any]:
        """``{key, id, name?, href}``; an empty reference comes back as nulls."""
        row = self.look(ref.target, key) if key else None
        if key is None or row is None:
            return {**_NO_TARGET, "name": None} if ref.named else dict(_NO_TARGET)
        out = {"key": key, "id": row["id"]}
        if ref.named:
            out["name"] = self.name_of(ref.target, row)
        out["href"] = f"/objects/{ref.target}/{key}"
        return out

    def tree(self, path: str) -> Mapping[str, Node]:
        tree = self.kinds[path].tree
        if path == CONTACT and not self.contact_shows_audit:
            return {name: node for name, node in tree.items() if name != "audit"}
        return tree

    def render(self, path: str, row: Version) -> dict[str, Any]:
        """A record as GET shows it: nested, with every field."""
        return {**self._nest(path, self.tree(path), row, ""), **self.kinds[path].constants}

    def _nest(self, path: str, tree: Mapping[str, Node], row: Version, prefix: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, node in tree.items():
            column = prefix + name
            if isinstance(node, Leaf):
                out[name] = row.get(column)
            elif isinstance(node, Ref):
                out[name] = self._nest_ref(node, row.get(column))
            else:
                out[name] = self._nest(path, node, row, column + ".")
        if not prefix:
            out["href"] = f"/objects/{path}/{row['key']}"
            if path == EMPLOYEE:
                out["name"] = self.name_of(path, row)
        return out

    def _nest_ref(self, ref: Ref, key: str | None) -> dict[str, Any]:
        if ref.embedded and key:
            row = self.look(ref.target, key)
            if row is not None:
                return self._nest(ref.target, EMBEDDED_CONTACT, row, "")
        return self.reference(ref, key)

    # --- columns -----------------------------------------------------------------------------------------------------

    def column(self, path: str, name: str) -> Column:
        """A dotted column; one step through a reference. Raises ``UnknownColumn``."""
        if path == CONTACT and name.startswith("audit.") and not self.contact_shows_audit:
            raise UnknownColumn(name)
        known = self._columns.get((path, name))
        if known is None:
            known = self._columns[path, name] = self._compile(path, name)
        return known

    def _compile(self, path: str, name: str) -> Column:
        table = self.tables[path]
        if name == "href":
            return Column("string", lambda row: f"/objects/{path}/{row['key']}")
        if path == EMPLOYEE and name == "name":
            return Column("string", lambda row: self.name_of(path, row))
        node: Node | None = self.kinds[path].tree
        steps = name.split(".")
        for i, step in enumerate(steps):
            if not isinstance(node, Mapping) or step not in node:
                raise UnknownColumn(name)
            node = node[step]
            if isinstance(node, Ref):
                return self._through(table, ".".join(steps[: i + 1]), node, ".".join(steps[i + 1 :]), name)
        if not isinstance(node, Leaf):
            raise UnknownColumn(name)
        find = (lambda values: table.equal_to(name, values)) if table.is_indexed(name) else None
        return Column(node.type, lambda row: row.get(name), find)

    def _through(self, table: Table, column: str, ref: Ref, rest: str, name: str) -> Column:
        indexed = table.is_indexed(column)
        if rest == "key":
            find = (lambda values: table.equal_to(column, [str(v) for v in values])) if indexed else None
            return Column("key", lambda row: row.get(column), find)
        plain = rest in ("id", "href") or (rest == "name" and ref.named)
        if not plain and not (ref.embedded and self._is_embedded_column(rest)):
            raise UnknownColumn(name)
        if ref.target not in self.tables:
            return Column("string", _nothing)
        target = self.column(ref.target, rest)

        def get(row: Version) -> Any:
            key = row.get(column)
            found = self.look(ref.target, key) if key else None
            return target.get(found) if found is not None else None

        inner = target.find
        if not indexed or inner is None:
            return Column(target.type, get)
        return Column(target.type, get, lambda values: table.equal_to(column, inner(values)))

    @staticmethod
    def _is_embedded_column(name: str) -> bool:
        node: Node = EMBEDDED_CONTACT
        for step in name.split("."):
            if not isinstance(node, Mapping) or step not in node:
                return False
            node = node[step]
        return isinstance(node, Leaf)

    def leaves(self, path: str) -> list[str]:
        """Every dotted column of an object, references as key, id and name, embedded contacts in full."""
        return list(_leaves(self.tree(path), ""))

    def flatten(self, path: str, row: Version) -> dict[str, Any]:
        """A record as one flat row of every column: what a query of everything would show."""
        return {name: self.column(path, name).get(row) for name in self.leaves(path)}


def _nothing(_row: Version) -> None:
    """The value of a column behind a reference to an object that is not emulated."""
    return


def _targets(tree: Mapping[str, Node], prefix: str) -> Iterable[tuple[str, str]]:
    """Reference columns and what they point at."""
    for name, node in tree.items():
        if isinstance(node, Ref):
            yield prefix + name, node.target
        elif isinstance(node, Mapping):
            yield from _targets(node, f"{prefix}{name}.")


def _leaves(tree: Mapping[str, Node], prefix: str) -> Iterable[str]:
    for name, node in tree.items():
        column = prefix + name
        if isinstance(node, Leaf):
            yield column
        elif isinstance(node, Mapping):
            yield from _leaves(node, column + ".")
        elif node.embedded:
            yield from (c for c in _leaves(EMBEDDED_CONTACT, column + ".") if ".tax.group" not in c)
        else:
            yield from (f"{column}.{part}" for part in (("key", "id", "name") if node.named else ("key", "id")))

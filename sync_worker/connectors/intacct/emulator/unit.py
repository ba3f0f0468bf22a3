"""A write that happens wholly or not at all: versions, ledger rows and triggers of one record or one atomic batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sync_worker.connectors.emulation import Actor, Emulator, WriteOp
from sync_worker.connectors.intacct.emulator.company import Company
from sync_worker.connectors.intacct.emulator.tables import Version


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the API's user or a person, and in which entity (None: top level)."""

    actor: Actor
    user_key: str
    entity_key: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """What the platform's triggers are told. ``at``: seconds since 1970."""

    entity: str
    path: str
    key: str
    id: str
    op: WriteOp
    user_key: str
    at: float


@dataclass(slots=True)
class _Pending:
    old: dict[tuple[str, str], Version | None] = field(default_factory=dict)
    ledger: list[tuple[Author, str, str, WriteOp, Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)


class Unit:
    """``with unit:`` around writes; inner uses join the outer one. An exception undoes everything."""

    def __init__(self, emulator: Emulator, company: Company, fire: Callable[[list[Trigger]], None]) -> None:
        self._emulator = emulator
        self._company = company
        self._fire = fire
        self._depth = 0
        self._pending = _Pending()
        self.quiet = False  # bulk data: no older versions, ledger rows or triggers

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth:
            return
        pending, self._pending = self._pending, _Pending()
        if kind is not None:
            self._undo(pending)
        elif not self.quiet:
            self._commit(pending)

    def put(self, path: str, row: Version) -> None:
        table = self._company.tables[path]
        self._pending.old.setdefault((path, row["key"]), table.rows.get(row["key"]))
        table.put(row)

    def drop(self, path: str, key: str) -> None:
        table = self._company.tables[path]
        self._pending.old.setdefault((path, key), table.rows[key])
        table.drop(key)

    def note(
        self, author: Author, path: str, row: Version, op: WriteOp, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """A ledger row and the trigger of this write."""
        entity = self._company.kinds[path].entity
        self._pending.ledger.append((author, entity, row["key"], op, before, after))
        self.fire(author, path, row, op)

    def fire(self, author: Author, path: str, row: Version, op: WriteOp) -> None:
        entity = self._company.kinds[path].entity
        now = self._emulator.clock()
        self._pending.triggers.append(Trigger(entity, path, row["key"], row["id"], op, author.user_key, now))

    def _undo(self, pending: _Pending) -> None:
        for (path, key), old in pending.old.items():
            table = self._company.tables[path]
            if old is not None:
                table.put(old)
            elif key in table.rows:
                table.drop(key)

    def _commit(self, pending: _Pending) -> None:
        for (path, key), old in pending.old.items():
            self._emulator.retire(self._company.kinds[path].entity, key, old)
        for author, entity, key, op, before, after in pending.ledger:
            self._emulator.record_write(
                author.actor, entity, key, op, before, after, idempotency_key=author.idempotency_key
            )
        if pending.triggers:
            self._fire(pending.triggers)

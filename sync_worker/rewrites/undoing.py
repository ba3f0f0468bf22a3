"""What an undo wants of a link, from what the journal says was done to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappings.fields import FieldMap, Value
from sync_worker.events import SIDES, Side, other
from sync_worker.rewrites.wishes import Wish
from sync_worker.store.rows import LinkRow

UNDONE = "undone"  # why both sides differ afterwards


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry of one link."""

    what: str
    side: Side | None
    key: str | None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def wish_of(
    row: LinkRow, maps: Mapping[Side, FieldMap], done: Sequence[Entry], edited: set[str], *, of_undo: bool
) -> Wish:
    """``done``: what is to be undone, in order. ``edited``: fields that live work has been about since then.

    ``of_undo``: it was an undo itself; what it unlinked is linked again.
    """
    made = [e for e in done if e.what == "create" and e.side is not None and row.key(e.side) == e.key]
    linked = any(e.what == "linked" for e in done)
    if made and row.linked:
        return _made(row, maps, made[0], edited, linked=linked)
    parted = next((e for e in reversed(done) if e.what == "unlinked"), None) if of_undo else None
    changes = _changes(done)
    join = None
    if parted is not None and not row.linked and row.crm_key is not None and parted.key is not None:
        join = (parted.key, row.crm_key)
    elif not row.linked:
        left = {"": "unlinked"} if changes or made else {}
        return Wish(row.id, row.flow, left=left)
    keys: dict[Side, str | None] = {side: row.key(side) for side in SIDES}
    if join is not None:
        keys = {"erp": join[0], "crm": join[1]}
    takes: dict[str, dict[str, Any]] = {}
    left = {}
    for (name, side), change in changes.items():
        why = _why_left(row, maps, name, side, change, edited, keys, joining=join is not None)
        if why is not None:
            left[name] = why
        elif name not in left and not _stands(row, maps, name, side, change):
            _add(takes, row, name, side, change)
    for name in left:
        takes.pop(name, None)  # a field is undone on both sides or on none
    return Wish(row.id, row.flow, takes, left, join=join, linked=linked)


@dataclass(slots=True)
class _Change:
    """One field of one side: what stood there before the first write, and what after the last."""

    key: str | None
    before: Value
    after: Value


def _changes(done: Sequence[Entry]) -> dict[tuple[str, Side], _Change]:
    found: dict[tuple[str, Side], _Change] = {}
    for entry in done:
        if entry.what != "update" or entry.side is None:
            continue
        for name, after in entry.after.items():
            change = found.setdefault((name, entry.side), _Change(entry.key, entry.before.get(name), after))
            change.key, change.after = entry.key, after
    return found


def _why_left(
    row: LinkRow,
    maps: Mapping[Side, FieldMap],
    name: str,
    side: Side,
    change: _Change,
    edited: set[str],
    keys: Mapping[Side, str | None],
    *,
    joining: bool,
) -> str | None:
    if keys[side] != change.key:
        return "relinked"
    if _stands(row, maps, name, side, change):
        return None
    if name in edited or name not in maps[side].fields:
        return "edited"
    if joining:
        return None  # its past went with the link: the pass looks what stands there
    was, fmap = row.was(side), maps[side]
    still = name in was and (fmap.same(name, change.after, was[name]) or fmap.loss(name, change.after, was[name]))
    return None if still else "edited"


def _stands(row: LinkRow, maps: Mapping[Side, FieldMap], name: str, side: Side, change: _Change) -> bool:
    """It is as it was before already."""
    return (
        name in row.was(side)
        and name in maps[side].fields
        and maps[side].same(name, row.was(side)[name], change.before)
    )


def _add(takes: dict[str, dict[str, Any]], row: LinkRow, name: str, side: Side, change: _Change) -> None:
    """Only while both sides hold what they hold now: an edit that no notice has told of yet makes it void."""
    take = takes.setdefault(name, {"values": {}, "if": {}, "blocked": UNDONE})
    take["values"][side] = change.before
    take["if"][side] = row.was(side).get(name, change.after)
    across = other(side)
    if name in row.was(across):
        take["if"].setdefault(across, row.was(across)[name])


def _made(row: LinkRow, maps: Mapping[Side, FieldMap], create: Entry, edited: set[str], *, linked: bool) -> Wish:
    """A record that was created is never deleted: it becomes inactive and its link ends."""
    side = create.side or "crm"
    was, name = row.was(side), "status"
    shared = all(name in maps[s].fields for s in SIDES)
    as_made = create.after.get(name, "active")
    if not shared:
        return Wish(row.id, row.flow, {}, {name: "direction"}, unlink=True, linked=linked)
    if name in edited or (name in was and not maps[side].same(name, was[name], as_made)):
        inactive = was.get(name) == "inactive"
        return Wish(row.id, row.flow, {}, {} if inactive else {name: "edited"}, unlink=True, linked=linked)
    held = {s: row.was(s)[name] for s in SIDES if name in row.was(s)}
    take = {"values": {side: "inactive"}, "if": held, "blocked": UNDONE}
    return Wish(row.id, row.flow, {name: take}, unlink=True, linked=linked)

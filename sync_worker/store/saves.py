"""What a pass wants stored about a link, and the column values that makes of it (E1). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sync_worker.events import SIDES, Side
from sync_worker.store.leases import LEASE
from sync_worker.store.rows import LinkRow
from sync_worker.store.session import Dumped, dumped
from sync_worker.store.touches import Touched

_LIGHT = (
    "memory", "erp_done", "crm_done", "erp_parts", "crm_parts", "erp_look_at", "crm_look_at", "erp_gone_at",
    "crm_gone_at", "due_at", "klass", "attempts", "claims", "lease_until", "noticed_at", "run_id",
)  # fmt: skip
_FULL = (
    *_LIGHT, "erp_key", "erp_ref", "crm_key", "crm_ref", "erp_was", "crm_was", "erp_children", "crm_children", "state",
    "state_at", "cause", "cause_params", "may_create", "intent", "intent_at", "intent_side", "writes", "was_linked_to",
    "first_synced_at", "last_synced_at", "is_default", "unwritten_token",
)  # fmt: skip
# SQLite writes an index anew for every column that is named, changed or not.
_LISTED = ("erp_key", "crm_key", "state", "intent_side", "intent_at")
_FULL_AS_LISTED = tuple(name for name in _FULL if name not in _LISTED)
_JSON = (
    "memory", "erp_was", "crm_was", "erp_children", "crm_children", "cause_params", "intent", "was_linked_to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gone:
    """A side whose record was removed, or that a person unlinked: the row is split (E20)."""

    side: Side
    cause: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """The child rows a read showed: notices about them lead to this record."""

    system: str
    owner_key: str
    children: frozenset[tuple[str, str]]


@dataclass
class Save:
    """One link at the end (or, with ``keep_lease``, in the middle) of a pass.

    ``seen``: the pass has answered for the notices it was claimed with. ``brings``: a side whose key is new on this row
    and may stand on a half row (E17); ``sharing``: the flows whose links may show the same CRM record, of which one is
    its default (E21). ``light``: only bookkeeping columns changed.
    """

    row: LinkRow
    seen: bool = True
    light: bool = False
    keep_lease: bool = False
    brings: Side | None = None
    sharing: tuple[str, ...] = ()
    gone: Gone | None = None
    shown: list[Shown] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Saved:
    """``lost``: ids whose token no longer counted. ``taken``: ids whose new key stands on another full link.

    ``busy``: ids whose new key stands on a half row that is just creating (try again). ``again``: due right away.
    """

    lost: set[int] = field(default_factory=set)
    taken: dict[int, int] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    again: list[Touched] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beforehand:
    """What can be written down before the transaction begins: with SQLite, whoever writes keeps all others waiting."""

    columns: dict[str, Dumped]
    journal: list[dict[str, Any]]


def written_down(one: Save) -> Beforehand:
    """All of it whose values the transaction does not change."""
    journal = [entry | dumped(entry, ("before", "after")) for entry in one.journal]
    if one.brings is not None or one.gone is not None:  # the transaction itself changes the row
        return Beforehand({}, journal)
    names = ("memory",) if one.light else _JSON
    return Beforehand(dumped({name: getattr(one.row, name) for name in names}, names), journal)


def columns_of(one: Save, found: Any) -> tuple[str, ...]:
    """The columns to be written. ``found``: the row as it stands."""
    if one.light:
        return _LIGHT
    return _FULL_AS_LISTED if all(getattr(one.row, name) == found[name] for name in _LISTED) else _FULL


def values_of(one: Save, found: Any, now: float) -> dict[str, Any]:
    """Their values: done counters, what is still noticed, the due time, the lease, permission to create."""
    row = one.row
    values = {name: getattr(row, name) for name in (_LIGHT if one.light else _FULL)}
    if not one.light and row.state != row.state_before:  # what a pass goes through on its way counts from its end
        values["state_at"] = now
    if not one.light:
        values["unwritten_token"] = None  # an intent is stored right before its create is sent
    if not one.light and not row.linked:
        values["may_create"] = found["may_create"]  # it may have been given since the claim; only linking ends it
    again = False
    for side in SIDES:
        dirty, claimed = found[f"{side}_dirty"], getattr(row, f"{side}_dirty")
        newer = dirty > claimed
        again = again or newer
        if one.seen:
            values[f"{side}_done"] = claimed
        if newer or not one.seen:
            values[f"{side}_parts"] = found[f"{side}_parts"]
        else:
            values[f"{side}_parts"] = 0
    values["lease_until"] = now + LEASE if one.keep_lease else None
    values["run_id"] = found["run_id"] if found["run_id"] is not None else row.run_id
    if one.keep_lease:
        values["due_at"] = found["due_at"]
        return values
    values["claims"] = 0
    if again:
        values["due_at"], values["klass"] = now, found["klass"]
    if one.seen and not again:
        values["noticed_at"] = None
        if row.state != "pending" and (row.due_at is None or row.due_at > now):
            values["run_id"] = None  # at rest: what comes later is no part of that run
    return values


def journal_rows(one: Save, entries: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """Rows of the journal, of what a pass said it did."""
    row = one.row
    base = {
        "link_id": row.id, "flow": row.flow, "at": now, "side": None, "key": None, "before": None, "after": None,
        "why": "", "actor": "worker", "run_id": row.run_id, "noticed_at": row.noticed_at, "read_at": None,
    }  # fmt: skip
    return [{**base, **entry} for entry in entries]

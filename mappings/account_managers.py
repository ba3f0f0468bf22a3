"""Account managers travel through mapping rows that a person made or accepted, and through nothing else (E16).

Each side keeps its own key: an ERP employee's id, a CRM user's number. A missing row opens this one field and lets all
others travel; it never clears the field on the other side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

Side = Literal["erp", "crm"]

WAITING = "account_manager"  # kind of thing that a field waits on
LONGEST_WAIT = 255  # characters of what is waited on: what our tables hold


@dataclass(frozen=True, slots=True)
class MapRow:
    """One ERP manager stands for one CRM user. ``preferred``: the one to take on the way back, where several do.

    ``*_active``: False = that system's directory says disabled, or no longer lists this person.
    """

    erp_key: str
    crm_key: str
    preferred: bool = False
    erp_active: bool = True
    crm_active: bool = True


@dataclass(frozen=True, slots=True)
class Translated:
    """The manager's key on the other side; None = nobody."""

    key: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """No row yet: the field waits on this key, ``account_manager:{system}:{key}``."""

    waiting_on_key: str
    cause: ClassVar[str] = "manager_unmapped"


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several managers and not exactly one preferred: a person has to prefer one of ``keys``."""

    keys: tuple[str, ...]
    waiting_on_key: str
    cause: ClassVar[str] = "manager_ambiguous"


@dataclass(frozen=True, slots=True)
class Disabled:
    """There is a row, but ``key`` on the other side is disabled or gone: the field waits, it is never cleared."""

    key: str
    waiting_on_key: str
    cause: ClassVar[str] = "manager_disabled"


Answer = Translated | Missing | Ambiguous | Disabled


def waiting_key(system: str, key: str) -> str:
    """What a field waits on until a row for ``key`` appears; part of the outside that scripts rely on."""
    return f"{WAITING}:{system}:{key}"[:LONGEST_WAIT]


def translate(rows: Iterable[MapRow], from_side: Side, key: str | None, *, system: str | None = None) -> Answer:
    """The counterpart of manager ``key`` of ``from_side``. ``system``: that side's configured name, for the wait."""
    wanted = _flat(key)
    if wanted is None:
        return Translated(None)
    found: dict[str, bool] = {}
    gone: set[str] = set()
    for row in rows:
        ours, theirs = (row.erp_key, row.crm_key) if from_side == "erp" else (row.crm_key, row.erp_key)
        if ours.strip() == wanted:
            found[theirs.strip()] = found.get(theirs.strip(), False) or row.preferred
            if not (row.crm_active if from_side == "erp" else row.erp_active):
                gone.add(theirs.strip())
    waits_on = waiting_key(system or from_side, wanted)
    if not found:
        return Missing(waits_on)
    preferred = [theirs for theirs, is_preferred in found.items() if is_preferred]
    choice = preferred if len(found) > 1 else list(found)
    if len(choice) != 1:
        return Ambiguous(tuple(sorted(found)), waits_on)
    return Disabled(choice[0], waits_on) if choice[0] in gone else Translated(choice[0])


def in_step(rows: Iterable[MapRow], erp_key: str | None, crm_key: str | None) -> bool:
    """Do both sides already say the same person? Then nothing is written, whichever row is the preferred one."""
    erp, crm = _flat(erp_key), _flat(crm_key)
    if erp is None or crm is None:
        return erp is crm
    return any(row.erp_key.strip() == erp and row.crm_key.strip() == crm for row in rows)


def _flat(key: str | None) -> str | None:
    return (key or "").strip() or None

"""What must be true when everything is at rest, read from the vendors' ledgers and never from our own tables.

The ledgers of both vendors are walked in the order in which things happened. Per field: who edited since both sides
last agreed? Edited on both, to different values: exactly that is a conflict. A write of ours over an edit it could not
have read is the window of E22; it is counted, and only allowed where the caller says that such windows were opened.

People may bring both sides to the same value by themselves. Whether a pass looked just then is in no ledger, and what
comes next depends on it: a field is judged by the telling that fits, in which they were seen to agree or were not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.judged import COLUMNS
from support.world import World


@dataclass
class FieldStory:
    """One field of one pair: current values, who edited since they agreed, edits of ours that overwrote one.

    Whoever puts back what a side held when both last agreed has undone the edit: nothing of it is left to travel.
    ``held``: all values of a side, in order. ``over_ours``: sides where somebody edited what we had written there, and
    both have not agreed since, but for such an undoing. ``met``: how often people made both sides agree by themselves;
    ``seen``: how many times of these, from the first on, somebody of us looked (None: always).

    ``undone``: edits overwritten by us that nobody need have seen, where a write of ours had an end that nobody learned
    (ADR 6). Either they put back what that write had replaced, and people edited another field of the row since
    (``clouded``: such sides), so that its having moved tells nothing. Or they took back the very edit that write had
    carried, while somebody edited over it on the other side. ``blurred``: sides where people put another field of the
    row back: it has moved, and shows nothing of why. ``revived``: sides whose lost edit a stale read showed all the
    same, so that we carried it over, and what we had written there looks like an edit: asked about beside another.
    """

    seen: int | None = None
    met: int = 0

    erp: Any = None
    crm: Any = None
    agreed: dict[str, Any] = field(default_factory=dict)
    agreed_before: dict[str, Any] = field(default_factory=dict)
    held: dict[str, list[Any]] = field(default_factory=lambda: {"erp": [], "crm": []})
    edited: set[str] = field(default_factory=set)
    edited_at: dict[str, float] = field(default_factory=dict)
    last_by: dict[str, str] = field(default_factory=dict)
    over_ours: set[str] = field(default_factory=set)
    replaced: dict[str, Any] = field(default_factory=dict)  # by our last write of a side
    clouded: set[str] = field(default_factory=set)
    blurred: set[str] = field(default_factory=set)
    revived: set[str] = field(default_factory=set)
    gone: dict[str, list[Any]] = field(default_factory=lambda: {"erp": [], "crm": []})  # values of lost edits
    lost: list[tuple[str, float, float]] = field(default_factory=list)  # side, edit at, overwritten at
    undone: list[tuple[str, float, float]] = field(default_factory=list)

    def happened(self, side: str, value: Any, actor: str, at: float) -> None:
        self.held[side].append(value)
        if actor == "person":
            nothing_left = side in self.agreed and self.agreed[side] == value
            (self.edited.discard if nothing_left else self.edited.add)(side)
            self.edited_at[side] = at
            if self.last_by.get(side) == "api":
                self.over_ours.add(side)
        elif side in self.edited and not in_step(getattr(self, side), value):
            current = getattr(self, side)
            put_back = side in self.clouded and self.replaced.get(side) == current
            taken_back = bool(self.over_ours - {side}) and self.agreed_before.get(side) == current
            (self.undone if put_back or taken_back else self.lost).append((side, self.edited_at[side], at))
            self.gone[side].append(current)
            self.edited.discard(side)
        if actor != "person":
            other = "crm" if side == "erp" else "erp"
            if value in self.gone[other] and not in_step(value, getattr(self, other)):
                self.revived.add(other)
            self.replaced[side] = getattr(self, side)
            self.clouded.discard(side)
            self.blurred.discard(side)
        setattr(self, side, value)
        self.last_by[side] = actor
        if in_step(self.erp, self.crm):
            by_themselves = actor == "person" and bool(self.edited)
            self.met += by_themselves
            if self.seen is not None and self.met > self.seen:
                return
            self.edited.clear()
            if actor != "person" or by_themselves:
                self.over_ours.clear()
            self.revived.clear()
            self.agreed_before, self.agreed = self.agreed, {"erp": self.erp, "crm": self.crm}

    def row_edited(self, side: str, *, put_back: bool) -> None:
        """People edited another field of the row: gave it a value it had before, or a new one."""
        self.clouded.add(side)
        if put_back:
            self.blurred.add(side)

    @property
    def conflict(self) -> bool:
        return self.edited == {"erp", "crm"} and not in_step(self.erp, self.crm)


def in_step(a: Any, b: Any) -> bool:
    """Equal, or what a vendor that cuts or re-cases made of it."""
    x, y = (str(v or "").strip().casefold() for v in (a, b))
    return x == y or (bool(x) and bool(y) and (x.startswith(y) or y.startswith(x)))


class Historian:
    """Listens to both ledgers and keeps one order of everything that happened."""

    def __init__(self, world: World) -> None:
        self.events: list[tuple[str, Any]] = []
        for side, emulator in world.vendors.items():
            plain = emulator.record_write

            def record(*args: Any, _side: str = side, _plain: Any = plain, **kw: Any) -> Any:
                row = _plain(*args, **kw)
                self.events.append((_side, row))
                return row

            emulator.record_write = record  # type: ignore[method-assign]


def read_current(world: World, erp_key: str, crm_key: str) -> dict[str, tuple[Any, Any]]:
    """Both sides' values of the judged fields as the vendors hold them now."""
    erp, crm = world.erp_record(erp_key), world.crm_record(crm_key)
    email = world.crm_child(crm_key, "Email")
    address = (
        world.crm.get_record("Address", str(crm["Comp_PrimaryAddressId"])) if crm.get("Comp_PrimaryAddressId") else None
    )
    crm_values = {
        "name": crm["Comp_Name"],
        "website": crm["Comp_WebSite"],
        "tax_number": crm["comp_vatnumber"],
        "email": email["Emai_EmailAddress"] if email else None,
        "city": address["Addr_City"] if address else None,
    }
    return {name: (erp.get(COLUMNS[name][0]), crm_values[name]) for name in COLUMNS}

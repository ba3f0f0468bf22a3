"""What our table holds of records that a feed or a walk shows, and whether they still say the same.

Each side is compared with its own past (idea 5): no vendor is asked, and nothing is believed or decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from mappings.belief import changed_fields
from mappings.canonical import NOT_SHARED
from sync_worker.connectors.base import Record
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import LeftOut
from sync_worker.events import Side, other
from sync_worker.store.tables import link, open_field

CHUNK = 500
LEFT_OUT = ("excluded", "waiting")  # states in which a filter or sub-company may hold a record; it names itself


@dataclass(frozen=True, slots=True)
class Known:
    """What our table holds of a record that was shown.

    ``was``: this side's past; an open field stands in it with the value it was parked with: only another one is news.
    ``opens``: names of the open fields. ``left_out_by``: the filter that excludes it, "" where none does;
    ``sub_company``: the unmapped one that holds it. ``withheld``: fields that the other side keeps to itself: until it
    shows them again, what this side says of them has nowhere to go.
    """

    link_id: int
    linked: bool
    was: dict[str, Any]
    children: Mapping[str, str]
    state: str = "pending"
    is_default: bool = True
    left_out_by: str = ""
    sub_company: str = ""
    opens: set[str] = field(default_factory=set)
    withheld: frozenset[str] = frozenset()


def known_in(conn: Connection, flow: Flow, side: Side, keys: Iterable[str]) -> dict[str, Known]:
    """Key -> what is known of it; unknown keys are left out."""
    c = link.c
    key, was, children = c[f"{side}_key"], c[f"{side}_was"], c[f"{side}_children"]
    wanted = sorted(set(keys))
    found: dict[str, Known] = {}
    for start in range(0, len(wanted), CHUNK):
        kept = c.memory["withheld"][other(side)]
        columns = (c.id, key, was, children, c.erp_key, c.crm_key, c.state, c.is_default, c.cause_params, kept)
        query = select(*columns).where(
            c.flow == flow.name, c.entity == flow.entity, key.in_(wanted[start : start + CHUNK])
        )
        by_id: dict[int, Known] = {}
        for link_id, k, w, ch, erp, crm, state, default, params, names in conn.execute(query):
            linked = erp is not None and crm is not None
            why = (params or {}) if state in LEFT_OUT else {}
            by, sub_company = (str(why.get(name, "")) for name in ("filter", "sub_company"))
            found[k] = by_id[link_id] = Known(
                link_id,
                linked,
                dict(w or {}),
                ch or {},
                state,
                default or not linked,
                by,
                sub_company,
                withheld=frozenset(names or ()),
            )
        o = open_field.c
        seen = select(o.link_id, o.field, o[f"{side}_seen"]).where(o.link_id.in_(by_id), o.why != "stale")
        for link_id, name, value in conn.execute(seen):
            if name:
                by_id[link_id].was[name] = value
                by_id[link_id].opens.add(name)
    return found


def let_in_or_out(left_out: LeftOut | None, side: Side, mine: Known) -> bool:
    """Does the flow's filter, or its sub-companies, say otherwise of a record than when it was last looked at?"""
    if mine.left_out_by and not mine.left_out_by.startswith(f"{side}."):
        return False  # it is the other side's record that is left out
    if left_out is None or not mine.left_out_by:
        return (left_out is None) == bool(mine.left_out_by)
    return str(left_out.params.get("sub_company", "")) != mine.sub_company


def ids_between(conn: Connection, flow: Flow, side: Side, after: str, last: str) -> list[int]:
    """Links whose key on a side lies behind ``after`` and not behind ``last``; keys order as numbers do."""
    key = link.c[f"{side}_key"]
    size = func.length(key)
    query = select(link.c.id).where(
        link.c.flow == flow.name,
        link.c.entity == flow.entity,
        or_(size > len(after), and_(size == len(after), key > after)),
        or_(size < len(last), and_(size == len(last), key <= last)),
    )
    return list(conn.execute(query).scalars())


def moved(flow: Flow, side: Side, record: Record, known: Known) -> set[str]:
    """Fields of a shown record that are not what this side held; of a linked one, those that the link keeps in step.

    What only one side has a place for has no past on a link: it would be news at every look.
    """
    values = flow.maps[side].get(record.native)
    if known.linked:
        shared = shared_fields(flow, is_default=known.is_default) - known.withheld
        values = {name: value for name, value in values.items() if name in shared}
    return changed_fields(known.was, values, flow.maps[side])


def switched(record: Record, known: Known) -> bool:
    """Does the record show another child row (person, phone, ...) than we know of?"""
    return known.is_default and any(known.children.get(name, key) != key for name, key in record.children.items())


def shared_fields(flow: Flow, *, is_default: bool) -> set[str]:
    """The fields a link keeps in step: those both sides know; fewer where it is not its record's default (E21)."""
    both = flow.maps["erp"].fields.keys() & flow.maps["crm"].fields.keys()
    return set(both if is_default else both & NOT_SHARED)

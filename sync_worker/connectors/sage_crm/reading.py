"""Reading customers: one read per table for a whole batch, in rounds, each round's tables at the same time.

What is needed is worked out from what is known so far; a round fetches it, until nothing more is needed. Ids known
from earlier reads save the link tables; an id that leads nowhere any more is not believed, and its link is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mappings.sage_crm import PARTS
from sync_worker.connectors.base import Ask, Record
from sync_worker.connectors.fanout import Fanout
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.assembling import record_of
from sync_worker.connectors.sage_crm.known import LINKED, TIED, Known, Tie, ticked
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.tables import BIT, COMPANY, PRIMARY, TICKED, Linked, Row, Shape, Table

ALL = (1 << len(PARTS)) - 1
_MAX_ROUNDS = 6  # known ids, links, what they name, and the same again after a stale id; then it settles


@dataclass
class _Needs:
    """What to fetch next: rows by part, link rows by part (of these companies)."""

    rows: dict[str, set[str]] = field(default_factory=lambda: {part: set() for part in PARTS})
    ties: dict[str, set[str]] = field(default_factory=lambda: {of.part: set() for of in TIED})


class Reader:
    """Reads native customers. Thread-safe."""

    def __init__(self, rest: Rest, shape: Shape, fanout: Fanout) -> None:
        self._rest = rest
        self._shape = shape
        self._fanout = fanout

    def read(self, asks: Sequence[Ask], companies: Iterable[Row] = ()) -> dict[str, Record | None]:
        """One batch; ``companies``: main rows that are at hand already. None: the vendor shows no such company."""
        known = Known()
        known.rows["company"].update((row.key(COMPANY), row) for row in companies)
        valid = [ask for ask in asks if where.is_id(ask.key)]
        for _ in range(_MAX_ROUNDS):
            needs = _Needs()
            for ask in valid:
                self._need(ask, known, needs)
            jobs = self._jobs(needs, known)
            if not jobs:
                break
            self._fanout.run(jobs)
        found: dict[str, Record | None] = {ask.key: None for ask in asks}
        found.update((ask.key, record_of(self._shape, ask, known)) for ask in valid)
        return found

    # --- what is needed ----------------------------------------------------------------------------------------------

    def _need(self, ask: Ask, known: Known, needs: _Needs) -> None:
        asked = ask.parts & ALL
        companies = known.rows["company"]
        if ask.key in companies and companies[ask.key] is None:
            return
        company_wanted = bool(asked & BIT["company"])
        for part in PRIMARY:
            if part == TICKED.part and self._shape.address_type:
                company_wanted = self._need_ticked(ask, known, needs) or company_wanted
                continue
            key = known.primary(part, ask)
            if key is None:
                company_wanted = company_wanted or bool(asked & BIT[part])
            elif key and known.shows(part, key, ask):
                if key not in known.rows[part]:
                    needs.rows[part].add(key)
                elif known.rows[part][key] is None:
                    company_wanted = True  # gone or switched: only the company's own row tells
        for of in LINKED:
            if asked & BIT[of.part] and self._need_linked(of, ask, known, needs):
                company_wanted = True
        if company_wanted and ask.key not in companies:
            needs.rows["company"].add(ask.key)

    def _need_linked(self, of: Linked, ask: Ask, known: Known, needs: _Needs) -> bool:
        """Note what is needed for phones or e-mails; True when a known one is gone, so the company may be too."""
        rows, ties = known.rows[of.part], known.ties[of.part].get(ask.key)
        ids: Collection[str]
        held = [ask.children.get(f"{of.part}@{kind}", "") for kind in self._shape.types[of.part]]
        if ties is not None:
            ids = {tie.child for tie in ties if tie.kind in self._kinds(of)}
            needs.rows[of.part].update(key for key in ids if key not in rows)
            return any(where.is_id(key) and (key not in ids or rows.get(key, _UNREAD) is None) for key in held)
        # a whole look believes no ids; else those known are read, and a type known to have none is left out
        ids = [key for key in held if where.is_id(key)]
        told = all(f"{of.part}@{kind}" in ask.children for kind in self._shape.types[of.part])
        believed = ask.parts & ALL != ALL and told and bool(ids) and all(key in ids or not key for key in held)
        if believed and all(rows.get(key, _UNREAD) is not None for key in ids):
            needs.rows[of.part].update(key for key in ids if key not in rows)
        else:
            needs.ties[of.part].add(ask.key)
        return False

    def _need_ticked(self, ask: Ask, known: Known, needs: _Needs) -> bool:
        """Note what is needed of the ticked address; True when the company has to say which one is its primary."""
        if not self._looks_at_ticks(ask, known):
            return False
        ties = known.ties[TICKED.part].get(ask.key)
        if ties is None:
            needs.ties[TICKED.part].add(ask.key)
            return False
        live = ticked(self._shape, ties)
        needs.rows[TICKED.part].update(key for key in live if key not in known.rows[TICKED.part])
        return len(live) != 1

    def _looks_at_ticks(self, ask: Ask, known: Known) -> bool:
        """Asked for, or the company has got another primary address, which counts where several are ticked."""
        company, (_, column) = known.rows["company"].get(ask.key), PRIMARY[TICKED.part]
        held = ask.children.get(self._shape.primary_name(TICKED.part))
        switched = company is not None and company.has(column) and company.id(column) != held
        return bool(ask.parts & BIT[TICKED.part]) or (switched and not ask.alone)

    def _kinds(self, of: Linked) -> set[str]:
        return {kind.casefold() for kind in self._shape.types[of.part]}

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _jobs(self, needs: _Needs, known: Known) -> list[Callable[[], None]]:
        tables: Mapping[str, Table] = {
            "company": COMPANY,
            **{part: table for part, (table, _) in PRIMARY.items()},
            **{of.part: of.table for of in LINKED},
        }
        jobs: list[Callable[[], None]] = []
        for part, keys in needs.rows.items():
            if keys:
                jobs.append(lambda t=tables[part], k=keys, into=known.rows[part]: into.update(self.by_id(t, k)))  # type: ignore[misc]  # mypy cannot type lambda defaults
        for of in TIED:
            if needs.ties[of.part]:
                jobs.append(lambda of=of, k=needs.ties[of.part]: known.ties[of.part].update(self.ties(of, k)))  # type: ignore[misc]  # the same
        return jobs

    def by_id(self, table: Table, keys: Iterable[str]) -> dict[str, Row | None]:
        """Rows by primary key; None for those the vendor does not show."""
        found: dict[str, Row | None] = dict.fromkeys(keys)
        for row in self._rest.rows(table, where.id_lists(table.key, sorted(found, key=int))):
            if row.key(table) in found:
                found[row.key(table)] = row
        return found

    def ties(self, of: Linked, companies: Iterable[str]) -> dict[str, list[Tie]]:
        """Link rows of companies, oldest first: where a type has several children the first live one is shown."""
        found: dict[str, list[Tie]] = {key: [] for key in companies}
        for row in self._rest.links(of, of.company, sorted(found, key=int)):
            child, company = row.id(of.child), row.id(of.company)
            if company in found and where.is_id(child):
                found[company].append(Tie(where.as_number(row.key(of.link)), of.kind_of(row), child))
        for ties in found.values():
            ties.sort(key=lambda tie: tie.link_id)
        return found


_UNREAD = Row({})

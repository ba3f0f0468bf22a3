"""What became of the suspects: each is read once more, by key, and judged with the engine's doubts (E7, E8, E11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from mappings.belief import changed_fields
from sync_worker.engine import comparing, reading
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, Side, other
from sync_worker.reconcile.position import Bits
from sync_worker.reconcile.walk import ONLY, SUSPECT
from sync_worker.store import runs
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.runs import Row
from sync_worker.store.session import Database
from sync_worker.store.tables import link

READ = 100  # links read again at a time
SCAN = 2000  # links of our own table looked at at a time
DIFFERING, GONE, IN_FLIGHT = "differing", "gone", "in_flight"
# why an unlinked record stays so by the flow's own settings: nothing is left to do about it
BY_SETTINGS = frozenset({"never", "direction", "needs_invoice", "needs_manual", "other_company"})


@dataclass
class Tally:
    """Our own table, counted after the walk. ``only``: half rows by side; ``by_settings``: those of them that stay."""

    matched: int = 0
    waiting: int = 0
    left_out: int = 0
    unlinked: int = 0
    only: Counter[Side] = field(default_factory=Counter)
    by_settings: Counter[Side] = field(default_factory=Counter)


@dataclass
class SecondLook:
    """Judges the findings of a run. ``patiently`` runs a read that may have to be repeated."""

    db: Database
    flow: Flow
    rule: Rule
    run_id: int
    links: Mapping[Side, Bits]
    patiently: Callable[[Callable[[], None]], None]

    def all(self) -> None:
        """Suspects, then links whose record was not shown, then once more what was in flight."""
        self._judge_rows((SUSPECT, DIFFERING, GONE))  # the latter from before an interruption
        for chunk in self._scan():
            unseen = [row for row in chunk if row["erp_key"] is not None and row["crm_key"] is not None]
            for side in SIDES:
                ids = [row["id"] for row in unseen if row["id"] not in self.links[side]]
                for start in range(0, len(ids), READ):
                    self._judge(ids[start : start + READ], (side,))
        self._drop_linked_meanwhile()
        self._judge_rows((IN_FLIGHT,))

    def _judge_rows(self, verdicts: Sequence[str]) -> None:
        for rows in runs.rows(self.db, self.run_id, verdicts, READ):
            self._judge([row.link_id for row in rows if row.link_id is not None], SIDES)

    def _judge(self, ids: Sequence[int], sides: Sequence[Side]) -> None:
        """Read these links' records again and store what is to be said about each; nothing, where all is well."""
        with self.db.read() as conn:
            rows = rows_of(conn, select(link).where(link.c.id.in_(ids)))
            now = self.db.now(conn)
        passes = [reading.begin(row) for row in rows if row.linked]
        asks = {side: self.flow.connectors[side].capabilities.all_parts for side in sides}
        self.patiently(lambda: reading.read(self.flow, [(p, asks) for p in passes], self.db.clock))
        judged = {p.row.id: self._verdict(p, now) for p in passes}
        kept = [row for row in judged.values() if row is not None]
        well = [_key(link_id) for link_id in ids if judged.get(link_id) is None]

        def work(conn: Connection) -> None:
            runs.put_rows_in(conn, self.run_id, kept)
            runs.drop_rows_in(conn, self.run_id, well)

        self.db.run(work)
        for p in passes:
            for side in p.records:
                self.links[side].add(p.row.id)

    def _verdict(self, p: Pass, now: float) -> Row | None:
        row = p.row
        absent = next((side for side in SIDES if side in p.absent), None)
        fields = self._apart(p)
        if absent is None and not fields and not p.stale:
            return None
        busy = _busy(row, now) or (absent is None and not fields)
        verdict = IN_FLIGHT if busy else GONE if absent is not None else DIFFERING
        side: Side = absent if absent is not None else next((s for s in SIDES if s in fields.values()), "erp")
        detail = {"side": side, "key": row.key(side), "fields": sorted(fields)}
        return Row(_key(row.id), verdict, row.id, detail)

    def _apart(self, p: Pass) -> dict[str, Side]:
        """Field -> the side on which it is not what that side held; ``filter`` for one that takes part otherwise."""
        row = p.row
        apart: dict[str, Side] = {}
        shared = comparing.shared_fields(self.flow, is_default=row.is_default)
        by = str((row.cause_params or {}).get("filter", "")) if row.state in comparing.LEFT_OUT else ""
        for side, record in p.records.items():
            left_out = self.rule.takes_part(self.flow, side, record) is not None
            if left_out != by.startswith(f"{side}.") and not (by and not by.startswith(f"{side}.")):
                apart["filter"] = side
            if by or left_out:
                continue
            if p.failed is not None:  # nothing of this record is compared
                failing, error = p.failed
                apart |= {error.field: side} if side == failing else {}
                continue
            was = {**p.was[side], **{name: o.seen(side) for name, o in row.opens.items() if name}}
            moved = changed_fields(was, p.now[side], self.flow.maps[side]) & shared
            withheld = p.memory.withheld.get(other(side), {})  # it has nowhere to go
            apart |= dict.fromkeys(moved - p.stale.keys() - withheld.keys(), side)
        return apart

    def _drop_linked_meanwhile(self) -> None:
        """A record that had no link when it was shown may have one by now: then its link is what counts."""
        for rows in runs.rows(self.db, self.run_id, (ONLY,)):
            loose = [row for row in rows if row.link_id is None and row.detail is not None]
            for side in SIDES:
                mine = {str(row.detail["key"]): row for row in loose if row.detail and row.detail["side"] == side}
                with self.db.read() as conn:
                    known = comparing.known_in(conn, self.flow, side, mine)
                for one in known.values():
                    self.links[side].add(one.link_id)
                drop = [mine[key].key for key in known]
                self.db.run(lambda conn, drop=drop: runs.drop_rows_in(conn, self.run_id, drop))  # type: ignore[misc]

    # --- our own table -----------------------------------------------------------------------------------------------

    def _scan(self) -> Iterator[list[dict[str, Any]]]:
        """All links of the flow by id, chunk by chunk."""
        c = link.c
        after = 0
        while True:
            query = select(c.id, c.erp_key, c.crm_key, c.state, c.cause).where(
                c.flow == self.flow.name, c.entity == self.flow.entity, c.id > after
            )
            with self.db.read() as conn:
                chunk = [dict(row) for row in conn.execute(query.order_by(c.id).limit(SCAN)).mappings()]
            if not chunk:
                return
            yield chunk
            after = chunk[-1]["id"]

    def tally(self) -> Tally:
        """Everything of our table that is no finding of its own."""
        out = Tally()
        for chunk in self._scan():
            found = self._found_among([row["id"] for row in chunk])
            for row in chunk:
                if row["id"] not in found:
                    self._count(row, out)
        return out

    def _found_among(self, ids: Sequence[int]) -> set[int]:
        with self.db.read() as conn:
            return runs.link_ids_in(conn, self.run_id, ids[0], ids[-1])

    def _count(self, row: Mapping[str, Any], out: Tally) -> None:
        linked = row["erp_key"] is not None and row["crm_key"] is not None
        side: Side = "erp" if row["erp_key"] is not None else "crm"
        if not linked and row["id"] not in self.links[side]:
            return  # known here, and shown by nobody: removed
        if row["state"] == "excluded":
            out.left_out += 1
        elif linked:
            open_ = row["state"] in ("waiting", "conflict", "failing")
            out.waiting += open_
            out.matched += not open_
        elif row["state"] == "unlinked":
            out.unlinked += 1
        else:
            out.only[side] += 1
            out.by_settings[side] += row["cause"] in BY_SETTINGS


def _key(link_id: int) -> str:
    return f"link:{link_id}"


def _busy(row: LinkRow, now: float) -> bool:
    """Is somebody at it, or has it given notice that nobody has answered yet?"""
    leased = row.lease_until is not None and row.lease_until > now
    return leased or row.state == "pending" or any(row.noticed(side) for side in SIDES)

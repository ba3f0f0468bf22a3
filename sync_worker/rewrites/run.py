"""One rewrite: stores wishes as choices ahead of the passes, and says of every link what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select

from mappings.fields import Value
from sync_worker.engine import crew
from sync_worker.engine.core import Engine
from sync_worker.engine.flow import Flow
from sync_worker.events import Side
from sync_worker.rewrites.wishes import Came, Wish, Wishes, came_of
from sync_worker.store import choices, pairing, runs
from sync_worker.store.pairing import By, Wanted
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.runs import UNDER_WAY, Row, Run
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link
from sync_worker.store.touches import touch_ids_in

AHEAD = 1000  # links chosen for ahead of the passes
LOOK_SECONDS = 0.2
VERDICTS = ("changed", "partly", "linked", "unlinked", "unchanged", "left_out", "failed")


@dataclass(frozen=True, slots=True)
class Progress:
    """Links taken so far, and those of them that have not come to an end."""

    seen: int
    under_way: int


@dataclass
class Rewrite:
    """``wishes``: what is wanted of the links behind an id. ``threads``: passes at a time in this process."""

    db: Database
    engine: Engine
    flows: Mapping[str, Flow]
    run: Run
    wishes: Callable[[int], Wishes]
    threads: int = 4
    progress: Callable[[Progress], None] = lambda _progress: None

    def go(self) -> dict[str, int]:
        """To the end; links by verdict. What stops it leaves the run to be gone on with."""
        with crew.working(self.engine, list(self.flows), self.threads) as wake:
            for last, portion in self.wishes(int(self.run.position or 0)):
                self._take(last, portion)
                wake()
                while self._look() > AHEAD:
                    time.sleep(LOOK_SECONDS)
            while self._look():
                time.sleep(LOOK_SECONDS)
        counts = runs.tally(self.db, self.run.id)
        runs.end(self.db, self.run.id, "done", counts)
        return counts

    def _by(self) -> By:
        return By(self.run.actor, f"run {self.run.id}", self.run.id, "bulk")

    def _take(self, last: int, wishes: Sequence[Wish]) -> None:
        """Choices for a portion, and that it was taken: one transaction."""

        def work(conn: Connection) -> None:
            found: list[Row] = []
            asked: dict[int, Wish] = {}
            for wish in wishes:
                joined = wish.link_id if wish.join is None else self._join(conn, wish, wish.join)
                if isinstance(joined, str):
                    left = {**wish.detail(), "left": {"": joined}}
                    found.append(Row(_key(wish.link_id), "left_out", wish.link_id, left))
                elif wish.idle:
                    found.append(_idle(wish))
                else:
                    asked[joined] = wish
            found.extend(self._choose(conn, asked))
            runs.put_rows_in(conn, self.run.id, found)
            runs.note_in(conn, self.run.id, last, {})

        self.db.run(work)

    def _join(self, conn: Connection, wish: Wish, keys: tuple[str, str]) -> int | str:
        """Link two records again; the link's id, or why not."""
        scope = self.flows[wish.flow].scope
        erp_key, crm_key = keys
        wanted = Wanted(crm_key, crm_key, erp_key, erp_key)
        (made,), _ = pairing.pair_in(conn, scope, [wanted], self._by(), self.db.now(conn))
        if made.link_id is None or made.verdict in ("refused", "busy"):
            return "busy" if made.verdict == "busy" else "relinked"
        return made.link_id

    def _choose(self, conn: Connection, asked: Mapping[int, Wish]) -> Iterator[Row]:
        there = choices.choose_in(conn, {i: wish.takes for i, wish in asked.items()}, self.run.id)
        touch_ids_in(conn, there, self.db.now(conn))
        c = link.c
        dirty = {i: (erp, crm) for i, erp, crm in conn.execute(
            select(c.id, c.erp_dirty, c.crm_dirty).where(c.id.in_(there))
        )}  # fmt: skip
        for i, wish in asked.items():
            if i not in there:
                yield Row(_key(i), "left_out", i, {**wish.detail(), "left": {"": "unlinked"}})
            else:
                erp, crm = dirty[i]
                joined = {"joined": True} if wish.join else {}
                yield Row(_key(i), UNDER_WAY, i, {**wish.detail(), **joined, "erp": erp, "crm": crm})

    def stop(self) -> None:
        """It rests. Links whose passes were brought to their end by then have their verdicts."""
        self._judged()
        runs.stop(self.db, self.run.id)

    def _judged(self) -> int:
        """Judge what has come to an end; how many links have not."""
        left = 0
        for chunk in runs.rows(self.db, self.run.id, [UNDER_WAY]):
            left += len(chunk) - self.db.run(lambda conn, some=chunk: self._judge(conn, some))  # type: ignore[misc]
        return left

    def _look(self) -> int:
        """The same, and tell how far it is."""
        left = self._judged()
        self.progress(Progress(sum(runs.tally(self.db, self.run.id).values()), left))
        return left

    def _judge(self, conn: Connection, chunk: Sequence[Row]) -> int:
        asked = {row.link_id: row for row in chunk if row.link_id is not None}
        rows = self._free(conn, asked)
        written = self._written(conn, list(rows))
        ended: list[Row] = []
        for i, row in rows.items():
            if row is None:
                ended.append(Row(asked[i].key, "left_out", i, {**(asked[i].detail or {}), "left": {"": "unlinked"}}))
            elif _ended(row, asked[i].detail or {}):
                ended.append(self._verdict(conn, row, asked[i], written.get(i, {})))
        runs.put_rows_in(conn, self.run.id, ended)
        return len(ended)

    def _free(self, conn: Connection, asked: Mapping[int, Row]) -> dict[int, LinkRow | None]:
        """The links that nobody works on, locked; None for those that were joined to another one."""
        c = link.c
        now = self.db.now(conn)
        there = set(conn.execute(select(c.id).where(c.id.in_(asked))).scalars())
        idle = or_(c.lease_until.is_(None), c.lease_until <= now)
        query = select(link).where(c.id.in_(asked), idle).order_by(c.id).with_for_update()
        return {**dict.fromkeys(asked.keys() - there), **{row.id: row for row in rows_of(conn, query)}}

    def _written(self, conn: Connection, ids: Sequence[int]) -> dict[int, dict[tuple[str, Side], Value]]:
        c = journal.c
        query = select(c.link_id, c.side, c.after).where(
            c.run_id == self.run.id, c.link_id.in_(ids), c.what == "update"
        )
        found: dict[int, dict[tuple[str, Side], Value]] = {}
        for link_id, side, after in conn.execute(query.order_by(c.id)):
            found.setdefault(link_id, {}).update({(name, side): value for name, value in (after or {}).items()})
        return found

    def _verdict(self, conn: Connection, row: LinkRow, asked: Row, written: Mapping[tuple[str, Side], Value]) -> Row:
        detail = dict(asked.detail or {})
        flow = self.flows[row.flow]
        came = came_of(flow, row, detail, written)
        choices.forget_in(conn, row.id, row.memory, detail.get("values", {}))
        verdict = "linked" if detail.get("joined") else came.verdict
        if detail.get("unlink") and came.verdict != "failed":
            pairing.unlink_in(conn, flow.scope, row.id, self._by(), self.db.now(conn))
            verdict = "unlinked"
        return row_about(row.id, verdict, detail, came)


def _ended(row: LinkRow, detail: Mapping[str, Any]) -> bool:
    """Its pass has answered, or it is linked no more: then nothing of it will be written."""
    answered = row.erp_done >= detail.get("erp", 0) and row.crm_done >= detail.get("crm", 0)
    return not row.linked or (answered and row.state != "pending")


def _idle(wish: Wish) -> Row:
    came = Came((), wish.left)
    return row_about(wish.link_id, came.verdict, wish.detail(), came)


def row_about(link_id: int, verdict: str, detail: Mapping[str, Any], came: Came) -> Row:
    """What a run, or its preview, keeps of a link in the end. ``detail``: of the wish."""
    found: dict[str, Any] = {"written": sorted(came.written), "left": dict(came.left)}
    found |= {name: detail.get(name) for name in ("linked", "plan")}
    return Row(_key(link_id), verdict, link_id, {name: value for name, value in found.items() if value})


def _key(link_id: int) -> str:
    """Links as keys of a run's rows, in their order."""
    return f"{link_id:012d}"

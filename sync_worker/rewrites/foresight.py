"""What a rewrite would do: the same wishes, the same passes, with writes refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mappings.fields import Value
from mappings.memory import Memory
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, foresee
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, Side
from sync_worker.rewrites.history import links_by_id
from sync_worker.rewrites.wishes import Came, Wish, Wishes, came_of
from sync_worker.store.rows import LinkRow
from sync_worker.store.session import Database

PORTION = 100


@dataclass(frozen=True, slots=True)
class Foretold:
    """One link: the pass as it would be, and what would come of the wish."""

    wish: Wish
    seen: Foreseen
    came: Came


def preview(db: Database, flows: Mapping[str, Flow], rules: Mapping[str, Rule], wishes: Wishes) -> Iterator[Foretold]:
    """One per wish. Raises SyncError when a vendor cannot be asked."""
    for _, portion in wishes:
        for name in sorted({wish.flow for wish in portion}):
            mine = [wish for wish in portion if wish.flow == name]
            for start in range(0, len(mine), PORTION):
                yield from _portion(db, flows[name], rules[flows[name].entity], mine[start : start + PORTION])


def _portion(db: Database, flow: Flow, rule: Rule, wishes: Sequence[Wish]) -> Iterator[Foretold]:
    with db.read() as conn:
        rows = links_by_id(conn, [wish.link_id for wish in wishes])
    asked = [wish for wish in wishes if wish.takes and wish.join is None and wish.link_id in rows]
    looked = foresee(db, flow, rule, [_wanting(rows[wish.link_id], wish) for wish in asked])
    by_id = {wish.link_id: one for wish, one in zip(asked, looked, strict=True)}
    for wish in wishes:
        if wish.link_id in rows:
            yield _told(flow, wish, by_id.get(wish.link_id) or Foreseen(rows[wish.link_id]))


def _wanting(row: LinkRow, wish: Wish) -> LinkRow:
    """The row as the run would make it due."""
    memory = Memory.load(row.memory)
    memory.take.update(wish.takes)
    row.memory = memory.dump()
    for side in SIDES:
        row.put(side, dirty=(row.erp_dirty if side == "erp" else row.crm_dirty) + 1, parts=-1)
    return row


def _told(flow: Flow, wish: Wish, one: Foreseen) -> Foretold:
    written: dict[tuple[str, Side], Value] = {
        (name.partition("@")[0], shown["side"]): shown["after"] for name, shown in one.fields.items()
    }
    if wish.join is not None:
        one.verdict = "link"
        values = {(name, side): value for name, take in wish.takes.items() for side, value in take["values"].items()}
        one.fields = {name: {"side": side, "before": None, "after": value} for (name, side), value in values.items()}
        return Foretold(wish, one, Came(tuple(wish.takes), wish.left))
    if wish.unlink:
        one.verdict = "unlink"
    elif one.verdict == "unchanged" and wish.left:
        one.verdict = "skip"
    return Foretold(wish, one, came_of(flow, one.row, wish.detail(), written))

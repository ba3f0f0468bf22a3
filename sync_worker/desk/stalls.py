"""Why a run does not move: told while its records wait for a vendor, so that nobody watches a bar that stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import func, select

from sync_worker import causes
from sync_worker.desk.holding import Say
from sync_worker.engine.flow import Flow
from sync_worker.store import pauses
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.wording import counted

STILL_SECONDS = 20.0


class Progress(Protocol):
    """Of what it counts: taken so far, and those of them that have not come to an end."""

    @property
    def seen(self) -> int: ...
    @property
    def under_way(self) -> int: ...


@dataclass
class Stall:
    """Of one run. ``flows``: whose links it may hold. ``what``: it is called, and what it counts. ``say``: told once
    per reason."""

    db: Database
    flows: Sequence[Flow]
    run_id: int
    what: tuple[str, str]
    say: Say
    clock: Callable[[], float]
    _ended: int = -1
    _since: float = field(default=0.0, init=False)
    _said: str = ""

    def look(self, at: Progress) -> None:
        """Has anybody come to an end since the last look? Who has not for a while has a reason."""
        ended, now = at.seen - at.under_way, self.clock()
        if ended != self._ended or not at.under_way:
            self._ended, self._since, self._said = ended, now, ""
        elif now - self._since >= STILL_SECONDS:
            self._since = now
            why = self._why()
            if why and why != self._said:
                self._said = why
                run, noun = self.what
                waiting = counted(at.under_way, f"{noun} waits", f"{noun}s wait")
                self.say(f"{waiting}: {why}; the {run} goes on by itself")

    def _why(self) -> str:
        """A pause, or else what most of them are tried again for; "" where they are just being worked on."""
        named = {("flow", flow.name) for flow in self.flows}
        named |= {("system", system) for flow in self.flows for system in flow.systems.values()}
        held = [one for key, one in pauses.current(self.db).items() if key in named]
        if held:
            return f"{held[0].name} is paused ({held[0].text or held[0].reason})"
        c = link.c
        query = (
            select(c.cause, func.count())
            .where(c.run_id == self.run_id, c.state == "pending", c.attempts > 0)
            .group_by(c.cause)
            .order_by(func.count().desc())
            .limit(1)
        )
        with self.db.read() as conn:
            found = conn.execute(query).first()
        return causes.general_text(found[0]) if found is not None and found[0] else ""

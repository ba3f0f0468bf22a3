"""Why a run does not move: told while its records wait for a vendor, so that nobody watches a bar that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import func, select

from sync_worker import causes
from sync_worker.desk.holding import Say
from sync_worker.engine.flow import Flow
from sync_worker.imports import Progress
from sync_worker.store import pauses
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.wording import counted

STILL_SECONDS = 20.0


@dataclass
class Stall:
    """Of one import. ``say``: told once per reason."""

    db: Database
    flow: Flow
    run_id: int
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
                waiting = counted(at.under_way, "customer waits", "customers wait")
                self.say(f"{waiting}: {why}; the import goes on by itself")

    def _why(self) -> str:
        """A pause, or else what most of them are tried again for; "" where they are just being worked on."""
        named = {("flow", self.flow.name), *(("system", system) for system in self.flow.systems.values())}
        held = [one for key, one in pauses.current(self.db).items() if key in named]
        if held:
            return f"{held[0].name} is paused ({held[0].text or held[0].reason})"
        c = link.c
        query = (
            select(c.cause, func.count())
            .where(c.run_id == self.run_id, c.flow == self.flow.name, c.state == "pending", c.attempts > 0)
            .group_by(c.cause)
            .order_by(func.count().desc())
            .limit(1)
        )
        with self.db.read() as conn:
            found = conn.execute(query).first()
        return causes.general_text(found[0]) if found is not None and found[0] else ""

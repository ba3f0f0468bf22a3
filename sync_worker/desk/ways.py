"""Which flows a person's "sync now" goes through, and what a flow's direction forbids (GUMU-15)."""

from __future__ import annotations

from collections.abc import Sequence

from sync_worker.engine.flow import Flow
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side, other
from sync_worker.store.rows import LinkRow
from sync_worker.wiring import App


def chosen(app: App, system: str, key: str, known: Sequence[LinkRow], flow: str | None) -> list[str]:
    """The flows to sync a record through: the one named, else those it is linked in, else the only one there is.

    ``known``: its links. Raises PermanentError, in one line, for a direction that does not lead there, and where
    several flows could create its partner.
    """
    sides: dict[str, Side] = {n: s for n, f in app.flows.items() for s in SIDES if f.systems[s] == system}
    if flow is not None:
        if flow not in sides:
            raise PermanentError(f"the flow {flow} has nothing to do with {system}; it has: {', '.join(sorted(sides))}")
        sides = {flow: sides[flow]}
    linked = {row.flow for row in known if row.linked}
    names = [name for name in sides if name in linked] or list(sides)
    refused = {name: why for name in names if (why := _forbidden(app.flows[name], sides[name], name in linked))}
    open_to = [name for name in names if name not in refused]
    if not open_to and refused:
        raise PermanentError(f"{system} {key}: {'; '.join(refused.values())}")
    if len(open_to) > 1 and not linked:
        several = ", ".join(sorted(open_to))
        raise PermanentError(f"{system} {key}: several flows could create its partner ({several}): name one by --flow")
    return open_to


def _forbidden(flow: Flow, side: Side, linked: bool) -> str | None:
    """Why a manual sync may not go this way; a linked record is brought in step as far as the direction leads."""
    direction = flow.policy.direction
    into = other(side)
    if direction == "none" or (not linked and direction not in ("both", f"to_{into}")):
        fix = f"change flows.{flow.name}.direction to allow it"
        return f'flow {flow.name} has direction "{direction}", so nothing is written to {flow.systems[into]}; {fix}'
    return None


def refuse_against(flow: Flow, field: str, take: str) -> None:
    """Raises PermanentError for a choice that no side may be told of."""
    targets: list[Side] = [other(take)] if take in ("erp", "crm") else list(SIDES)  # type: ignore[arg-type]  # checked here
    if not any(flow.policy.may_write(side, field) for side in targets):
        named = " and ".join(flow.systems[side] for side in targets)
        raise PermanentError(
            f"{field}: flow {flow.name} never writes it to {named} (its direction, or the field's owner); "
            f"take the other side's value, or change the flow"
        )

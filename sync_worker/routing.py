"""Which handler deals with which entity: a dict, filled by ``@handles`` when ``handlers`` is imported."""

from __future__ import annotations

from collections.abc import Callable

from sync_worker.engine.rule import Rule

RULES: dict[str, Callable[[], Rule]] = {}


def handles(entity: str) -> Callable[[Callable[[], Rule]], Callable[[], Rule]]:
    """Register what to do about ``entity``; a second handler for the same entity is a programming error."""

    def register(make: Callable[[], Rule]) -> Callable[[], Rule]:
        if entity in RULES:
            raise ValueError(f"two handlers for {entity}")
        RULES[entity] = make
        return make

    return register


def rule_for(entity: str) -> Rule:
    """The rule of an entity. Raises KeyError for one nobody handles: such links are never made."""
    return RULES[entity]()

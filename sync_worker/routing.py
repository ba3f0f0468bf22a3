"""Which handler deals with which entity: dicts, filled by decorators when ``handlers`` is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mappings.canonical import Invoice
from sync_worker.engine.rule import Rule

Dates = Callable[[Invoice, bool], float | None]
"""(an invoice, was it seen as a draft before) -> since when, at the latest, it is known not to have been final."""

RULES: dict[str, Callable[[], Rule]] = {}
DATES: dict[str, Dates] = {}

Handler = TypeVar("Handler")


def handles(entity: str) -> Callable[[Callable[[], Rule]], Callable[[], Rule]]:
    """Register what to do about ``entity``; a second handler for the same entity is a programming error."""
    return _registering(RULES, entity)


def dates(entity: str) -> Callable[[Dates], Dates]:
    """Register how an announcement of ``entity`` (an invoice) is dated; there can be one only."""
    return _registering(DATES, entity)


def _registering(registry: dict[str, Handler], entity: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        if entity in registry:
            raise ValueError(f"two handlers for {entity}")
        registry[entity] = handler
        return handler

    return register


def rule_for(entity: str) -> Rule:
    """The rule of an entity. Raises KeyError for one nobody handles: such links are never made."""
    return RULES[entity]()


def dates_of(entity: str) -> Dates:
    """How an entity's announcements are dated. Raises KeyError for one nobody dates."""
    return DATES[entity]

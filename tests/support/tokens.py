"""A token store without a database, for tests of the connector alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sync_worker.connectors.intacct.auth import EARLY, Mint


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    version: int
    expires_at: float | None


class MemoryTokens:
    """A token store of one process and one thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    def refresh(self, name: str, mint: Mint, *, rejected_version: int | None = None) -> Token:
        token = self._tokens.get(name)
        version = token.version if token else 0
        if token and version > (rejected_version or 0) and not self._ends(token):
            return token
        value, lifetime = mint()
        made = Token(value, version + 1, None if lifetime is None else self._clock() + lifetime)
        self._tokens[name] = made
        return made

    def _ends(self, token: Token) -> bool:
        return token.expires_at is not None and self._clock() >= token.expires_at - EARLY

"""Encrypted values, and the one OAuth token that all workers of an identity share.

A token is minted once however many workers find it rejected: whoever takes the claim row mints, without holding any
database lock; the others wait for the new version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, select, update

from sync_worker.errors import ConfigError, SystemUnavailable
from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database
from sync_worker.store.tables import secret

MARGIN = 60.0  # a token this close to its end is not used any more
MINT_LEASE = 30.0  # longer than one vendor call (15 s)
WAIT_AT_MOST = 20.0
POLL = 0.05

Standing = Literal["current", "old", "lost"]
"""Closed with the first key, with another one of ours, with none."""


class SecretBox:
    """Encrypts with the first key and decrypts with any: add a new key in front to rotate.

    ``again``: where the keys are to be had anew, for a key file that is rotated while this process runs.
    Raises ``ConfigError`` for a key that is none, and on opening what no key here closed.
    """

    def __init__(self, keys: Sequence[str], again: Callable[[], Sequence[str]] | None = None) -> None:
        self._again = again
        self._take(keys)

    def close(self, value: str) -> bytes:
        self._look()
        return self._fernet.encrypt(value.encode())

    def open(self, sealed: bytes) -> str:
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            self._look()
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise ConfigError("a stored secret was encrypted with another key: restore secrets.key") from None

    def standing(self, sealed: bytes) -> Standing:
        """Which key closed it."""
        readers: tuple[tuple[Fernet | MultiFernet, Standing], ...] = ((self._first, "current"), (self._fernet, "old"))
        for fernet, answer in readers:
            try:
                fernet.decrypt(sealed)
            except InvalidToken:
                continue
            return answer
        return "lost"

    def renew(self, sealed: bytes) -> bytes:
        """The same, closed with the first key."""
        return self._fernet.rotate(sealed)

    def _look(self) -> None:
        if self._again is not None and (keys := list(self._again())) != self._keys:
            self._take(keys)

    def _take(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigError("secrets.key is empty: give 32 random bytes in URL-safe base64, or leave it out")
        try:
            every = [Fernet(key.strip()) for key in keys]
        except ValueError:
            raise ConfigError("secrets.key is no key: 32 bytes in URL-safe base64 are needed") from None
        self._keys, self._first, self._fernet = list(keys), every[0], MultiFernet(every)


@dataclass(frozen=True, slots=True)
class Secret:
    """A decrypted value. ``version`` rises with every change. ``expires_at``: seconds since 1970, None = never."""

    value: str
    version: int
    expires_at: float | None

    def __repr__(self) -> str:
        return f"Secret(version={self.version})"


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who mints: ``token`` fences; ``until`` 0 = ended by its holder."""

    token: int
    until: float


class SecretStore:
    """Secrets by name. Values are never logged; ``repr`` hides them."""

    def __init__(self, db: Database, box: SecretBox, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._db = db
        self._box = box
        self._sleep = sleep

    def get(self, name: str) -> Secret | None:
        with self._db.read() as conn:
            return self._get(conn, name)

    def put(self, name: str, value: str, expires_at: float | None = None) -> int:
        """Store whatever stands there now; returns the new version."""

        def work(conn: Connection) -> int:
            return self._put(conn, name, value, expires_at)

        return self._db.run(work)

    def refresh(
        self, name: str, mint: Callable[[], tuple[str, float | None]], *, rejected_version: int | None = None
    ) -> Secret:
        """The current token, minted anew when there is none, it ends within a minute, or it is the rejected one.

        ``mint`` returns the token and its lifetime in seconds (None: unlimited); what it raises passes through, and
        those who waited for it get ``SystemUnavailable``, so that wrong credentials are not tried once per worker.
        """
        give_up_at = time.monotonic() + WAIT_AT_MOST
        seen: int | None = None
        while True:
            usable, claim, now = self._look(name, rejected_version)
            if usable is not None:
                return usable
            if seen is not None and claim is not None and claim.token == seen and claim.until == 0:
                raise SystemUnavailable("the token could not be renewed by another worker", after=1.0)
            if claim is None or claim.until <= now:
                minted = self._mint(name, mint, rejected_version)
                if minted is not None:
                    return minted
            else:
                seen = claim.token
            if time.monotonic() > give_up_at:
                raise SystemUnavailable("another worker takes too long to renew the token", after=1.0)
            self._sleep(POLL)

    def _look(self, name: str, rejected: int | None) -> tuple[Secret | None, _Claim | None, float]:
        with self._db.read() as conn:
            now = self._db.now(conn)
            usable = self._usable(conn, name, rejected, now)
            row = conn.execute(
                select(secret.c.version, secret.c.expires_at).where(secret.c.name == _claim(name))
            ).first()
            return usable, None if row is None else _Claim(row.version, row.expires_at), now

    def _usable(self, conn: Connection, name: str, rejected: int | None, now: float) -> Secret | None:
        try:
            found = self._get(conn, name)
        except ConfigError:
            return None  # sealed with a key that is gone; a token can simply be minted again
        if found is None or (rejected is not None and found.version <= rejected):
            return None
        return None if found.expires_at is not None and found.expires_at <= now + MARGIN else found

    def _mint(self, name: str, mint: Callable[[], tuple[str, float | None]], rejected: int | None) -> Secret | None:
        """Take the claim, mint without any lock, store if the claim still counts. None: somebody else has it."""
        token = self._db.run(lambda conn: self._take_claim(conn, name, rejected))
        if token is None:
            return None
        try:
            value, lifetime = mint()
        except BaseException:
            self._db.run(lambda conn: self._end_claim(conn, name, token))
            raise

        def store(conn: Connection) -> Secret | None:
            if not self._end_claim(conn, name, token):
                return None
            expires_at = None if lifetime is None else self._db.now(conn) + lifetime
            return Secret(value, self._put(conn, name, value, expires_at), expires_at)

        return self._db.run(store)

    def _take_claim(self, conn: Connection, name: str, rejected: int | None) -> int | None:
        now = self._db.now(conn)
        values = {"value": b"", "expires_at": now + MINT_LEASE, "at": now}
        stmt = inserter(secret, sqlite=self._db.is_sqlite).values(name=_claim(name), version=1, **values)
        stmt = stmt.on_conflict_do_update(
            index_elements=[secret.c.name],
            set_={**values, "version": secret.c.version + 1},
            where=secret.c.expires_at <= now,
        )
        token = conn.execute(stmt.returning(secret.c.version)).scalar_one_or_none()
        if token is not None and self._usable(conn, name, rejected, now) is not None:
            self._end_claim(conn, name, token)  # minted while we were waiting for the claim
            return None
        return token

    def _end_claim(self, conn: Connection, name: str, token: int) -> bool:
        mine = update(secret).where(secret.c.name == _claim(name), secret.c.version == token)
        return conn.execute(mine.values(expires_at=0.0)).rowcount == 1

    def _get(self, conn: Connection, name: str) -> Secret | None:
        query = select(secret.c.value, secret.c.version, secret.c.expires_at).where(secret.c.name == name)
        row = conn.execute(query).first()
        return None if row is None else Secret(self._box.open(row.value), row.version, row.expires_at)

    def _put(self, conn: Connection, name: str, value: str, expires_at: float | None) -> int:
        values = {"value": self._box.close(value), "expires_at": expires_at, "at": self._db.now(conn)}
        stmt = inserter(secret, sqlite=self._db.is_sqlite).values(name=name, version=1, **values)
        stmt = stmt.on_conflict_do_update(
            index_elements=[secret.c.name], set_={**values, "version": secret.c.version + 1}
        )
        return int(conn.execute(stmt.returning(secret.c.version)).scalar_one())


def _claim(name: str) -> str:
    """The row that says who is minting ``name``."""
    return f"{name}#mint"

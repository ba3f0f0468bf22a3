"""Accounts that scripts use: a name, a role, and a token of which only the hash is kept.

A token is 256 bits of chance, so nobody can try them out: its plain SHA-256 is as good as a slow password hash, and
costs every request nothing. It is found by that hash and compared once more in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sync_worker.errors import PermanentError
from sync_worker.store.session import Database
from sync_worker.store.tables import account, journal

Role = Literal["read", "operate"]
PREFIX = "swk_"  # logs recognise a token by it, and so do scanners for leaked secrets
NO_PASSWORD = ""  # what no password hashes to: such an account cannot log in
RESERVED = frozenset({"worker", "cli"})  # they sign the journal themselves
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Account:
    """Who may use the API. ``created_at``: seconds since 1970."""

    name: str
    role: Role
    created_at: float


def add_token(db: Database, name: str, role: Role, *, actor: str) -> str:
    """Make an account with a token, and return the token: it is stored nowhere. Raises ``PermanentError``."""
    if not _NAME.fullmatch(name) or name.lower() in RESERVED:
        raise PermanentError(
            f"{name!r} cannot be a token's name, which signs the journal: letters, digits, . _ - and at most 64 of "
            f"them; not {' or '.join(sorted(RESERVED))}"
        )
    token = PREFIX + secrets.token_urlsafe(32)

    def work(conn: Connection) -> None:
        now = db.now(conn)
        values = {"name": name, "role": role, "token_hash": hash_of(token), "password_hash": NO_PASSWORD}
        conn.execute(insert(account).values(**values, created_at=now))
        _note(conn, "token_added", name, now, actor)

    try:
        db.run(work)
    except IntegrityError:
        raise PermanentError(
            f"there is an account {name} already: choose another name, or sync-worker tokens remove {name}"
        ) from None
    return token


def tokens(db: Database) -> list[Account]:
    """Every account that has a token, by name."""
    c = account.c
    query = select(c.name, c.role, c.created_at).where(c.token_hash.is_not(None)).order_by(c.name)
    with db.read() as conn:
        return [Account(*row) for row in conn.execute(query)]


def remove_token(db: Database, name: str, *, actor: str) -> bool:
    """Make a token useless from the next request on; an account that has a password too stays. Was there one?"""
    c = account.c

    def work(conn: Connection) -> bool:
        has_token = (c.name == name) & c.token_hash.is_not(None)
        gone = conn.execute(delete(account).where(has_token, c.password_hash == NO_PASSWORD)).rowcount
        gone += conn.execute(update(account).where(has_token).values(token_hash=None)).rowcount
        if gone:
            _note(conn, "token_removed", name, db.now(conn), actor)
        return bool(gone)

    return db.run(work)


def by_token(db: Database, token: str) -> Account | None:
    """Whose token this is; None: nobody's, or it was removed."""
    wanted = hash_of(token)
    c = account.c
    with db.read() as conn:
        found = conn.execute(select(c.name, c.role, c.created_at, c.token_hash).where(c.token_hash == wanted)).first()
    if found is None or not hmac.compare_digest(found.token_hash, wanted):
        return None
    return Account(found.name, found.role, found.created_at)


def hash_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _note(conn: Connection, what: str, name: str, now: float, actor: str) -> None:
    entry = {"flow": "", "what": what, "at": now, "key": name, "why": "a person's choice", "actor": actor}
    conn.execute(insert(journal).values(**entry))

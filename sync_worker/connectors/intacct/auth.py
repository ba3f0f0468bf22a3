"""OAuth client credentials: one access token per identity, shared by all workers through a token store.

Observed: authorising a second time for the same user and company silently ends the first connection, so nobody mints
on his own. Documented: the lifetime is ``expires_in``; a token is renewed a minute early.
"""

from __future__ import annotations

import base64
import hashlib
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sync_worker.connectors import documents
from sync_worker.connectors.http import Answer, VendorHttp, retry_after, status_error
from sync_worker.connectors.intacct.errors import RETRY_HEADERS, read_error
from sync_worker.errors import AuthFailed, SyncError, SystemUnavailable

EARLY = 60.0  # seconds before its end at which a token counts as expired
MAX_TOKEN = 16 * 1024  # characters: it goes into a header, which servers limit
UNSTATED_LIFETIME = 600.0  # seconds, when neither the answer nor the token says how long it lives
_TOO_LONG = f"no token: the access_token is longer than {MAX_TOKEN:,} characters; does base_url lead to Intacct?"

Mint = Callable[[], tuple[str, float | None]]  # token and its lifetime in seconds; None = unlimited


class StoredToken(Protocol):
    """``expires_at``: seconds since 1970, None = never. ``version`` rises with every new token of this name."""

    @property
    def value(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def expires_at(self) -> float | None: ...


class TokenStore(Protocol):
    """Where the shared token lives (``store.secrets.SecretStore``: encrypted, in SQL)."""

    def refresh(self, name: str, mint: Mint, *, rejected_version: int | None = None) -> StoredToken:
        """The stored token, or a newly minted one when there is none, it ends within a minute, or it is the rejected
        one. Whichever worker comes first mints; the others get its token."""


class TokenSource:
    """The current token of one identity, kept in memory between looks at the store."""

    def __init__(self, name: str, tokens: TokenStore, mint: Mint, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._tokens = tokens
        self._mint = mint
        self._clock = clock
        self._token: StoredToken | None = None
        self._lock = threading.Lock()
        self._used = threading.local()

    def value(self) -> str:
        """The token to send; renewed when it is about to expire. Raises AuthFailed and what a call may raise."""
        token = self._token
        if token is None or _expired(token, self._clock()):
            with self._lock:
                token = self._token
                if token is None or _expired(token, self._clock()):
                    token = self._token = self._tokens.refresh(self._name, self._mint)
        self._used.version = token.version
        return token.value

    def renew(self) -> None:
        """The token this thread used last was rejected: get another, minted by whichever worker comes first."""
        rejected: int | None = getattr(self._used, "version", None)
        with self._lock:
            if self._token is None or self._token.version == rejected:
                self._token = self._tokens.refresh(self._name, self._mint, rejected_version=rejected)


def _expired(token: StoredToken, now: float) -> bool:
    return token.expires_at is not None and token.expires_at - EARLY <= now


def identity(base_url: str, client_id: str, username: str) -> str:
    """The name under which an identity's token is shared."""
    text = "\n".join((base_url.rstrip("/"), client_id, username))
    return "intacct-token:" + hashlib.sha256(text.encode()).hexdigest()[:32]


def mint_with(http: VendorHttp, client_id: str, client_secret: str, username: str) -> Mint:
    """A mint over ``http`` (which must not itself authenticate)."""

    def mint() -> tuple[str, float | None]:
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "username": username,
        }
        body = http.call("token", "POST", "oauth2/token", form=form).json()
        value = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
            raise SystemUnavailable("the token answer holds no usable access_token", system=http.system)
        if len(value) > MAX_TOKEN:
            raise SystemUnavailable(_TOO_LONG, system=http.system)
        return value, _lifetime(body.get("expires_in"), value)

    return mint


def classify_token(answer: Answer) -> SyncError | None:
    """Errors of the token endpoint: a refusal is about the credentials, and says which setting to look at."""
    after = retry_after(answer.headers, RETRY_HEADERS)
    if answer.status < 400 or answer.status in (408, 429) or answer.status >= 500:
        return status_error("", answer, after=after)
    try:
        error = read_error(answer.json())
    except SystemUnavailable:
        error = None
    settings = {
        "gw-0012": "username needs user@company",
        "gw-0036": "username is missing",
        "gw-0037": "client_id is missing",
        "gw-0011": "company, client_id or client_secret is not accepted",
    }
    codes = error.codes if error else ()
    usual = "check client_id, client_secret and username"
    if answer.status == 404:
        usual = "there is no API at this base_url; does it end in /ia/api/v1?"
    hint = next((settings[c] for c in codes if c in settings), usual)
    return AuthFailed(f"no token: HTTP {answer.status} {' '.join(codes)}: {hint}", status=answer.status)


def _lifetime(stated: object, token: str) -> float:
    try:
        seconds = float(str(stated))
    except ValueError:
        seconds = 0.0
    if 0 < seconds < math.inf:
        return seconds
    try:
        claims = token.split(".")[1]
        expires = documents.read(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
        return max(float(expires) - time.time(), 0.0)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        return UNSTATED_LIFETIME

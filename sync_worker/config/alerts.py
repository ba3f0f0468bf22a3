"""``[alerts]``: whom to tell of what waits too long, and after how long."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from sync_worker.config.values import Secret, Section, WebhookSecret, address, blank_is_none, problem

# One mailbox, without a display name, quotes, or anything that could begin another header.
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\x00-\x1f\x7f]+@[^\s@<>\"(),:;\\\x00-\x1f\x7f]+")
_MAIL_SCHEMES = ("smtp", "smtps")


def _address(text: str) -> str:
    if not (text.isascii() and _ADDRESS.fullmatch(text)):
        raise ValueError("must be a mail address like NAME@HOST, without a name before it")
    return text


def _smtp_url(secret: SecretStr) -> SecretStr:
    """``smtp://`` or ``smtps://``, user and password together or not at all; ``?starttls`` for ``smtp`` only."""
    allowed = "must be smtp://USER:PASSWORD@HOST:PORT (or smtps://), with ?starttls if it must be encrypted"
    parts = address(secret.get_secret_value(), *_MAIL_SCHEMES)
    if parts is None or parts.path.strip("/") or parts.fragment or bool(parts.username) != bool(parts.password):
        raise ValueError(allowed)
    if parse_qsl(parts.query, keep_blank_values=True) not in ([], [("starttls", "")]):
        raise ValueError("the only option after ? is starttls")
    if parts.scheme == "smtps" and parts.query:
        raise ValueError("smtps:// is encrypted from the start: leave ?starttls out")
    return secret


def _hook_url(secret: SecretStr) -> SecretStr:
    """What it may hold is more than a public address: many receivers name themselves by a token in the query."""
    parts = address(secret.get_secret_value(), "http", "https")
    if (
        parts is None
        or parts.username is not None
        or parts.fragment
        or "//" in parts.path
        or ".." in parts.path.split("/")
    ):
        raise ValueError("must be an address like https://host/path, without user and password")
    return secret


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[Address | None, BeforeValidator(blank_is_none)]
SmtpUrl = Annotated[Annotated[Secret, AfterValidator(_smtp_url)] | None, BeforeValidator(blank_is_none)]
HookUrl = Annotated[Annotated[Secret, AfterValidator(_hook_url)] | None, BeforeValidator(blank_is_none)]


class AlertsConfig(Section):
    """Whom to tell of what has failed or waited for ``after_hours``. Neither mail nor webhook given: nobody.

    ``lag_seconds``: how long work may be due before the flow counts as lagging, and how long a system may be out of
    reach. ``sender`` (``from`` in the file): None = the user of ``smtp``, or sync-worker@ the first receiver's domain.
    """

    smtp: SmtpUrl = None
    sender: OptionalAddress = Field(default=None, alias="from")
    to: tuple[Address, ...] = ()
    webhook: HookUrl = None
    webhook_secret: WebhookSecret = None
    after_hours: float = Field(default=4.0, ge=0, allow_inf_nan=False)
    lag_seconds: float = Field(default=900.0, ge=1, allow_inf_nan=False)

    @property
    def tells_somebody(self) -> bool:
        """Is there anybody to tell?"""
        return self.smtp is not None or self.webhook is not None

    @model_validator(mode="after")
    def _targets_are_complete(self) -> AlertsConfig:
        if self.smtp is not None and not self.to:
            raise problem(("to",), "is missing: whom to mail, a list of addresses")
        if self.webhook is not None and self.webhook_secret is None:
            raise problem(("webhook_secret",), "is missing: whsec_ and the base64 of 32 random bytes sign the webhook")
        return self

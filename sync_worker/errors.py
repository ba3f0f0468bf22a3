"""The error tree: what went wrong decides what happens next.

    SyncError
    ├── RetryableError(after=None)   try again later; ``after`` = seconds the vendor asked for
    │   ├── RateLimited              the vendor asked us to slow down
    │   ├── SystemUnavailable        not reached, 5xx, or its circuit is open
    │   ├── RecordBusy               the vendor holds a lock on this record
    │   ├── NotYetThere              something this depends on is not visible yet
    │   ├── LeaseLost                the record is another worker's by now: nothing was sent
    │   ├── ReadTooOld               what a write was decided on was read too long ago: nothing was sent
    │   └── OutcomeUnknown           a write may or may not have been applied: find before repeating
    └── PermanentError               repeating the same call cannot help
        ├── Rejected(field, reason)  the vendor refused a value (or, with no field, the record)
        ├── NotFound                 a *write* to a record that is not there (on a read, absence is a value)
        ├── AlreadyExists            a unique value is taken
        ├── TooLong                  a value is too long to be kept here: that record fails, no other
        ├── AuthFailed               credentials or permission: pauses the system, burns no attempts
        └── WritesRefused            the dry-run gate: a write was attempted where only reading is allowed
    ConfigError                      sync.toml is wrong: which key, why, what is allowed

Retry what is named retryable; everything else stops at once and says why. Any other exception is a bug.
Messages never hold names, e-mails, secrets or bodies: they end up in logs. What a vendor says of a refusal stands
apart, as ``said``.
"""

from __future__ import annotations

from typing import Self

LONGEST_TEXT = 2000  # characters: an answer may name thousands of fields, and every link of a batch keeps the text
LONGEST_SAID = 300  # characters of a vendor's own words


class SyncError(Exception):
    """Base of everything the worker expects to go wrong. ``code`` is stable, ``str()`` is for people and logs.

    ``said``: the vendor's own words, which may quote what somebody typed. They are shown beside the record and stored
    with it, and are never part of ``str()``, so that no log can hold them.
    """

    code = "error"
    said: str = ""

    def __init__(self, message: str = "", *, system: str | None = None, status: int | None = None) -> None:
        super().__init__(message if len(message) <= LONGEST_TEXT else message[: LONGEST_TEXT - 1] + "…")
        self.system = system
        self.status = status

    def saying(self, words: str) -> Self:
        """The same with the vendor's words, in one line of at most ``LONGEST_SAID`` characters."""
        line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
        self.said = line if len(line) <= LONGEST_SAID else line[: LONGEST_SAID - 1] + "…"
        return self

    @property
    def of_system(self) -> str:
        """With the system that it is about, for who typed a command and may mean any of them."""
        return f"{self.system}: {self}" if self.system else str(self)

    @property
    def in_words(self) -> str:
        """For who looks at the record: what happened, and what the vendor said. Not for logs."""
        return f"{self}: {self.said}" if self.said else str(self)


class RetryableError(SyncError):
    """Worth another try. ``after``: seconds to wait at least, when the vendor said so."""

    code = "retryable"

    def __init__(
        self,
        message: str = "",
        *,
        after: float | None = None,
        system: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, system=system, status=status)
        self.after = after


class RateLimited(RetryableError):
    code = "rate_limited"


class SystemUnavailable(RetryableError):
    code = "system_unavailable"


class RecordBusy(RetryableError):
    code = "record_busy"


class NotYetThere(RetryableError):
    code = "not_yet_there"


class LeaseLost(RetryableError):
    """Found just before a call: the leases it would be made under ran out. What was done is found by the next pass."""

    code = "lease_lost"


class ReadTooOld(RetryableError):
    """Found just before a write: since what it was decided on was read, somebody may have edited it (E22)."""

    code = "read_too_old"


class OutcomeUnknown(RetryableError):
    code = "outcome_unknown"


class PermanentError(SyncError):
    code = "permanent"


class Rejected(PermanentError):
    """The vendor refused. ``column``: the vendor's own name of the refused column where it named one."""

    code = "rejected"

    def __init__(
        self,
        message: str = "",
        *,
        column: str | None = None,
        system: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, system=system, status=status)
        self.column = column


class NotFound(PermanentError):
    code = "not_found"


class AlreadyExists(PermanentError):
    code = "already_exists"


class TooLong(PermanentError):
    """What was read cannot be kept here. ``field``: the longest of it."""

    code = "too_long"

    def __init__(self, message: str, *, field: str, system: str | None = None) -> None:
        super().__init__(message, system=system)
        self.field = field


class AuthFailed(PermanentError):
    code = "auth_failed"


class WritesRefused(PermanentError):
    """The dry-run gate of the HTTP layer: a write was attempted where only reading is allowed."""

    code = "dry_run"


class ConfigError(SyncError):
    """The configuration is unusable. The message is one line: which key, why, what is allowed."""

    code = "config"

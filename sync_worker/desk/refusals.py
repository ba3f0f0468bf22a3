"""Why a person's wish cannot be met, by kind: the command line prints the line, the API answers a status for each."""

from __future__ import annotations

from sync_worker.errors import PermanentError


class NotKnown(PermanentError):
    """There is no such system, flow, record or link here."""

    code = "not_known"


class Ambiguous(PermanentError):
    """Several records fit; the message names them."""

    code = "ambiguous"


class NotOpen(PermanentError):
    """The field is at rest: there is nothing to settle."""

    code = "not_open"


class BadChoice(PermanentError):
    """The value cannot be taken for this field."""

    code = "bad_choice"

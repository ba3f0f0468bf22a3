"""Dates as vendors write them -> seconds since 1970, and back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

# years 2 and 9998: what lies beyond can be read as a moment, but not written as a date of every zone
_EARLIEST, _LATEST = -62_104_060_800.0, 253_339_228_800.0

LONGEST = 64  # characters of a stamp that is kept to be compared; a date of any vendor has about 30


def kept(value: Any) -> str:
    """A row's stamp as it is remembered: the vendor's own text, "" where it says nothing."""
    return str(value or "")[:LONGEST]


def seconds(value: Any, zone: ZoneInfo) -> float | None:
    """A native date in any observed form: with ``Z``, with an offset, or without a zone (the server's local time)."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        found = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST < found < _LATEST else None


def iso(moment: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def utc(value: Any) -> float | None:
    """The opposite of ``iso``."""
    return seconds(value, ZoneInfo("UTC"))

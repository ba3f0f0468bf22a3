"""Dates as vendors write them -> seconds since 1970, and back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo


def seconds(value: Any, zone: ZoneInfo) -> float | None:
    """A native date in any observed form: with ``Z``, with an offset, or without a zone (the server's local time)."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


def iso(moment: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def utc(value: Any) -> float | None:
    """The opposite of ``iso``."""
    return seconds(value, ZoneInfo("UTC"))

"""How a count is said to people. Pure."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """``1 link``, ``2 links``. ``many``: where more is needed than an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"

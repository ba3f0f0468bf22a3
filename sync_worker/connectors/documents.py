"""JSON from outside, as far as we can go on with it: not too deep, not of too many values (each takes many times the
memory of its bytes), and in text that both databases hold.
"""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 100  # levels; vendors' answers have about six
MOST_VALUES = 2_000_000  # in one document: 100,000 rows of twenty, where a list knows no pages; others need a twentieth

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_USUAL_DEPTH = 8
_PIECE = 64 * 1024  # bytes; cut at its quotes, a piece takes a multiple of its memory
_ODD = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # NUL, and what may be half of a pair
_LONE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """No JSON in UTF-8, or one that is nested too deeply or has too many values."""


def read(content: bytes, *, as_sent: bool = False) -> Any:
    """The document; NUL is left out of its texts, and half a surrogate pair becomes U+FFFD. Raises ``Unreadable``.

    ``as_sent``: texts as they stand, for who refuses what cannot be held.
    """
    if len(content) > MOST_VALUES and _marks(content) > MOST_VALUES and _marks_beside_texts(content) > MOST_VALUES:
        raise Unreadable("JSON of too many values")
    try:
        text = content.decode("utf-8-sig")
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("no readable JSON") from None
    if _may_be_deep(content) and _depth_beyond(document, DEEPEST):
        raise Unreadable("JSON that is nested too deeply")
    return _cleaned(document) if not as_sent and _ODD.search(text) else document


def _marks(content: bytes) -> int:
    """At least as many as there are values behind the first: each follows a comma or an opening bracket."""
    return sum(content.count(mark) for mark in (b",", b"[", b"{"))


def _marks_beside_texts(content: bytes) -> int:
    """The same without those that stand in texts: a long text has many. Linear, whatever the texts are."""
    bare = content.replace(b"\\\\", b"").replace(b'\\"', b"")  # from here on each quote begins or ends a text
    found, in_text = 0, False
    for start in range(0, len(bare), _PIECE):
        cut = bare[start : start + _PIECE].split(b'"')
        found += _marks(b"".join(cut[in_text::2]))
        in_text ^= len(cut) % 2 == 0
    return found


def _may_be_deep(content: bytes) -> bool:
    """Cheap, and never wrong where it says no: innermost pairs of brackets are taken away a few times."""
    brackets = content.translate(None, _NOT_BRACKETS)
    for _ in range(_USUAL_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _depth_beyond(document: Any, most: int) -> bool:
    level = [document]
    for _ in range(most + 1):
        level = [inner for one in level for inner in _members(one)]
        if not level:
            return False
    return True


def _members(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value.replace("\x00", ""))
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(one) for name, one in value.items()}
    return value

"""Pages of a list: how many rows, from where on. A cursor is opaque to whoever uses it, and checked when it returns."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sync_worker.events import LARGEST_ID
from sync_worker.store.bulk import storable
from sync_worker.store.lists import Page, Position
from sync_worker.web.api.problems import INVALID, Refused

MOST = 500
USUAL = 100


def _storable(value: str) -> str:
    if not storable(value):
        raise ValueError("1 to 255 characters, without NUL; leave it out if nothing is meant")
    return value


Word = Annotated[str, AfterValidator(_storable)]
"""Text that both databases can look for."""


class Paged(BaseModel):
    """The query of every list. A name that is not asked for is refused: a mistyped filter would list everything."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=USUAL, ge=1, le=MOST, description="rows on a page")
    after: str | None = Field(default=None, max_length=2000, description="`next` of the page before")


def cursor(kind: str, page: Page) -> str | None:
    """Where the next page begins, as text. ``kind``: which list it is of."""
    if page.next is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([kind, *page.next], ensure_ascii=False).encode()).decode().rstrip("=")


def position(kind: str, after: str | None, *types: type) -> Position | None:
    """The position in a cursor: as many values as ``types``, each ``int``, ``float`` or ``str``.

    Raises ``Refused`` for a cursor of another list, or none of ours.
    """
    if after is None:
        return None
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if isinstance(found, list) and len(found) == len(types) + 1 and found[0] == kind:
        values = found[1:]
        if all(_FITS[wanted](value) for wanted, value in zip(types, values, strict=True)):
            return tuple(values)
    raise Refused(INVALID, "query after: not a cursor of this list; give `next` of the page before, or leave it out")


_FITS: dict[type, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int and 0 <= value <= LARGEST_ID,
    float: lambda value: type(value) in (int, float) and abs(value) < LARGEST_ID and math.isfinite(value),
    str: lambda value: isinstance(value, str) and storable(value),
}

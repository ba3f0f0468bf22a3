"""The list of customers: filters, order, cursors. Everything it does not know is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sync_worker.connectors.rest.emulator.documents import Row, nested

FILTERS = {
    "company_name": "/companyName",
    "email": "/email",
    "vat_number": "/vatNumber",
    "sage_customer_id": "/sage/customerId",
}
OPTIONS = {"limit", "cursor", "sort", "ids", "updated_since", "after_id", *FILTERS}
MOST_IDS = 100
_Order = tuple[int, ...]


class BadQuery(Exception):
    """The query makes no sense; the answer says why."""


def page(rows: Iterable[Row], query: Mapping[str, str], *, cap: int, ids_allowed: bool) -> dict[str, Any]:
    """One page of what fits: ``{"data": […], "next": cursor or null, "total": of all}``. Raises ``BadQuery``."""
    unknown = sorted(set(query) - OPTIONS)
    if unknown or ("ids" in query and not ids_allowed):
        raise BadQuery(f"unknown parameter {unknown[0] if unknown else 'ids'}")
    limit = _number(query.get("limit", "50"), "limit")
    order = _order(query.get("sort", "id"))
    fits = _fits(query)
    found = sorted(((order(row), row) for row in rows if fits(row)), key=lambda pair: pair[0])
    total = len(found)
    if "cursor" in query:
        behind = _opened(query["cursor"])
        found = [pair for pair in found if pair[0] > behind]
    shown = found[: min(limit, cap)]
    more = _sealed(shown[-1][0]) if len(found) > len(shown) else None
    return {"data": [nested(row) for _, row in shown], "next": more, "total": total}


def _order(sort: str) -> Callable[[Row], _Order]:
    if sort == "id":
        return lambda row: (int(row["/id"]),)
    if sort == "-updatedAt":
        return lambda row: (-int(_moment(row["/updatedAt"])), -int(row["/id"]))
    raise BadQuery("sort must be id or -updatedAt")


def _fits(query: Mapping[str, str]) -> Callable[[Row], bool]:
    ids = set(query["ids"].split(",")) if "ids" in query else None
    if ids is not None and len(ids) > MOST_IDS:
        raise BadQuery(f"ids takes at most {MOST_IDS}")
    since = _moment(query["updated_since"]) if "updated_since" in query else None
    after = _number(query["after_id"], "after_id") if "after_id" in query else None
    wanted = {path: _fold(query[name]) for name, path in FILTERS.items() if name in query}

    def fits(row: Row) -> bool:
        return (
            (ids is None or row["/id"] in ids)
            and (since is None or _moment(row["/updatedAt"]) >= since)
            and (after is None or int(row["/id"]) > after)
            and all(_fold(row[path] or "") == value for path, value in wanted.items())
        )

    return fits


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _moment(text: str | None) -> float:
    """Seconds since 1970; a row without a stamp is older than all."""
    if text is None:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise BadQuery("updated_since must be a date and time in ISO 8601") from None


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadQuery(f"{name} must be a whole number above 0")
    return int(text)


def _sealed(order: _Order) -> str:
    return base64.urlsafe_b64encode(json.dumps(order).encode()).decode()


def _opened(cursor: str) -> _Order:
    try:
        return tuple(int(part) for part in json.loads(base64.urlsafe_b64decode(cursor)))
    except (ValueError, TypeError):
        raise BadQuery("the cursor is none of ours") from None

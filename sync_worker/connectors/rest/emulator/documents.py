"""What the tenant holds: customers as flat rows by the paths of their members, and what may stand in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sync_worker.connectors.emulation import Faults, ValueRefused

Row = dict[str, Any]

ADDRESS = ("line1", "line2", "city", "postcode", "country")
TEXTS = (
    "/companyName",
    "/email",
    "/website",
    "/telephone",
    "/vatNumber",
    "/mainContact/firstName",
    "/mainContact/lastName",
    "/mainContact/mobile",
    *(f"/address/{part}" for part in ADDRESS),
    "/accountManagerId",
    "/subCompany",
    "/sage/customerId",
    "/sage/accountNumber",
    "/sage/companyName",
)
SET_BY_ITSELF = ("/id", "/reference", "/createdAt", "/updatedAt")
REQUIRED = "/companyName"


class Refused(Exception):
    """A value the tenant does not take; ``path`` names the member."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def stamp(moment: float) -> str:
    """ISO 8601 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def blank(key: int, now: float) -> Row:
    """A customer as it is before anything is entered."""
    at = stamp(now)
    return {
        "/id": str(key),
        "/reference": f"L{key:06d}",
        **dict.fromkeys(TEXTS),
        "/createdAt": at,
        "/updatedAt": at,
    }


def nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """The document that goes over the wire."""
    document: dict[str, Any] = {}
    for path, value in row.items():
        *way, last = path.split("/")[1:]
        place = document
        for name in way:
            place = place.setdefault(name, {})
        place[last] = value
    return document


def members(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A document's members by their paths; an object that is null empties all of its members."""
    for name, value in document.items():
        path = f"{prefix}/{name}"
        below = [text for text in TEXTS if text.startswith(path + "/")]
        if isinstance(value, Mapping):
            yield from members(value, path)
        elif value is None and below:
            yield from ((text, None) for text in below)
        else:
            yield path, value


def checked(columns: Mapping[str, Any], users: Mapping[str, Row], faults: Faults, *, creating: bool) -> Row:
    """The values as the tenant stores them. Raises ``Refused``."""
    out: Row = {}
    for path, value in columns.items():
        if path not in TEXTS:
            raise Refused(path, "no such field, or it is set by the system")
        if value is not None and not isinstance(value, str):
            raise Refused(path, "must be a text or null")
        try:
            out[path] = faults.store(path, value.strip() or None if isinstance(value, str) else None)
        except ValueRefused as error:
            raise Refused(path, error.reason) from None
    if (creating or REQUIRED in out) and not out.get(REQUIRED):
        raise Refused(REQUIRED, "is required")
    email, manager = out.get("/email"), out.get("/accountManagerId")
    if email and ("@" not in email or " " in email):
        raise Refused("/email", "is no e-mail address")
    if manager and manager not in users:
        raise Refused("/accountManagerId", "no such user")
    return out

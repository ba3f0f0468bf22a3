"""JSON pointers (RFC 6901): reading by them, and building a document out of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISSING = object()


def steps(pointer: str) -> list[str]:
    """The names on the way; none for the whole document."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def get(document: Any, pointer: str) -> Any:
    """What stands there, ``MISSING`` where nothing does. Below an explicit null everything is null."""
    for step in steps(pointer):
        if document is None:
            return None
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isascii() and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def text(document: Any, pointer: str) -> str:
    """A text or number that stands there, as text; "" for anything else and where no place is given."""
    found = get(document, pointer) if pointer else None
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def put(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Set a member, with the objects on the way to it. Raises ValueError where something else stands in the way."""
    *way, last = steps(pointer)
    place: Any = document
    for step in way:
        if place.get(step) is None:
            place[step] = {}
        place = place[step]
        if not isinstance(place, dict):
            raise ValueError(f"{pointer} leads through something that is no object")
    place[last] = value


def document_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The document that holds exactly these members."""
    made: dict[str, Any] = {}
    for pointer, value in columns.items():
        put(made, pointer, value)
    return made

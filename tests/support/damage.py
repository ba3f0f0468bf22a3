"""Damage to a vendor's answer: any status, any header, any bytes, and best of all answers that are nearly right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", " ", "0", "-1", "\x00",
    "\ud800", "🙂", "a" * 300, "9" * 5000, "²", "٣", "../..", "//evil.example/x", "https://evil.example/x", "null",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T10:00:00Z", "+999999999-01-01", [], {}, [[]],
    {"": ""}, {"$key": None}, [None], ["a", 1, {}],
)  # fmt: skip
# Lists and objects are drawn deep enough to stand where the parsers look for members of members.
JSON = st.recursive(
    st.sampled_from(NASTY) | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
HEADERS = st.tuples(
    st.sampled_from(["retry-after", "content-type", "content-encoding", "location", "etag", "link", "x-odd"]),
    st.sampled_from(
        [
            *("", "0", "-1", "1e999", "nan", "9" * 400, "0, 0", "Tue", "Mon, 01 Jan 0001 00:00:00 +1400"),
            *("Fri, 31 Dec 9999 23:59:59 -1200", "1 Jan 99999999999999 00:00:00 GMT", "gzip", "br", "deflate, gzip"),
            *("application/json; charset=\xff", "https://evil.example/", 'W/"\xe9"'),
        ]
    ),
)
STATUSES = st.sampled_from([199, 200, 201, 204, 207, 301, 400, 401, 403, 404, 405, 409, 412, 422, 429, 500, 501, 503])


@dataclass(frozen=True)
class Damage:
    """What happens to an answer. ``call``: to the how-many-eth only; None: to every one."""

    call: int | None
    kind: str
    place: int
    value: Any


def damages() -> st.SearchStrategy[list[Damage]]:
    places = st.integers(0, 200)
    calls = st.none() | st.integers(0, 6)

    def of(kind: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Damage]:
        return st.builds(Damage, calls, st.just(kind), places, values)

    one = st.one_of(
        of("value", JSON),
        of("member", JSON),
        of("name", st.sampled_from(["", "$", "\x00", "key", "$key", "id", "error", "code"]) | st.text(max_size=6)),
        of("gone", st.none()),
        of("document", JSON),
        of("bytes", st.binary(max_size=200)),
        of("cut", st.none()),
        of("deep", st.sampled_from(["[", '{"a":'])),
        of("status", STATUSES),
        of("header", HEADERS),
    )
    return st.lists(one, min_size=1, max_size=4)


def places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything in a document, outer ones first."""
    todo = [document]
    while todo:
        inside = todo.pop(0)
        members = inside.items() if isinstance(inside, dict) else enumerate(inside) if isinstance(inside, list) else ()
        for key, value in list(members):
            yield inside, key
            todo.append(value)


def hurt(damage: Damage, status: int, headers: dict[str, bytes], content: bytes) -> tuple[int, bytes]:
    """The answer after the damage; the headers are changed in place."""
    if damage.kind == "status":
        status = damage.value
    elif damage.kind == "header":
        name, value = damage.value
        headers[name] = value.encode("latin-1")
    elif damage.kind == "bytes":
        content = damage.value
    elif damage.kind == "cut":
        content = content[: damage.place]
    elif damage.kind == "deep":
        content = damage.value.encode() * 100_000
    elif damage.kind == "document":
        content = dumped(damage.value)
    else:
        content = _inside(damage, content)
    return status, content


def _inside(damage: Damage, content: bytes) -> bytes:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    every = list(places_in(document))
    if not every:
        return content
    place, key = every[damage.place % len(every)]
    if damage.kind == "gone":
        del place[key]
    elif damage.kind == "name" and isinstance(place, dict):
        place[damage.value] = place.pop(key)
    elif damage.kind == "member" and isinstance(place[key], dict):
        place[key]["member"] = damage.value
    else:
        place[key] = damage.value
    return dumped(document)


def dumped(document: Any) -> bytes:
    return json.dumps(document).encode()

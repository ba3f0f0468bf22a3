"""URL forms: ``…/sagecrm2/-/Company('43')`` -> what is meant. Pure.

Documented: quotes around a key, a predicate in parentheses. Observed: names without regard to case, doubled slashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Form = Literal["feed", "entry", "predicate", "prototypes", "bad_url", "no_contract", "elsewhere"]

BASE = "/sdata/crmj/sagecrm2/-/"
_KEY = re.compile(r"'(\d{1,18})'\Z")
_RESOURCE = re.compile(r"([A-Za-z_]\w*)(?:\((.*)\))?/?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """``resource`` is lower case; ``text`` holds the predicate or the prototype's name; ``key`` the entry's id."""

    form: Form
    resource: str = ""
    key: int = 0
    text: str = ""


@lru_cache(maxsize=4096)
def parse_path(path: str) -> Target:
    """What a path asks for; never fails. An id that is no number names no row: ``key`` -1."""
    clean = re.sub("/{2,}", "/", path)
    if not clean.lower().startswith(BASE):
        contract = clean.lower().startswith("/sdata/crmj/")
        return Target("no_contract" if contract else "elsewhere")
    rest = clean[len(BASE) :]
    if rest.lower().startswith("$prototypes"):
        return Target("prototypes", text=rest[len("$prototypes") :].strip("/").lower())
    found = _RESOURCE.match(rest)
    if found is None:
        return Target("bad_url")
    resource, inner = found.group(1).lower(), found.group(2)
    if inner is None:
        return Target("feed", resource)
    if key := _KEY.match(inner):
        return Target("entry", resource, int(key.group(1)))
    if inner.startswith("'") and inner.endswith("'") and len(inner) > 1 and "'" not in inner[1:-1]:
        return Target("entry", resource, -1)
    return Target("predicate", resource, text=inner) if inner.strip() else Target("bad_url", resource)

"""What is wrong with ``sync.toml``, in one line: which key, which line of the file, what is allowed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sync_worker.config.values import Path, nearest
from sync_worker.errors import ConfigError

_HEADER = re.compile(r"\s*\[")


def key_lines(text: str) -> dict[Path, int]:
    """The line on which each key of a valid TOML text is set, tables included. Lines count from 1."""
    found: dict[Path, int] = {}
    table: Path = ()
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        statement, begun = lines[at], at + 1
        at += 1
        # The whole text is valid, so a statement that is not has not ended yet (lists, long strings).
        while (parsed := _parse(statement)) is None and at < len(lines):
            statement += "\n" + lines[at]
            at += 1
        paths = list(_paths(parsed or {}))
        if _HEADER.match(statement) and paths:
            table = max(paths, key=len)
            found.setdefault(table, begun)
        else:
            found.update({table + path: begun for path in paths if table + path not in found})
    return found


def _parse(statement: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(statement + "\n")
    except tomllib.TOMLDecodeError:
        return None


def _paths(tree: Mapping[str, Any], prefix: Path = ()) -> Iterator[Path]:
    for key, value in tree.items():
        yield (*prefix, key)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from _paths(inner, (*prefix, key))


@dataclass
class Source:
    """Where values came from. ``from_env``: key -> the environment variable that gives its value; ``unset``: keys whose
    variable is not there."""

    file: str
    lines: Mapping[Path, int]
    from_env: dict[Path, str] = field(default_factory=dict)
    unset: list[Path] = field(default_factory=list)

    def error(self, at: Path, why: str) -> ConfigError:
        """``sync.toml line 12: systems.erp.base_url: why``, or the nearest table's line for what is not there."""
        line = next((self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), None)
        variable = self.from_env.get(at)
        place = f"{self.file} line {line}" if line and not (variable and at not in self.lines) else self.file
        origin = f" (from {variable})" if variable else ""
        key = ".".join(f'"{part}"' if "." in part else part for part in at)
        return ConfigError(f"{place}: {key}{origin}: {why}")

    def not_set(self) -> ConfigError:
        """Every variable that is not there, at once: a person sets them all, and is not sent back for each."""
        names = list(dict.fromkeys(self.from_env.pop(at) for at in self.unset))
        if len(names) == 1:
            why = f"the environment variable {names[0]} is not set: set it, or take the line out where it is optional"
        else:
            why = f"environment variables are not set: {', '.join(names)}; set them, or take out what is optional"
        return self.error(self.unset[0], why)

    def first(self, error: ValidationError) -> ConfigError:
        """The error that stands first in the file; how many more there are is said, not which."""
        found = [(self._at(one), one) for one in error.errors(include_url=False)]
        found.sort(key=lambda pair: self._line(pair[0]))
        at, one = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return self.error(at, self._why(at, one) + more)

    def _line(self, at: Path) -> int:
        return next((self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), 1_000_000)

    def _at(self, one: ErrorDetails) -> Path:
        loc = [str(part) for part in one["loc"] if part != "[key]"]
        if loc[:1] == ["systems"] and len(loc) > 2:
            del loc[2]  # pydantic puts the chosen kind of a union here, which is no key of the file
        if one["type"].startswith("union_tag"):
            loc.append("connector")
        return (*loc, *one.get("ctx", {}).get("at", ()))

    def _why(self, at: Path, one: ErrorDetails) -> str:
        context = one.get("ctx", {})
        kind = one["type"]
        if kind in ("missing", "union_tag_not_found"):
            return 'is missing: add it, as a value or as "env:NAME"'
        if kind in ("literal_error", "union_tag_invalid"):
            allowed = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
            given = str(context["tag"] if kind == "union_tag_invalid" else one["input"])
            shown = "this value" if at in self.from_env else repr(given[:40])
            hint = "" if at in self.from_env else nearest(given, allowed)
            return f"{shown} is not allowed{hint}; allowed: {', '.join(allowed)}"
        if kind in ("model_type", "dict_type", "model_attributes_type"):
            return "must be a table"
        text = one["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        text = re.sub(r"(?:Value|String|Tuple|Data) should", "must", text)
        return text[:1].lower() + text[1:]

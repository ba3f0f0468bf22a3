"""Which rows of a file claim the same record. Pure."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Claims:
    """Which lines claim the same record, in a few bytes per line: hashes of flow and key, 64 bits each."""

    def __init__(self) -> None:
        self._lines, self._crm, self._erp = array("L"), array("Q"), array("Q")

    def add(self, line: int, detail: Mapping[str, Any]) -> None:
        """Rows whose two records are known; others claim nothing."""
        if detail.get("crm_key") and detail.get("erp_key") and detail.get("flow"):
            self._lines.append(line)
            self._crm.append(_hash(detail["flow"], detail["crm_key"]))
            self._erp.append(_hash(detail["flow"], detail["erp_key"]))

    def problems(self) -> dict[int, str]:
        """Line -> what is wrong with it."""
        found: dict[int, str] = {}
        for column, what in ((self._crm, "CustomerId"), (self._erp, "Sage customer")):
            for group in _groups(column):
                lines = sorted(self._lines[i] for i in group)
                if len({(self._crm[i], self._erp[i]) for i in group}) == 1:
                    found |= dict.fromkeys(lines[1:], f"stands in line {lines[0]} already")
                    continue
                for line in lines:
                    others = ", ".join(str(n) for n in [n for n in lines if n != line][:5])
                    found[line] = f"line {others} claims the same {what}: only one of them can be right"
        return found


def _hash(flow: str, key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{flow}\x00{key}".encode(), digest_size=8).digest(), "big")


def _groups(column: Sequence[int]) -> Iterator[list[int]]:
    """Places of equal values, where there are several."""
    order = sorted(range(len(column)), key=column.__getitem__)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or column[order[end]] != column[order[start]]:
            if end - start > 1:
                yield order[start:end]
            start = end

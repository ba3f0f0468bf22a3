"""A preview as people and scripts read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mappings.canonical import in_words
from sync_worker import causes
from sync_worker.engine.preview import Foreseen
from sync_worker.events import SIDES

COLUMNS = ("Verdict", "ErpKey", "ErpRef", "CrmKey", "CrmRef", "Field", "Side", "Before", "After", "Why", "Candidates")


def document(one: Foreseen) -> dict[str, Any]:
    """One record as JSON."""
    return {
        "verdict": one.verdict,
        **{side: {"key": one.row.key(side), "ref": one.row.ref(side)} for side in SIDES},
        "fields": one.fields,
        "open": one.open,
        "cause": {"code": one.cause, "text": causes.text(one.cause, one.params) if one.cause else ""},
        "candidates": one.candidates,
    }


def lines(found: Iterable[Foreseen], counts: Counter[str]) -> Iterator[list[str]]:
    """One line per field that would be written; one for a record without any. ``counts`` is filled on the way."""
    for one in found:
        counts[one.verdict] += 1
        keys = [str(x or "") for side in SIDES for x in (one.row.key(side), one.row.ref(side))]
        why = causes.text(one.cause, one.params) if one.cause else ""
        candidates = ", ".join(str(c["key"]) for c in one.candidates)
        fields = [[name, str(f["side"]), in_words(f["before"]), in_words(f["after"])] for name, f in one.fields.items()]
        for field in fields or [["", "", "", ""]]:
            yield [one.verdict, *keys, *field, why, candidates]

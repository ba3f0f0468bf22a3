"""How long the values of a record may be: they are kept in its link and in the journal, and compared at every look."""

from __future__ import annotations

from collections.abc import Mapping

from mappings.fields import Value, size_of
from sync_worker.errors import TooLong

LONGEST_VALUE = 65_536  # characters of one field
LONGEST_RECORD = 4 * LONGEST_VALUE  # characters of all fields of a record together


def too_long(values: Mapping[str, Value], system: str, before: Mapping[str, Value] | None = None) -> TooLong | None:
    """What is wrong with these fields of a record, if anything. ``before``: what was read of the same one already."""
    whole = 0
    for name, value in values.items():
        size = size_of(value)
        if size > LONGEST_VALUE:
            return TooLong(f"{name} in {system} is longer than {LONGEST_VALUE:,} characters", field=name, system=system)
        whole += size
    if before:
        whole += sum(size_of(value) for name, value in before.items() if name not in values)
    if whole <= LONGEST_RECORD:
        return None
    longest = max(values, key=lambda name: size_of(values[name]), default="")
    text = f"the record in {system} is longer than {LONGEST_RECORD:,} characters in all, {longest} most of all"
    return TooLong(text, field=longest, system=system)

"""What our processes did, read from their log as it grows: which vendor calls belong to one record's passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass
class Diary:
    """``log``: JSON lines of all our processes, at level debug."""

    log: Path
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _offset: int = 0

    def came_to_rest(self, link: int, since: float) -> float | None:
        """When the first pass over this link after ``since`` (seconds since 1970) ended with both sides in step."""
        wanted = {"event": "sync.ended", "link": link, "outcome": "in_sync"}
        return min((at for at, line in self._after(since) if wanted.items() <= line.items()), default=None)

    def vendor_calls(self, link: int, begin: float, end: float) -> int:
        """Vendor calls of this link's passes in a stretch of time; what feeds and trailing looks ask is not among them.

        A single edit rings its own link, which its calls carry in the log. Where another link's ring, the ringer or a
        feed was faster, the work was done in their batch, and all calls of batches count.
        """
        calls = [line for at, line in self._after(begin) if line["event"] == "vendor.call" and at <= end]
        calls = [line for line in calls if "flow" in line]
        return len([line for line in calls if line.get("link") == link] or calls)

    def _after(self, since: float) -> Iterator[tuple[float, dict[str, Any]]]:
        self._read()
        for line in self._lines:
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            if at >= since:
                yield at, line

    def _read(self) -> None:
        """Take in the lines finished since; those of another form (a warning of a library) are passed over."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for raw in whole.splitlines():
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and {"event", "timestamp"} <= line.keys():
                self._lines.append(line)

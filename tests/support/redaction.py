"""Nothing that the whole suite logs, on any level, and no error of ours it makes shows a secret or an e-mail address.

Seen are: every line that this process logs, before ``logs.redact`` hides anything of it; every text of a ``SyncError``;
what child processes and commands say on stderr; and the log files of whole installations. Secrets are those that the
suite's configurations hold, besides whatever looks like one. The test that ran when something showed fails.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict
from typer.testing import CliRunner

from sync_worker import errors, logs

SHORTEST = 8  # characters of a secret that is looked for by its value: shorter ones stand in any text
KNOWN = frozenset({"demo-secret", "demo-password", "demo-token"})  # the emulators' own
EMAIL = re.compile(r"@(?=[\w-]+\.\w)")
LOOKS = re.compile(r"\b(?:swk_[\w-]{16}|whsec_[\w+/]{12}|eyJ[\w-]{16}|gAAAA[\w-]{16})|\b(?:Bearer|Basic) [\w+/.=-]{12}")
BEFORE = re.compile(r"[\w.+-]*\Z")


class Watch:
    """What was seen since the last look. ``install`` once per process."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self.secrets = set(KNOWN)

    def see(self, text: str) -> None:
        self._seen.append(text)

    def see_files(self, folder: Path) -> None:
        """The logs of an installation."""
        for file in folder.glob("*.log"):
            self.see(file.read_text(encoding="utf-8", errors="replace"))

    def hold(self, value: object) -> None:
        """From now on this is a secret of the suite; keys that are separated by commas are one each."""
        self.secrets |= {part for part in str(value).split(",") if len(part) >= SHORTEST}

    def found(self) -> list[str]:
        """What showed since the last look, each with the words around it."""
        text, self._seen = "\n".join(self._seen), []
        return list(dict.fromkeys(leaks(text, self.secrets)))

    def processor(self, _logger: Any, method: str, event: EventDict) -> EventDict:
        """structlog processor: sees the line as it was written; what is below a warning goes no further."""
        shown = logs.format_error(None, method, {**event})
        self.see(repr(shown))
        if method in ("debug", "info"):
            raise structlog.DropEvent
        return event

    def install(self) -> None:
        """Be told from now on. For the life of the process: threads and fixtures of the session log to its end."""
        watch = self
        plain_init, plain_value = errors.SyncError.__init__, SecretStr.get_secret_value
        plain_communicate, plain_invoke = subprocess.Popen.communicate, CliRunner.invoke
        plain_event = structlog.BoundLoggerBase._process_event

        def made(error: errors.SyncError, message: str = "", **more: Any) -> None:
            watch.see(str(message))
            plain_init(error, message, **more)

        def value(secret: SecretStr) -> str:
            found = plain_value(secret)
            watch.hold(found)
            return found

        def communicate(process: Any, *args: Any, **more: Any) -> Any:
            out, err = plain_communicate(process, *args, **more)
            watch.see(err.decode(errors="replace") if isinstance(err, bytes) else err or "")
            return out, err

        def invoke(runner: CliRunner, *args: Any, **more: Any) -> Any:
            result = plain_invoke(runner, *args, **more)
            watch.see(result.stderr)
            return result

        def processed(logger: Any, *args: Any, **more: Any) -> Any:
            written = plain_event(logger, *args, **more)
            watch.see(str(written[0]))  # whatever the configuration of the moment
            return written

        errors.SyncError.__init__ = made  # type: ignore[assignment,method-assign]  # the same, and seen
        SecretStr.get_secret_value = value  # type: ignore[method-assign]  # the same
        subprocess.Popen.communicate = communicate  # type: ignore[method-assign,assignment]  # the same
        CliRunner.invoke = invoke  # type: ignore[method-assign,assignment]  # the same
        structlog.BoundLoggerBase._process_event = processed  # type: ignore[method-assign]  # the same


def leaks(text: str, secrets: set[str]) -> Iterator[str]:
    """Places of a text that show an e-mail address, something that looks like a secret, or one of these."""
    for match in EMAIL.finditer(text):
        if BEFORE.search(text, max(0, match.start() - 40), match.start()).group():  # type: ignore[union-attr]  # it always matches
            yield f"an e-mail address: {_around(text, match.start())}"
    for match in LOOKS.finditer(text):
        yield f"what looks like a secret: {_around(text, match.start())}"
    for secret in secrets:
        if (at := text.find(secret)) >= 0:
            yield f"a secret of the configuration: {_around(text, at)}"


def _around(text: str, at: int) -> str:
    return text[max(0, at - 60) : at + 60].replace("\n", " | ")


WATCH = Watch()

"""Logs: JSON lines on stderr (plain text on a terminal), one context per sync, and nothing of anybody's data.

What is logged are ids, codes and hashes. ``redact`` is a safety net behind that rule, not a licence. Texts of errors
that are not ours are left out of tracebacks: a database driver's quotes the row it failed on.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from sync_worker.errors import ConfigError, SyncError

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("json", "console")
MASK = "[removed]"
CUT = "[cut]"
LONGEST = 8192  # characters of one value
# Somebody's data: forbidden as a key, and as the last word of one (``customer_name``; ``contact_key`` is an id).
PERSONAL = frozenset(
    {
        "address", "body", "city", "contact", "content", "email", "fax", "first", "headers", "json", "last", "mail",
        "mobile", "name", "native", "params", "payload", "phone", "postcode", "street", "username", "values",
    }
)  # fmt: skip
# Forbidden as any word of a key.
SECRET = frozenset(
    {
        "apikey", "authorization", "cookie", "credential", "credentials", "jwt", "passphrase", "passwd", "password",
        "secret", "secrets", "signature", "token", "tokens",
    }
)  # fmt: skip

_WORDS = re.compile(r"[^a-z0-9]+")
_PATTERNS = (
    re.compile(r"(?<=://)[^\s/@]+@"),  # user and password in an address
    # an e-mail address, and user@company; looked for from where a word begins, else long words take long
    re.compile(r"(?<![^\s@<>\"'=(),;:\[\]])[^\s@<>\"'=(),;:\[\]]+@[^\s@<>\"'=(),;:\[\]]+"),
    re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"\b(whsec_|swk_|eyJ)[A-Za-z0-9._/+=-]{8,}"),  # a webhook's secret, our API's token, a JWT
    re.compile(r"(?i)(password|passwd|secret|token|api_?key|authorization)[\"']?\s*(=|:\s*[\"'])[^\s,;&\"]+"),
)
_DEPTH = 6
_FRAMES = 20


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """structlog processor: masks forbidden keys, e-mail addresses and credentials wherever they stand."""
    for key, value in event.items():
        event[key] = MASK if _is_forbidden(key, value) else _clean(value, _DEPTH)
    return event


def _is_forbidden(key: object, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return False
    words = [word for word in _WORDS.split(str(key).lower()) if word]
    return bool(words) and (words[-1] in PERSONAL or not SECRET.isdisjoint(words))


def _clean(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST:  # nobody reads more, and lines are kept for long
            value = value[:LONGEST] + CUT
        for pattern in _PATTERNS:
            value = pattern.sub(MASK, value)
        return value
    if isinstance(value, BaseException):
        return _clean(_describe(value), depth)
    if depth == 0 or isinstance(value, bytes | bytearray | memoryview):
        return MASK
    if isinstance(value, Mapping):
        return {str(k): MASK if _is_forbidden(k, v) else _clean(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(v, depth - 1) for v in value]
    return _clean(str(value), depth)


def _describe(error: BaseException) -> str:
    """What may be said of an error: texts of our own hold no data, those of others might."""
    return f"{type(error).__name__}: {error}" if isinstance(error, SyncError) else type(error).__name__


def format_error(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """structlog processor: ``exc_info`` becomes ``exception``, places in the code and kinds of errors only."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is not None:
        event["exception"] = "\n".join(_chain(error))
    return event


def _chain(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield _describe(error)
        for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is not None:
            yield "after"


def _chosen(variable: str, value: str | None, words: Sequence[str]) -> str:
    """What the environment says, one of ``words``; "" for nothing."""
    given = (value or "").lower()
    if given and given not in words:
        raise ConfigError(f"the environment variable {variable} is {given[:40]!r}; allowed: {', '.join(words)}")
    return given


def configure(level: str | None = None, *, json: bool | None = None) -> None:
    """Set up structlog and route the standard library's logging and warnings through it. Lines go to stderr.

    ``level``: of our own lines, else SYNC_LOG_LEVEL, else info. Those of libraries are shown from warning on, whatever
    the level: below that they quote requests. ``json`` None: SYNC_LOG_FORMAT (json, console), else text on a terminal.
    Raises ``ConfigError`` for an environment variable that says something else.
    """
    wanted = level or _chosen("SYNC_LOG_LEVEL", os.environ.get("SYNC_LOG_LEVEL"), LEVELS) or "info"
    number = logging.getLevelNamesMapping()[wanted.upper()]
    if json is None:
        chosen = _chosen("SYNC_LOG_FORMAT", os.environ.get("SYNC_LOG_FORMAT"), FORMATS)
        json = chosen == "json" if chosen else not sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        format_error,
        redact,
    ]
    last: Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # Made for every line: whoever replaces sys.stderr later gets the lines from then on.
        logger_factory=lambda *_name: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)

"""Logs: JSON lines (plain text on a terminal), one context per sync, and nothing of anybody's data.

What is logged are ids, codes and hashes. The redaction below is a safety net behind that rule, not a licence.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

FORBIDDEN = frozenset(
    {
        "address", "authorization", "body", "client_secret", "contact", "cookie", "email", "first", "headers", "last",
        "mobile", "name", "params", "password", "payload", "phone", "secret", "signature", "token", "username",
    }
)  # fmt: skip
MASK = "[removed]"
_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[A-Za-z]{2,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_LIKELY_SECRET = re.compile(r"\b(whsec_|eyJ)[A-Za-z0-9._/+=-]{8,}")


def hash_of(value: str) -> str:
    """A short, stable stand-in for a value in a log line."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: masks forbidden keys, e-mail addresses and bearer values wherever they stand."""
    for key in list(event):
        event[key] = MASK if key.lower() in FORBIDDEN else _clean(event[key])
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        for pattern in (_EMAIL, _BEARER, _LIKELY_SECRET):
            value = pattern.sub(MASK, value)
        return value
    if isinstance(value, dict):
        return {k: MASK if str(k).lower() in FORBIDDEN else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return value


def configure(level: str = "INFO", *, json: bool | None = None) -> None:
    """Set up structlog and route the standard library's logging through it. Lines go to stderr.

    ``json`` None: text on a terminal, JSON elsewhere.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "dramatiq", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

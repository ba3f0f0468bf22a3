"""The key for stored secrets where none is configured: a file that only its owner may read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from sync_worker.errors import ConfigError


def load_or_make(path: Path) -> str:
    """The key in this file; it is made (mode 0600) when there is none, once, however many processes ask together.

    Raises ``ConfigError`` when it cannot be read or written, or when others can read it.
    """
    try:
        if not path.exists():
            _make(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 it, or give [secrets] key")
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; it holds the key for stored secrets") from None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    key = base64.urlsafe_b64encode(secrets.token_bytes(32))
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike a rename it never replaces: whoever came first made the key
    except FileExistsError:
        pass
    finally:
        draft.unlink()

"""The key for stored secrets where none is configured: a file that only its owner may read.

It holds one key, and two while the key is being rotated: the first encrypts, all decrypt.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sync_worker.errors import ConfigError, PermanentError

KEY_BYTES = 32


def load_or_make(path: Path) -> list[str]:
    """The keys in this file; it is made (mode 0600) when there is none, once, however many processes ask together.

    Raises ``ConfigError`` when it cannot be read or written, or when others can read it.
    """
    try:
        if not path.exists():
            _make(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 it, or give [secrets] key")
        keys = path.read_bytes().split()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; it holds the key for stored secrets") from None
    if not keys or not all(map(_is_key, keys)):
        raise ConfigError(f"{path} holds no key: restore it from your copy")
    return [key.decode() for key in keys]


def _is_key(text: bytes) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == KEY_BYTES and text.isascii()
    except ValueError:
        return False


def new_key() -> str:
    """32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


@contextmanager
def rotating(path: Path) -> Iterator[list[str]]:
    """A new key stands first in the file from here on, the old one beside it; at the end, the new one alone.

    Ended by an error or a crash, both stay: whoever rotates next goes on with them. Yields the keys. Raises
    ``PermanentError`` while another process rotates, and ``ConfigError`` as ``load_or_make``.
    """
    with _alone(path):
        keys = load_or_make(path)
        if len(keys) == 1:
            keys = [new_key(), *keys]
            _replace(path, keys)
        yield keys
        _replace(path, keys[:1])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise PermanentError(f"another process rotates {path}: wait for it") from None
    finally:
        os.close(handle)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    _write(draft, [new_key()], os.O_EXCL)
    try:
        os.link(draft, path)  # unlike a rename it never replaces: whoever came first made the key
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _replace(path: Path, keys: Sequence[str]) -> None:
    """All of it or nothing, and on the disk when this returns: what is encrypted next can be read only with it."""
    draft = path.with_name(f"{path.name}.new")
    _write(draft, keys, os.O_TRUNC)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, keys: Sequence[str], how: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{key}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())

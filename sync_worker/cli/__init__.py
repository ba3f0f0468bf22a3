"""``sync-worker``: the commands people and scripts type. Errors are one line: what, why, what to do.

Exit codes: 0 done, 1 the thing asked for did not succeed, 2 wrong usage or unusable configuration.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from typer.exceptions import Abort, TyperException

from sync_worker.cli import (
    alerts,
    imports,
    link_files,
    links,
    managers,
    previews,
    processes,
    records,
    rewriting,
    secrets,
    tokens,
    verify,
)
from sync_worker.cli.shared import app
from sync_worker.errors import ConfigError, RetryableError, SyncError
from sync_worker.output import shown

# importing a module registers its commands
__all__ = [
    "alerts",
    "app",
    "imports",
    "link_files",
    "links",
    "main",
    "managers",
    "previews",
    "processes",
    "records",
    "rewriting",
    "secrets",
    "tokens",
    "verify",
]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Entry point. Turns what may be expected to go wrong into one line and an exit code."""
    os.umask(0o077)  # what we store are customers' data
    _open_outputs()
    if any("\udc80" <= c <= "\udcff" for c in "".join(sys.argv)):  # how Python holds bytes that are no text
        _fail("the command line is not UTF-8: type it again, or set the terminal's character set to UTF-8", 2)
    try:
        code = app(standalone_mode=False, prog_name="sync-worker")
    except TyperException as error:
        _refuse_usage(error)
    except ConfigError as error:
        _fail(str(error), 2)
    except RetryableError as error:
        _fail(f"{error.of_system}; try again later" if error.system else str(error), 1)
    except SyncError as error:
        _fail(error.of_system, 1)
    except _database_errors() as error:
        if not _about_the_database(error):
            raise
        _fail(f"the database cannot be used: {str(error.orig).splitlines()[0]}; sync-worker doctor checks it", 1)
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        _fail(_about_a_file(error), 1)
    except (KeyboardInterrupt, Abort):  # a question was left without an answer
        _fail("stopped", 130)
    raise SystemExit(code)


def _open_outputs() -> None:
    """Whoever started us may have closed them."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until we end


def _about_a_file(error: OSError) -> str:
    """Without a name it is what we print to, or a file that was opened well."""
    if error.errno in _NO_ROOM:
        what = error.filename or "what it prints or keeps"
        return f"{what} cannot be written: {error.strerror}; what was done is done: sync-worker runs"
    return f"{error.filename}: {error.strerror}; is SYNC_DATA_DIR right, and ours to write in?"


def _refuse_usage(error: TyperException) -> NoReturn:
    """A command line that cannot be understood; without a message its help has just been shown."""
    said = " ".join(error.format_message().split()).rstrip(".")
    if not said:
        raise SystemExit(error.exit_code)
    context = getattr(error, "ctx", None)
    _fail(f"{said}; see {context.command_path if context is not None else 'sync-worker'} --help", error.exit_code)


def _database_errors() -> tuple[type[Any], ...]:
    """Evaluated when something was raised, so that no command imports it for this."""
    loaded = sys.modules.get("sqlalchemy.exc")
    return (loaded.DatabaseError,) if loaded is not None else ()


def _about_the_database(error: Any) -> bool:
    """A database that is away or full, a file that is none (SQLite's own word for it is the class above all others), or
    a URL that asks for what the driver does not know; what else it may say is about our statements, and a bug."""
    return type(error).__name__ in ("OperationalError", "DatabaseError") or error.statement is None


def _fail(line: str, code: int) -> NoReturn:
    print(f"sync-worker: {shown(line)}", file=sys.stderr)
    raise SystemExit(code)

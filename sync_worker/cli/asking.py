"""Asking a person before a run passes its flow's limits."""

from __future__ import annotations

import sys
from typing import Protocol, TypeVar

import typer

T_co = TypeVar("T_co", covariant=True)


class Run(Protocol[T_co]):
    """A run that raises LimitReached unless it is ``unlimited``."""

    def __call__(self, *, unlimited: bool) -> T_co: ...


def within_limits(run: Run[T_co], *, yes: bool) -> T_co:
    """Asks on a terminal; elsewhere, or if the answer is no, it is refused. ``yes``: it was asked for.

    Raises LimitReached.
    """
    from sync_worker.desk.limits import LimitReached

    try:
        return run(unlimited=yes)
    except LimitReached as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        if not _agreed(f"{error.why}; go on?"):
            raise
        return run(unlimited=True)


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, default=False, err=True)
    except typer.Abort:  # the question was left by Ctrl-C or Ctrl-D
        print(file=sys.stderr)
        return False

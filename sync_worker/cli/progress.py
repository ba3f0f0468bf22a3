"""How far a long job is, on stderr: stdout is its report's. One bar for all of them, and one way to stop them.

A bar with rate and remaining time on a terminal, a line now and then elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import typer

from sync_worker.errors import RetryableError

LINE_SECONDS = 10.0

Tell = Callable[[str, int, int | None], None]
"""What is counted, how many are done, of how many (None: not known)."""


@contextmanager
def long_job(again: str) -> Iterator[Tell]:
    """A job that may be stopped and gone on with. ``again``: the command line that goes on.

    Ctrl-C ends the command with 130 and says how to go on. Raises RetryableError, which then says the same.
    """
    try:
        with _interrupts_answered(), progress() as tell:
            yield tell
    except KeyboardInterrupt:
        print(f"sync-worker: stopped; {again} goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    except RetryableError as error:
        raise RetryableError(f"{error.of_system}; {again} goes on from here") from error


@contextmanager
def _interrupts_answered() -> Iterator[None]:
    """Ctrl-C is answered at once: a slow vendor may need minutes for the calls that what has begun still takes."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as for a job in the background
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        # never by print: the handler may run in the middle of one
        os.write(2, b"\nsync-worker: stopping; what has begun is finished first (Ctrl-C again does not wait for it)\n")
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say(text: str) -> None:
    """One line about the job itself."""
    print(f"sync-worker: {text}", file=sys.stderr, flush=True)


def once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """The same, for a job that may begin twice: no line is said again."""
    said: set[str] = set()

    def new(text: str) -> None:
        if text not in said:
            said.add(text)
            tell(text)

    return new


@contextmanager
def progress() -> Iterator[Tell]:
    """Shows how far it is until the block ends."""
    if not sys.stderr.isatty():
        yield Lines().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        def render(self, task: Task):  # type: ignore[no-untyped-def]  # rich is imported only where there is a bar
            task.fields["rate"] = f"{task.speed:,.0f}/s" if task.speed else ""
            return super().render(task)

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="")
            bars.update(tasks[what], completed=done, total=total)

        yield tell


@dataclass
class Lines:
    """A plain line now and then, and one when all of it is done."""

    clock: Callable[[], float] = time.monotonic
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)
    _said_at: float = field(default=0.0, init=False)
    _ended: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._said_at = self.clock()

    def tell(self, what: str, done: int, total: int | None) -> None:
        now = self.clock()
        began, before = self._began.setdefault(what, (now, done))
        at_end = done == total and what not in self._ended
        if not at_end and now - self._said_at <= LINE_SECONDS:
            return
        self._said_at = now
        if at_end:
            self._ended.add(what)
        rate = (done - before) / (now - began) if now > began else 0.0
        print(_line(what, done, total, rate), file=sys.stderr, flush=True)


def _line(what: str, done: int, total: int | None, rate: float) -> str:
    """``rate``: a second."""
    said = f"{what}: {done} of {total if total is not None else '?'}"
    if rate <= 0 or done == total:
        return said
    left = f", {_duration((total - done) / rate)} left" if total is not None and total > done else ""
    return f"{said}, {rate:.0f}/s{left}" if rate >= 1 else f"{said}, {rate * 60:.0f}/min{left}"


def _duration(seconds: float) -> str:
    """Seconds in words, as exact as a guess can be."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"

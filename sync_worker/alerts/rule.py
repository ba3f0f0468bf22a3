"""What of all that stands is worth a message now. Pure: what stands, what was told before, and the time decide.

A message is sent when something new has become ripe, when the last word on something is a day old, and once when
nothing is left. It names everything that stands, so that one message is the whole picture. What went away is over only
after a quarter of an hour without it: what comes and goes is told once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

QUIET = 900.0  # seconds without it before something is over
REMIND = 86_400.0

Kind = Literal["links", "paused", "lag", "task"]
Status = Literal["new", "still", "over"]


class Subject(NamedTuple):
    """What an alert is about. ``name``: of a flow, a system or a task. ``state``: of its links, ``flow`` or ``system``
    for a pause, else blank. ``cause``: a code."""

    kind: Kind
    name: str
    state: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Something that stands now. ``since``: seconds since 1970. ``count``: links, 0 where none are counted.

    ``ripe_after``: seconds it must have stood to be worth telling; such a thing may go and come back in between.
    ``detail``: words for people about this very case. ``keys``: what most of these links wait on, and how many.
    ``example``: system and key of one of the records.
    """

    subject: Subject
    since: float
    count: int = 0
    ripe_after: float = 0.0
    detail: str = ""
    keys: tuple[tuple[str, int], ...] = ()
    example: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is remembered of a subject. ``since``: first seen. ``ended_at``: first seen to be gone, None: it stands.

    ``told_at``: when a message last named it, None = never; ``told_count``: how many did.
    """

    subject: Subject
    since: float
    ended_at: float | None = None
    told_at: float | None = None
    told_count: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One subject in a message. ``standing`` is None for what is over.

    ``first_seen`` and ``number`` (which word on it this is) tell this message from every other.
    """

    status: Status
    subject: Subject
    since: float
    first_seen: float
    number: int
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """``seen``: what is remembered now, whether or not sending succeeds. ``lines``: the message; none = stay silent."""

    seen: tuple[Told, ...]
    lines: tuple[Line, ...]

    def told(self, now: float) -> tuple[Told, ...]:
        """What is remembered once the message was sent: what is over is forgotten."""
        by_subject = {line.subject: line for line in self.lines}
        rest = []
        for one in self.seen:
            line = by_subject.get(one.subject)
            if line is None:
                rest.append(one)
            elif line.status != "over":
                rest.append(replace(one, told_at=now, told_count=line.number))
        return tuple(rest)


def decide(standing: Iterable[Standing], told: Iterable[Told], now: float) -> Turn:
    """One target's next message, if any, and what is remembered meanwhile."""
    stands = {one.subject: one for one in standing}
    seen = _look(stands, {one.subject: one for one in told}, now)
    lines: list[Line] = []
    for memory in seen:
        line = _line(memory, stands.get(memory.subject), now)
        if line is not None:
            lines.append(line)
    return Turn(tuple(seen), tuple(lines) if _worth_telling(lines, seen, now) else ())


def _look(stands: dict[Subject, Standing], told: dict[Subject, Told], now: float) -> list[Told]:
    """The memory with what is seen now; what nobody was told of and is long gone is dropped."""
    seen: list[Told] = []
    for subject in sorted(stands.keys() | told.keys()):
        memory, found = told.get(subject), stands.get(subject)
        if found is not None:
            seen.append(Told(subject, now) if memory is None else replace(memory, ended_at=None))
        elif memory is not None and (memory.told_at is not None or not _over(memory, now)):
            seen.append(memory if memory.ended_at is not None else replace(memory, ended_at=now))
    return seen


def _over(memory: Told, now: float) -> bool:
    return memory.ended_at is not None and now - memory.ended_at >= QUIET


def _line(memory: Told, standing: Standing | None, now: float) -> Line | None:
    number = memory.told_count + 1
    if standing is None:
        over = memory.told_at is not None and _over(memory, now)
        return Line("over", memory.subject, memory.since, memory.since, number) if over else None
    # The worker's own pauses end and begin anew: how long the trouble lasts is ours to remember.
    since = min(standing.since, memory.since) if standing.ripe_after else standing.since
    if memory.told_at is not None:
        return Line("still", memory.subject, since, memory.since, number, standing)
    ripe = now - since >= standing.ripe_after
    return Line("new", memory.subject, since, memory.since, number, standing) if ripe else None


def _worth_telling(lines: Sequence[Line], seen: Sequence[Told], now: float) -> bool:
    """Something new, a reminder that is due, or the end of the last thing somebody was told of."""
    if any(line.status == "new" for line in lines):
        return True
    last_word = {one.subject: one.told_at for one in seen}
    if any(line.status == "still" and now - (last_word[line.subject] or now) >= REMIND for line in lines):
        return True
    over = {line.subject for line in lines if line.status == "over"}
    return bool(over) and all(one.subject in over for one in seen if one.told_at is not None)

"""An alert in words: a mail's subject and text, a webhook's JSON. Counts, codes, commands; nothing of any customer."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sync_worker import causes
from sync_worker.alerts.rule import Line, Status, Subject
from sync_worker.wording import counted

# kind or reason of a pause: what it means, and what ends it
PAUSES = {
    "unavailable": ("it cannot be reached", "it is asked again by itself; is it down, or the network?"),
    "auth_failed": ("it refuses our credentials", "correct them: sync-worker doctor says which setting"),
    "manual": ("a person paused it", "sync-worker resume {name}"),
    "many_unlinked": (
        "more of its records vanished within an hour than `limits.unlinked` allows",
        "look at the vendor; if that is right: sync-worker resume {name}",
    ),
}
LAG = ("work is due and nobody does it", "is a worker running, and is it quick enough? sync-worker status")
TASK = ("it fails again and again: {detail}", "sync-worker doctor says what is wrong")

TITLES: dict[Status, str] = {"new": "NEW", "still": "STILL", "over": "OVER"}
MOST_KEYS = 3


@dataclass(frozen=True, slots=True)
class Message:
    """``id`` is the same whenever the same is told again, so that a receiver may drop what it already has."""

    id: str
    subject: str
    text: str
    document: dict[str, Any]


def compose(lines: Sequence[Line], *, target: str, public_url: str, now: float) -> Message:
    """One message for all lines, new ones first. ``now``: seconds since 1970."""
    ordered = [line for status in TITLES for line in lines if line.status == status]
    stands = [line for line in ordered if line.status != "over"]
    subject = f"[sync-worker {urlsplit(public_url).hostname}] {_headline(stands)}"
    paragraphs = []
    for status, title in TITLES.items():
        told = [line for line in ordered if line.status == status]
        if told:
            paragraphs.append("\n".join([title, *(_text(line, now) for line in told)]))
    footer = "All of it is over. " if not stands else ""
    footer += f"Look: sync-worker status, or {public_url}"
    text = "\n\n".join([*paragraphs, footer]) + "\n"
    document = {
        "type": "alerts",
        "timestamp": _iso(now),
        "text": f"{subject}\n\n{text}",
        "data": {"all_clear": not stands, "public_url": public_url, "alerts": [_document(line) for line in ordered]},
    }
    return Message(_id(target, ordered), subject, text, document)


def trial(*, target: str, public_url: str, now: float) -> Message:
    """The message of ``sync-worker alerts test``, marked as one."""
    subject = f"[sync-worker {urlsplit(public_url).hostname}] test: alerts reach you"
    text = f"This is a test, sent by a person: sync-worker alerts test. Nothing is wrong. {public_url}\n"
    document = {"type": "alerts.test", "timestamp": _iso(now), "text": f"{subject}\n\n{text}", "data": {}}
    return Message(_hash(target, "test", repr(now)), subject, text, document)


def words(line: Line) -> tuple[str, str, str]:
    """What it is, why, and what moves it on."""
    what, name = _what(line.subject), line.subject.name
    if line.subject.kind == "links":
        known = {"waiting_on": _keys(line)} if line.standing and line.standing.keys else {}
        return what, causes.general_text(line.subject.cause, **known), _step(line.subject)
    if line.subject.kind == "paused":
        unknown = (line.subject.cause.replace("_", " "), "sync-worker doctor")
        why, step = PAUSES.get(line.subject.cause, unknown)
        return what, why, step.format(name=name)
    why, step = LAG if line.subject.kind == "lag" else TASK
    return what, why.format(detail=line.standing.detail if line.standing else ""), step


def _step(subject: Subject) -> str:
    state = f"--state {subject.state} --flow {subject.name}"
    return causes.next_step(subject.cause, {"FLOW": subject.name}).replace("--link LINK", state)


def _what(subject: Subject) -> str:
    names = {
        "links": f"flow {subject.name}: {subject.state}",
        "paused": f"{subject.state} {subject.name}: paused",
        "lag": f"flow {subject.name}: lags",
        "task": f"task {subject.name}: fails",
    }
    return names[subject.kind]


def _headline(stands: Sequence[Line]) -> str:
    if not stands:
        return "all clear"
    first = stands[0]
    count = f" {counted(first.standing.count, 'link')}" if first.standing and first.standing.count else ""
    more = f", and {len(stands) - 1} more" if len(stands) > 1 else ""
    return f"{_what(first.subject)}{count}{more}"


def _text(line: Line, now: float) -> str:
    what, why, step = words(line)
    if line.status == "over" or line.standing is None:
        return f"- {what}" + (f" ({line.subject.cause})" if line.subject.cause else "")
    count = f"{counted(line.standing.count, 'link')}, the oldest " if line.standing.count else ""
    said = [f"- {what}: {count}for {duration(now - line.since)}", f"  why: {why}", f"  next: {step}"]
    return "\n".join([*said, *(f"  {word}: {command}" for word, command in _commands(line).items())])


def _commands(line: Line) -> dict[str, str]:
    """What to type: to look at one of the records, and to try all of them again where that can help."""
    subject, example = line.subject, line.standing.example if line.standing else None
    found = {}
    if example is not None:
        found["one of them"] = shlex.join(["sync-worker", "explain", example[0], f"key:{example[1]}"])
    if subject.kind == "links" and subject.state != "conflict":
        found["all again"] = f"sync-worker replay --state {subject.state} --flow {subject.name}"
    return found


def _keys(line: Line) -> str:
    keys = line.standing.keys if line.standing else ()
    shown = ", ".join(f"{key} ({count})" for key, count in keys[:MOST_KEYS])
    return shown + (f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else "")


def _document(line: Line) -> dict[str, Any]:
    what, why, step = words(line)
    standing = line.standing
    return {
        "status": line.status,
        "kind": line.subject.kind,
        "name": line.subject.name,
        "state": line.subject.state,
        "cause": line.subject.cause,
        "what": what,
        "why": why,
        "next_step": step,
        "commands": list(_commands(line).values()),
        "count": standing.count if standing else 0,
        "since": _iso(line.since),
        "waiting_on": [{"key": key, "count": count} for key, count in (standing.keys if standing else ())][:MOST_KEYS],
    }


def duration(seconds: float) -> str:
    """A span in its two largest units: ``3 d 4 h``, ``12 min``; under a minute ``less than a minute``."""
    minutes = int(max(0.0, seconds)) // 60
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "less than a minute"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _id(target: str, lines: Sequence[Line]) -> str:
    named = sorted((line.status, *line.subject, line.number, repr(line.first_seen)) for line in lines)
    return _hash(target, repr(named))


def _hash(*parts: str) -> str:
    return "msg_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

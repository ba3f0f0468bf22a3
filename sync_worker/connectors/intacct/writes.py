"""Writing customers: updates in batches with an outcome per item, creates singly, contacts by themselves where needed.

Unsettled whether ``contacts.default`` can be written through its customer: where the vendor refuses that, its columns
go to ``company-config/contact/{key}``, and that is remembered for this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from sync_worker.connectors.base import MAX_KEY, Outcome, Record, Write
from sync_worker.connectors.context import concerning
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct.errors import InvalidField, item_error
from sync_worker.connectors.intacct.query import CONTACT, CUSTOMER, readable_key
from sync_worker.errors import (
    AuthFailed,
    LeaseLost,
    NotFound,
    NotYetThere,
    OutcomeUnknown,
    ReadTooOld,
    RecordBusy,
    Rejected,
    RetryableError,
    SyncError,
    SystemUnavailable,
    WritesRefused,
)

log = structlog.get_logger(__name__)

CONTACT_PREFIX = "contacts.default."
CUSTOMERS = f"objects/{CUSTOMER}"


class Writer:
    """``call`` sends; ``look(customer key)`` reads a customer as it is now."""

    def __init__(self, call: Callable[..., Answer], look: Callable[[str], Record | None], *, batch: int) -> None:
        self._call = call
        self._look = look
        self._batch = batch
        self.contact_apart = False  # learnt: the default contact is not written through its customer

    def write_many(self, writes: Sequence[Write], unreadable: set[str]) -> list[Outcome]:
        """One outcome per write, in order. After an error that concerns all, the rest is not sent.

        ``unreadable``: columns the vendor turned out not to have; an update of one is refused, a create goes without.
        """
        outcomes: list[Outcome | None] = [None] * len(writes)
        updates: list[int] = []
        for n, write in enumerate(writes):
            missing = unreadable & write.columns.keys()
            if write.key is not None and missing:
                outcomes[n] = Outcome(write.key, error=Rejected("the vendor has no such column", column=min(missing)))
            elif write.key is not None:
                updates.append(n)
        stop: SyncError | None = None
        for start in range(0, len(updates), self._batch):
            group = updates[start : start + self._batch]
            batch = [writes[n] for n in group]
            with concerning(w.link_id for w in batch):
                found = self._update(batch) if stop is None else [_unsent(stop, w.key) for w in batch]
            for n, outcome in zip(group, found, strict=True):
                outcomes[n] = outcome
            stop = stop or _concerns_all(found)
        for n, write in enumerate(writes):
            if write.key is None:
                columns = {c: v for c, v in write.columns.items() if c not in unreadable}
                with concerning([write.link_id]):
                    outcomes[n] = _unsent(stop) if stop else self._create(columns, write.idempotency_key)
                stop = stop or _concerns_all([outcomes[n]])
        return [o for o in outcomes if o is not None]

    def _update(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.contact_apart:
            return self._update_apart(writes)
        found = self._patch(writes, [w.columns for w in writes])
        again = [n for n, outcome in enumerate(found) if _is_contact_refusal(outcome.error)]
        if again:
            outcomes = self._update_apart([writes[n] for n in again])
            if any(o.error is None for o in outcomes) and not self.contact_apart:
                self.contact_apart = True
                log.warning("intacct.contact_apart", why="the default contact is not written through its customer")
            for n, outcome in zip(again, outcomes, strict=True):
                found[n] = outcome
        return found

    def _update_apart(self, writes: Sequence[Write]) -> list[Outcome]:
        """Customer columns in one batch, then each contact by its own key; what was stored before an error is told."""
        own = [{c: v for c, v in w.columns.items() if not c.startswith(CONTACT_PREFIX)} for w in writes]
        busy = [n for n, columns in enumerate(own) if columns]
        found = [Outcome(w.key) for w in writes]
        if busy:
            for n, outcome in zip(busy, self._patch([writes[n] for n in busy], [own[n] for n in busy]), strict=True):
                found[n] = outcome
        stop = _concerns_all(found)
        for n, write in enumerate(writes):
            contact = {c: v for c, v in write.columns.items() if c.startswith(CONTACT_PREFIX)}
            if found[n].error is None and contact:
                known = (write.baseline.children if write.baseline else {}).get("contact", "")
                outcome = _unsent(stop, write.key) if stop else self._write_contact(str(write.key), known, contact)
                stored = self._stored(str(write.key), own[n]) if outcome.error and own[n] else {}
                found[n] = Outcome(write.key, found[n].ref, stored, outcome.children, outcome.error)
                stop = stop or _concerns_all([outcome])
        return found

    def _write_contact(self, customer: str, contact: str, columns: Mapping[str, Any]) -> Outcome:
        try:
            if not contact:
                record = self._look(customer)
                contact = record.children.get("contact", "") if record else ""
            if not contact:
                raise Rejected("the customer has no contact to write to", column=min(columns))
            own = {c.removeprefix(CONTACT_PREFIX): v for c, v in columns.items()}
            self._call("update contact", "PATCH", f"objects/{CONTACT}/{contact}", json=nested(own))
        except WritesRefused:
            raise
        except NotFound as error:  # the customer shows another contact by now: read again
            return Outcome(customer, error=NotYetThere("the contact is gone", status=error.status))
        except Rejected as error:
            named = error.column or ""
            column = _written(CONTACT_PREFIX + named, columns) or _written(named, columns)
            refusal = Rejected(str(error), column=column, system=error.system, status=error.status)
            return Outcome(customer, error=refusal)
        except SyncError as error:
            return Outcome(customer, error=error)
        return Outcome(customer, children={"contact": contact})

    def _patch(self, writes: Sequence[Write], columns: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """PATCH one record by its path, several as an array; a batch refused as a whole is halved to find out why."""
        if not writes:
            return []
        try:
            if len(writes) == 1:
                path = f"{CUSTOMERS}/{writes[0].key}"
                return [
                    _reference(self._call("update customer", "PATCH", path, json=nested(columns[0])), writes[0].key)
                ]
            body = [{"key": w.key, **nested(c)} for w, c in zip(writes, columns, strict=True)]
            answer = self._call("update customers", "PATCH", CUSTOMERS, json=body)
            return _per_item(answer, writes, columns)
        except WritesRefused:
            raise
        except (Rejected, NotFound) as error:
            if len(writes) == 1:
                return [Outcome(writes[0].key, error=_named(error, columns[0]))]
            half = len(writes) // 2
            first = self._patch(writes[:half], columns[:half])
            stop = _concerns_all(first)
            if stop:
                return first + [_unsent(stop, w.key) for w in writes[half:]]
            return first + self._patch(writes[half:], columns[half:])
        except SyncError as error:
            return [Outcome(w.key, error=error) for w in writes]

    def _create(self, columns: Mapping[str, Any], idempotency_key: str | None) -> Outcome:
        if self.contact_apart:
            return self._create_apart(columns, idempotency_key)
        outcome = self._post(columns, idempotency_key)
        if not _is_contact_refusal(outcome.error):
            return outcome
        # another body needs another key: documented, the vendor keeps refusals under the first one
        outcome = self._create_apart(columns, f"{idempotency_key}-apart" if idempotency_key else None)
        if outcome.error is None:
            self.contact_apart = True
        return outcome

    def _create_apart(self, columns: Mapping[str, Any], idempotency_key: str | None) -> Outcome:
        contact = {c: v for c, v in columns.items() if c.startswith(CONTACT_PREFIX)}
        made = self._post({c: v for c, v in columns.items() if c not in contact}, idempotency_key)
        if made.error is not None or made.key is None or not contact:
            return made
        written = self._write_contact(made.key, "", contact)
        stored = self._stored(made.key, columns) if written.error else {}
        return Outcome(made.key, made.ref, stored, written.children, written.error)

    def _stored(self, customer: str, columns: Mapping[str, Any]) -> dict[str, Any]:
        """What a half-done write left in these columns; nothing where that cannot be told."""
        try:
            record = self._look(customer)
        except SyncError:
            return {}
        return {c: record.native[c] for c in columns if c in record.native} if record else {}

    def _post(self, columns: Mapping[str, Any], idempotency_key: str | None) -> Outcome:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        try:
            answer = self._call(
                "create customer",
                "POST",
                CUSTOMERS,
                json=nested(columns),
                headers=headers,
                write=True,
                keyed=bool(idempotency_key),
            )
            return _reference(answer, None)
        except WritesRefused:
            raise
        except SyncError as error:
            return Outcome(error=_named(error, columns))


def nested(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted columns as the nested JSON of a write."""
    out: dict[str, Any] = {}
    for column, value in columns.items():
        *path, leaf = column.split(".")
        place = out
        for name in path:
            place = place.setdefault(name, {})
        place[leaf] = value
    return out


def _reference(answer: Answer, key: str | None) -> Outcome:
    """The reference a write answers with. Raises OutcomeUnknown when a create's answer does not name its record."""
    body = answer.json()
    result = body.get("ia::result") if isinstance(body, dict) else None
    if isinstance(result, list) and len(result) == 1:
        result = result[0]
    error = item_error(result if key is None else body)
    if error is not None:
        raise error
    if isinstance(result, dict) and readable_key(result):
        key = str(result["key"])
    if key is None:
        raise OutcomeUnknown("the answer to a create names no key", status=answer.status)
    return Outcome(key, _ref(result))


def _ref(result: Any) -> str:
    """What people call the record that a write answers with."""
    return str(result.get("id") or "")[:MAX_KEY] if isinstance(result, dict) else ""


def _per_item(answer: Answer, writes: Sequence[Write], columns: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """The results of a batch, in the order sent (documented for 207; the same list when all succeeded)."""
    body = answer.json()
    items = body.get("ia::result") if isinstance(body, dict) else None
    if not isinstance(items, list) or len(items) != len(writes):
        error = OutcomeUnknown("the answer to a batch does not tell its items apart", status=answer.status)
        return [Outcome(w.key, error=error) for w in writes]
    out = []
    for write, sent, item in zip(writes, columns, items, strict=True):
        refusal = item_error(item)
        inner = item.get("ia::result", item) if isinstance(item, dict) else {}
        inner = inner if isinstance(inner, dict) else {}
        if refusal is not None:
            out.append(Outcome(write.key, error=_named(refusal, sent)))
        elif str(inner.get("key", write.key)) != write.key:
            out.append(Outcome(write.key, error=OutcomeUnknown("a batch was answered in another order")))
        else:
            out.append(Outcome(write.key, _ref(inner)))
    return out


def _named(error: SyncError, columns: Mapping[str, Any]) -> SyncError:
    """The refusal with the column as it was written; a column that was not written is no help."""
    if isinstance(error, Rejected):
        if not _is_contact_refusal(error):
            error.column = _written(error.column or "", columns)
        elif error.column:
            error.column = _written(error.column, columns) or error.column
    return error


def _written(column: str, columns: Mapping[str, Any]) -> str | None:
    """Which of the written columns the vendor means by ``column``: itself, or the only ones below or above it."""
    wanted = column.lower()
    for name in columns:
        if name.lower() == wanted:
            return name
    below = [name for name in columns if name.lower().startswith(wanted + ".") or wanted.startswith(name.lower() + ".")]
    return below[0] if len(below) == 1 else None


def _is_contact_refusal(error: SyncError | None) -> bool:
    """Is it the writing of the contact through its customer that was refused, rather than one value in it?"""
    if not isinstance(error, Rejected) or not error.column:
        return False
    whole = error.column in ("contacts", "contacts.default")
    return whole or (isinstance(error, InvalidField) and error.column.startswith(CONTACT_PREFIX))


def _concerns_all(outcomes: Sequence[Outcome | None]) -> SyncError | None:
    """An error after which nothing more should be sent: the vendor is away, slows us down, or shut us out."""
    for outcome in outcomes:
        error = outcome.error if outcome else None
        own = isinstance(error, RecordBusy | NotYetThere | LeaseLost | ReadTooOld)
        if isinstance(error, AuthFailed) or (isinstance(error, RetryableError) and not own):
            return error
    return None


def _unsent(error: SyncError, key: str | None = None) -> Outcome:
    """For a write that was never sent: an unknown outcome of another write is not its own."""
    if isinstance(error, OutcomeUnknown):
        error = SystemUnavailable("not sent: an earlier call had no answer", after=error.after)
    return Outcome(key, error=error)

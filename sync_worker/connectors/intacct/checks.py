"""The lines of ``doctor`` about an Intacct company: what was checked, and the fix when it is not well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sync_worker.connectors.base import Check
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct.changes import EMPLOYEE_COLUMNS
from sync_worker.connectors.intacct.query import CUSTOMER, EMPLOYEE, Columns, QueryService
from sync_worker.errors import AuthFailed, RateLimited, RetryableError, SyncError

CREDENTIALS = "check client_id, client_secret and username (user@company or user@company|entity)"


def access(token: Callable[[], str], queries: QueryService, columns: Columns) -> list[Check]:
    """A token, and permission to list customers and employees."""
    found = [_try("token", token, CREDENTIALS)]
    if not found[0].ok:
        return found
    found.append(
        _try(
            "customers readable",
            lambda: queries.page("check customer", CUSTOMER, columns, size=1),
            "give the Web Services user permission to list and view customers and contacts",
        )
    )
    found.append(
        _try(
            "employees readable",
            lambda: queries.page("check employee", EMPLOYEE, Columns(EMPLOYEE_COLUMNS), size=1),
            "give the Web Services user permission to list employees (account managers)",
        )
    )
    return found


def columns(call: Callable[..., Answer], asked: Columns, custom: Sequence[str]) -> list[Check]:
    """Configured custom columns exist, by the model service; and what queries found missing since the start."""
    missing = set(asked.missing)
    if custom:
        try:
            known = _model_fields(
                call("model customer", "GET", "services/core/model", params={"name": CUSTOMER}).json()
            )
        except SyncError as error:
            return [_failed("columns", error, "allow the Web Services user to read the object model")]
        missing |= {c for c in custom if "." not in c and known and c.lower() not in known}
    if not missing:
        return [Check("columns", True, f"{len(asked.wanted)} columns")]
    return [
        Check(f"column {name}", False, "Intacct has no such column: this field rests", "correct it in sync.toml")
        for name in sorted(missing)
    ]


def event_queue(call: Callable[..., Answer]) -> list[Check]:
    """The trigger event queue answers."""
    return [
        _try(
            "event queue",
            lambda: call("count events", "GET", "services/delivery/event/count"),
            "have the event queue switched on for this client id, or set event_queue = false",
        )
    ]


def correlation(template: str, *, correlates: bool) -> Check:
    """Advice only: with a key column a create of unknown outcome is found for certain."""
    if correlates:
        return Check("new customer ids", True, f"{template} names the CRM record")
    return Check(
        "new customer ids",
        True,
        "Intacct numbers new customers: one whose creation was cut off is found by name only",
        'set new_customer_id = "CRM-{crm_key}"',
    )


def _try(name: str, act: Callable[[], object], fix: str) -> Check:
    try:
        act()
    except SyncError as error:
        return _failed(name, error, fix)
    return Check(name, True)


def _failed(name: str, error: SyncError, fix: str) -> Check:
    if isinstance(error, RateLimited):
        return Check(name, False, str(error), "too many calls right now: try again, or lower concurrency")
    if isinstance(error, RetryableError):
        return Check(name, False, str(error), "check base_url, network and proxy, and the vendor's status page")
    return Check(name, False, str(error), CREDENTIALS if isinstance(error, AuthFailed) and error.status == 401 else fix)


def _model_fields(body: Any) -> set[str]:
    result = body.get("ia::result") if isinstance(body, dict) else None
    if not isinstance(result, dict):
        return set()
    return {str(name).lower() for part in ("fields", "refs", "groups") for name in (result.get(part) or {})}

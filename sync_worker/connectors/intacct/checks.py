"""The lines of ``doctor`` about an Intacct company: what was checked, and the fix when it is not well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sync_worker.connectors.base import Check
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct.changes import EMPLOYEE_COLUMNS
from sync_worker.connectors.intacct.invoices import TARGET as INVOICES
from sync_worker.connectors.intacct.invoices import columns as invoice_columns
from sync_worker.connectors.intacct.query import (
    CUSTOMER,
    EMPLOYEE,
    MODIFIED,
    Columns,
    Filter,
    QueryService,
    stamp_of,
)
from sync_worker.errors import AuthFailed, RateLimited, RetryableError, SyncError


@dataclass(frozen=True)
class Doctor:
    """``token`` and ``call`` reach the vendor; ``entity``: the configured entity, which may be what is refused."""

    system: str
    token: Callable[[], str]
    call: Callable[..., Answer]
    queries: QueryService
    columns: Columns
    entity: str

    def run(self, *, event_queue: bool, invoices: bool) -> list[Check]:
        """Credentials, permissions, configured columns, event queue; without a token nothing else is asked."""
        token = self._try("token", self.token, self._credentials())
        if not token.ok:
            return [token]
        inside = f", and check {self._setting('entity')}" if self.entity else ""
        found = [
            token,
            self._try(
                "customers readable",
                lambda: self.queries.page("check customer", CUSTOMER, self.columns, size=1),
                f"give the Web Services user permission to list and view customers and contacts{inside}",
            ),
            self._try(
                "employees readable",
                lambda: self.queries.page("check employee", EMPLOYEE, Columns(EMPLOYEE_COLUMNS), size=1),
                f"give the Web Services user permission to list and view employees (account managers){inside}",
            ),
            *self._columns(),
        ]
        if invoices:
            fix = "give the Web Services user permission to list and view AR invoices: a flow creates by the first one"
            found.append(self._try("invoices readable", self._invoices, f"{fix}{inside}"))
        if event_queue:
            fix = f"have the event queue switched on for this client, or set {self._setting('event_queue')} = false"
            found.append(
                self._try("event queue", lambda: self.call("count events", "GET", "services/delivery/event/count"), fix)
            )
        return found

    def _invoices(self) -> None:
        """The question the feed asks: it filters by what may be readable and yet not searchable."""
        asked: Filter = {"$gte": {MODIFIED: stamp_of(0)}}
        self.queries.page("check invoice", INVOICES, invoice_columns(), [asked], order=(MODIFIED, "key"), size=1)

    def _columns(self) -> list[Check]:
        """Configured custom columns exist, by the model service; and what queries found missing since the start."""
        missing = set(self.columns.missing)
        custom = [c for c in self.columns.wanted if "::" in c and "." not in c]
        if custom:
            try:
                model = self.call("model customer", "GET", "services/core/model", params={"name": CUSTOMER})
                known = _model_fields(model.json())
            except SyncError as error:
                return [self._failed("columns", error, "allow the Web Services user to read the object model")]
            missing |= {c for c in custom if known and c.lower() not in known}
        if not missing:
            return [Check("columns", True, f"{len(self.columns.wanted)} columns")]
        detail, fix = "Intacct has no such column: this field rests", "correct its name in sync.toml"
        return [Check(f"column {name}", False, detail, fix) for name in sorted(missing)]

    def _setting(self, name: str) -> str:
        return f"systems.{self.system}.{name}"

    def _credentials(self) -> str:
        settings = ", ".join(self._setting(name) for name in ("client_id", "client_secret"))
        return f"check {settings} and {self._setting('username')} (user@company or user@company|entity)"

    def _try(self, name: str, act: Callable[[], object], fix: str) -> Check:
        try:
            act()
        except SyncError as error:
            return self._failed(name, error, fix)
        return Check(name, True)

    def _failed(self, name: str, error: SyncError, fix: str) -> Check:
        if isinstance(error, RateLimited):
            fix = f"too many calls right now: try again, or lower {self._setting('concurrency')}"
        elif isinstance(error, AuthFailed) and error.status == 404:
            fix = f"correct {self._setting('base_url')}"
        elif isinstance(error, RetryableError):
            fix = f"check {self._setting('base_url')}, the network, and the vendor's status page"
        elif isinstance(error, AuthFailed) and error.status == 401:
            fix = self._credentials()
        return Check(name, False, str(error), fix)


def correlation(template: str, *, correlates: bool) -> Check:
    """Advice only: with a key in the id, a create of unknown outcome is found for certain."""
    if correlates:
        return Check("new customer ids", True, f"{template} names the CRM record")
    detail = "Intacct numbers new customers: one whose creation was cut off is found by its name only"
    return Check("new customer ids", True, detail, 'set new_customer_id = "CRM-{crm_key}" in the flow')


def _model_fields(body: Any) -> set[str]:
    result = body.get("ia::result") if isinstance(body, dict) else None
    if not isinstance(result, dict):
        return set()
    return {str(name).lower() for part in ("fields", "refs", "groups") for name in (result.get(part) or {})}

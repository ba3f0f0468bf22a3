"""What doctor wants to know about a Sage CRM installation: one line per fact, each failure with its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mappings.fields import FieldMap
from mappings.sage_crm import EXTRA
from sync_worker.connectors import standard_webhooks
from sync_worker.connectors.base import Check
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.known import LINKED
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.settings import SageCrmSettings
from sync_worker.connectors.sage_crm.tables import (
    ADDRESS,
    ADDRESS_LINK,
    COMPANY,
    PERSON,
    TICKED,
    USERS,
    Row,
    Table,
    part_of,
)
from sync_worker.errors import AuthFailed, Rejected, SyncError

_TABLES: tuple[Table, ...] = (PERSON, ADDRESS, *(t for of in LINKED for t in (of.table, of.link)), ADDRESS_LINK, USERS)
_OWN = {"company": COMPANY, "person": PERSON, "address": ADDRESS}  # where an installation's own columns may be


def run(system: str, settings: SageCrmSettings, rest: Rest, customer: FieldMap | None) -> list[Check]:
    """All checks; those that need a login are left out when it fails, so that it is tried once only."""
    found = [standard_webhooks.check_secret(system, settings.webhook_secret, needed=settings.invoices)]
    try:
        rows, _ = rest.first(COMPANY)
    except AuthFailed as error:
        fix = (
            f"check systems.{system}.username and systems.{system}.password; the user must be enabled and have "
            "Allow Web Service Access"
            if error.status != 403
            else "expose Company to web services and give the user's security profile the right to view companies"
        )
        return [Check("login", False, str(error), fix), *found]
    except SyncError as error:
        fix = f"check systems.{system}.base_url: https://SERVER/sdata/INSTALLj/sagecrm2/-"
        return [Check("login", False, str(error), fix), *found]
    found.insert(0, Check("login", True, "Company is readable"))
    samples = {COMPANY: rows[0] if rows else None}
    found += [_readable(rest, table, samples) for table in _TABLES]
    found += _columns(system, settings, rest, customer, samples)
    found += _ticks(system, settings, rest)
    return found


def _readable(rest: Rest, table: Table, samples: dict[Table, Row | None]) -> Check:
    name = f"read {table.resource}"
    try:
        rows, _ = rest.first(table)
        samples[table] = rows[0] if rows else None
    except SyncError as error:
        fix = "Administration > Customization > the entity > External Access, and the user's security profile"
        return Check(name, False, str(error), fix)
    return Check(name, True)


def _ticks(system: str, settings: SageCrmSettings, rest: Rest) -> Iterator[Check]:
    """The captions of types cannot be read over REST; that one is misspelt shows in that no address has it."""
    if not settings.address_type:
        return
    name = f"address type {settings.address_type}"
    ticked = where.equals(TICKED.link_column("Type"), where.text(settings.address_type))
    try:
        rows, _ = rest.first(TICKED.link, ticked)
    except SyncError as error:
        yield Check(name, False, str(error), f"could not be checked; it is named by systems.{system}.address_type")
        return
    fix = f"tick the addresses that may travel, or correct systems.{system}.address_type"
    yield Check(name, True) if rows else Check(name, False, "no address is ticked with it, so none travels", fix)


def _columns(
    system: str,
    settings: SageCrmSettings,
    rest: Rest,
    customer: FieldMap | None,
    samples: Mapping[Table, Row | None],
) -> Iterator[Check]:
    """Every column that is an installation's own must exist and be visible to our user."""
    own = {column.lower(): f"systems.{system}.columns.{name}" for name, column in settings.columns.items() if column}
    named = {
        c: f"the mapping of {name}" for name, f in (customer.fields if customer else {}).items() for c in f.columns
    }
    flows = {
        c: "a flow's custom field or filter" for c in (customer.extra_columns if customer else ()) if c not in EXTRA
    }
    for column, setting in (named | flows).items():
        if part_of(column) in _OWN:
            own.setdefault(column.lower(), setting)
    for column, setting in own.items():
        table = _OWN[part_of(column)]
        if table in samples:
            yield _column(table, column, setting, rest, samples[table])


def _column(table: Table, column: str, setting: str, rest: Rest, sample: Row | None) -> Check:
    name = f"column {column}"
    if sample is not None and sample.has(column):
        return Check(name, True)
    try:
        rest.first(table, where.equals(column, where.text("0")))
    except (Rejected, ValueError):
        return Check(name, False, f"{table.resource} has no column {column}", f"correct {setting} or create the column")
    except SyncError as error:
        return Check(name, False, str(error), f"could not be checked; it is named by {setting}")
    if sample is None:
        return Check(name, True, f"exists; no {table.resource.lower()} to see whether it is visible")
    fix = f"field security hides it from this user; it is named by {setting}"
    return Check(name, False, f"{column} is not in the answers", fix)

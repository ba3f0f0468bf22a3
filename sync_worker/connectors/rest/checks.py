"""What doctor wants to know about an API behind a profile: one line per fact, each failure with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mappings.fields import FieldMap
from sync_worker.connectors import standard_webhooks
from sync_worker.connectors.base import Check
from sync_worker.connectors.rest import pointers
from sync_worker.connectors.rest.calls import Calls
from sync_worker.connectors.rest.settings import RestSettings
from sync_worker.errors import AuthFailed, SyncError


def run(system: str, settings: RestSettings, calls: Calls, customer: FieldMap | None) -> list[Check]:
    """All checks; those that need the token are left out when it is refused, so that it is tried once only."""
    found = [standard_webhooks.check_secret(system, settings.webhook_secret, needed=settings.invoices)]
    try:
        page = next(calls.pages({}), [])
    except AuthFailed as error:
        fix = f"check systems.{system}.token, and `auth` of the profile"
        return [Check("token", False, str(error), fix), *found]
    except SyncError as error:
        fix = f"check systems.{system}.base_url, and customers.list and customers.items of the profile"
        return [Check("customers", False, str(error), fix), *found]
    found = [Check("token", True, "it is taken"), Check("customers", True, "the list is readable"), *found]
    found.append(_users(settings, calls))
    return [*found, *_pages(settings, calls, len(page)), *_places(settings, next(iter(page), None), customer)]


def _pages(settings: RestSettings, calls: Calls, shown: int) -> Iterator[Check]:
    """Where pages are numbered, one that is not full ends the list: an API that fills none so far would be cut off."""
    paging = settings.profile.paging
    if paging.kind != "page" or not 0 < shown < paging.size:
        return
    try:
        more = any(page for page in islice(calls.pages({}, size=shown), 1, 2))
    except SyncError as error:
        yield Check("pages", False, str(error), "correct `paging` of the profile")
        return
    if more:
        why = f"a page holds {shown} customers where {paging.size} are asked for, and there are more: they go unseen"
        yield Check("pages", False, why, f"set paging.size = {shown} in the profile")
    else:
        yield Check("pages", True, "all customers fit into one page")


def _users(settings: RestSettings, calls: Calls) -> Check:
    if settings.profile.users is None:
        return Check("users", True, "the profile has no directory: account managers are not offered")
    try:
        next(calls.users(), None)
    except SyncError as error:
        return Check("users", False, str(error), "correct `users` of the profile, or give the token that right")
    return Check("users", True, "the directory is readable")


def _places(settings: RestSettings, sample: dict[str, Any] | None, customer: FieldMap | None) -> Iterator[Check]:
    """Every place that is named must be there in a customer."""
    layout = settings.profile.customers
    own = {f"customers.{name}": getattr(layout, name) for name in ("key", "ref", "updated_at", "sub_company")}
    own |= {f"keys.{name}": place for name, place in settings.profile.keys.items()}
    for name, field in (customer.fields if customer else {}).items():
        own |= {f"the field {name}": column for column in field.columns}
        own |= {f"the field {name} ({column})": column for column in field.columns[1:]}
    for setting, place in own.items():
        if not place:
            continue
        if sample is None:
            yield Check(f"place {place}", True, "no customer to see whether it is there")
        elif pointers.get(sample, place) is pointers.MISSING:
            yield Check(f"place {place}", False, f"{place} is not in the answers", f"correct {setting} or the profile")
        else:
            yield Check(f"place {place}", True)

"""A profile: how one JSON API is laid out, for the connector ``rest``. A TOML file, checked as strictly as sync.toml.

Where something stands in an answer is a JSON pointer (RFC 6901): ``/contact/mobile``; ``""`` is the whole document.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path as File
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from mappings.canonical import CUSTOMER_FIELDS, KEY_COLUMNS, UNITS
from sync_worker.config.report import Source, key_lines
from sync_worker.config.values import Section, Text, nearest, problem
from sync_worker.errors import ConfigError

SHIPPED = File(__file__).parents[1] / "connectors" / "rest" / "profiles"
_POINTER = re.compile(r"(/([^/~]|~[01])+)*")


def _pointer(text: str) -> str:
    if not _POINTER.fullmatch(text):
        raise ValueError('must be a JSON pointer like "/contact/mobile"; ~ is written ~0 and / in a name ~1')
    return text


def _path(text: str) -> str:
    if not text.strip("/") or "://" in text or "?" in text or ".." in text.split("/"):
        raise ValueError('must be a path below base_url, without a question mark, like "customers"')
    return text


def _path_of_one(text: str) -> str:
    if text.count("{key}") != 1:
        raise ValueError('must contain {key} once, like "customers/{key}"')
    return _path(text)


Pointer = Annotated[str, AfterValidator(_pointer)]
Member = Annotated[Pointer, Field(min_length=1)]
PathText = Annotated[str, AfterValidator(_path)]
PathOfOne = Annotated[str, AfterValidator(_path_of_one)]


class AuthLayout(Section):
    """The header that every request carries; ``value`` holds ``{token}`` once."""

    header: Text = "Authorization"
    value: Text = "Bearer {token}"

    @model_validator(mode="after")
    def _holds_the_token(self) -> AuthLayout:
        if self.value.count("{token}") != 1:
            raise problem(("value",), "must contain {token} once, like 'Bearer {token}'")
        return self


class PagingLayout(Section):
    """``cursor``: the query parameter takes what stands at ``next``. ``page``: it counts up from ``first``."""

    kind: Literal["cursor", "page", "none"] = "none"
    parameter: str = ""
    next: Pointer = ""
    first: int = 1
    size_parameter: str = ""
    size: int = Field(default=100, ge=1, le=10_000)

    @model_validator(mode="after")
    def _is_complete(self) -> PagingLayout:
        if self.kind != "none" and not self.parameter:
            raise problem(("parameter",), f"paging by {self.kind} needs the name of a query parameter")
        if self.kind == "cursor" and not self.next:
            raise problem(("next",), "paging by cursor needs the place of the next cursor in the answer")
        if self.kind == "page" and not self.size_parameter:
            raise problem(("size_parameter",), "paging by page needs it: a page that is not full is the last one")
        return self


class FindLayout(Section):
    """Query parameters that narrow the list. ``keys``: several keys, separated by commas. Others: one whole value.

    ``after_key``: only greater keys, for sweeps that go on where they ended.
    """

    updated_since: Text
    keys: str = ""
    after_key: str = ""
    erp_key: str = ""
    erp_ref: str = ""
    name: str = ""
    email: str = ""
    tax_number: str = ""


class SortLayout(Section):
    """``parameter`` with the values that order the list by key, and newest change first."""

    parameter: str = ""
    by_key: str = ""
    newest: str = ""


class CustomersLayout(Section):
    """Paths, and where the parts of an answer stand. ``item``: the record in the answer of a single one or a write.

    ``total``: how many fit the query, in an answer of the list. ``deleted``: a flag that counts as "there is none".
    ``sub_company``: what decides which flow takes the record.
    """

    list: PathText
    one: PathOfOne
    create: str = ""
    update_method: Literal["PATCH", "PUT"] = "PATCH"
    items: Pointer = ""
    item: Pointer = ""
    total: Pointer = ""
    key: Member
    ref: Pointer = ""
    created_at: Pointer = ""
    updated_at: Member
    deleted: Pointer = ""
    sub_company: Pointer = ""


class UsersLayout(Section):
    """The directory of account managers; ``key`` is what stands in the customer's ``account_manager``."""

    list: PathText
    items: Pointer = ""
    key: Member
    name: Member
    email: Pointer = ""
    active: Pointer = ""


class StatusWords(Section):
    """What the field ``status`` says for an active and for an inactive customer."""

    active: Text = "active"
    inactive: Text = "inactive"


class Profile(Section):
    """``fields``: our field, or part of one (``contact.first``), and its place. ``keys``: places for the ERP's ids."""

    auth: AuthLayout = Field(default_factory=AuthLayout)
    customers: CustomersLayout
    paging: PagingLayout = Field(default_factory=PagingLayout)
    find: FindLayout
    sort: SortLayout = Field(default_factory=SortLayout)
    users: UsersLayout | None = None
    fields: dict[str, Member]
    keys: dict[str, Member] = Field(default_factory=dict)
    status: StatusWords = Field(default_factory=StatusWords)
    refused_field: Pointer = ""

    @model_validator(mode="after")
    def _names_are_ours(self) -> Profile:
        parts = [f"{unit}.{part}" for unit, names in UNITS.items() for part in names]
        known = [*(name for name in CUSTOMER_FIELDS if name not in UNITS), *parts]
        for table, names in (("fields", known), ("keys", KEY_COLUMNS)):
            for name in getattr(self, table):
                if name not in names:
                    raise problem((table, name), f"unknown{nearest(name, names)}; allowed: {', '.join(names)}")
        if "name" not in self.fields:
            raise problem(("fields",), "name is missing: no customer is made or found without it")
        names = [part for part in ("contact.first", "contact.last") if part not in self.fields]
        if len(names) == 1:
            raise problem(("fields",), f"{names[0]} is missing: a contact has a first and a last name")
        needed = ("line1", "line2", "line3", "city", "state", "postcode", "country")
        lacking = [part for part in needed if f"address.{part}" not in self.fields]
        if 0 < len(lacking) < len(needed):
            raise problem(("fields",), f"address.{lacking[0]} is missing: an address travels whole or not at all")
        return self

    @property
    def columns(self) -> dict[str, str]:
        """Everything named, by what it holds: the fields and the places for the ERP's ids."""
        return {**self.fields, **self.keys}


def shipped() -> list[str]:
    """The names of the profiles that come along."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def load(name: str, beside: File) -> Profile:
    """A shipped profile by its name, else a file (relative ones lie beside sync.toml). Raises ``ConfigError``."""
    own = name.endswith(".toml") or "/" in name
    if not own and name not in shipped():
        known = shipped()
        raise ConfigError(
            f"there is no profile {name!r}{nearest(name, known)}; shipped: {', '.join(known)}, or the path of a .toml"
        )
    file = beside / name if own else SHIPPED / f"{name}.toml"
    try:
        text = file.read_text(encoding="utf-8-sig")
        given = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name} cannot be read: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is no valid TOML: {error}") from None
    try:
        return Profile.model_validate(given)
    except ValidationError as error:
        raise Source(name, key_lines(text)).first(error) from None

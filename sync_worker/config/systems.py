"""``[systems.NAME]``: how to reach a vendor. A new connector adds its section here, to the union and to ``KINDS``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from mappings.canonical import PHONE_TYPES
from sync_worker.config.profile import Profile, load
from sync_worker.config.values import (
    Country,
    Secret,
    Section,
    Text,
    TimeZone,
    WebhookSecret,
    WebUrl,
    nearest,
    problem,
)
from sync_worker.errors import ConfigError
from sync_worker.events import Side

_CUSTOM_FIELD = re.compile(r"nsp::[A-Za-z0-9_]+")


class _System(Section):
    """What holds for every system. Seconds everywhere.

    ``company``: the company's name that people see. ``poll_seconds``: pause between two looks at its feed.
    ``stale_seconds``: how long it may answer with an older version (E7). ``sweep_seconds``: pause between comparisons
    of what has no time stamp. ``concurrency``: calls in flight, over all workers. ``default_country``: for new records.
    """

    base_url: WebUrl
    company: str = ""
    poll_seconds: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    stale_seconds: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    sweep_seconds: float = Field(default=900.0, ge=1, allow_inf_nan=False)
    concurrency: int = Field(default=4, ge=1, le=64)
    default_country: Country = ""

    @property
    def own_columns(self) -> dict[str, str]:
        """Columns of this installation by what they hold, ``erp_key`` and so on; empty where it names none."""
        return {}

    @property
    def sub_company_column(self) -> str:
        """Where a record says which sub-company it belongs to; "" where there is no such place."""
        return ""

    def of_the_map(self) -> dict[str, Any]:
        """What the system itself adds to the ``MapSettings`` of its customer map."""
        return {"columns": self.own_columns}

    def sites(self) -> tuple[str, ...]:
        """By what names the vendor knows this installation; the first is the one we write."""
        return (self.company,) if self.company else ()


class IntacctConfig(_System):
    """Sage Intacct, REST v1. Webhooks are signed with ``client_secret`` (documented), so there is no other secret.

    ``username``: user@company or user@company|entity. ``entity``: sent as X-IA-API-Param-Entity when not blank.
    ``event_queue``: pull its trigger event queue. ``account_manager``: the customer's custom field that holds the id of
    an employee where that is not its sales representative.
    """

    connector: Literal["intacct"]
    base_url: WebUrl = "https://api.intacct.com/ia/api/v1"
    client_id: Secret
    client_secret: Secret
    username: str
    entity: str = ""
    event_queue: bool = True
    account_manager: str = ""

    @property
    def own_columns(self) -> dict[str, str]:
        return {"account_manager": self.account_manager} if self.account_manager else {}

    @field_validator("account_manager")
    @classmethod
    def _is_a_custom_field(cls, name: str) -> str:
        if name and not _CUSTOM_FIELD.fullmatch(name):
            raise ValueError(
                "must be a custom field of the customer like nsp::MANAGER, or empty: its sales representative"
            )
        return name

    @field_validator("username")
    @classmethod
    def _names_its_company(cls, name: str) -> str:
        user, _, company = name.partition("@")
        if not user or not company.partition("|")[0]:
            raise ValueError("must be user@company or user@company|entity")
        return name

    def sites(self) -> tuple[str, ...]:
        """The entity we work in, where there is one, and the company's id."""
        company, _, entity = self.username.partition("@")[2].partition("|")
        return tuple(dict.fromkeys(name for name in (self.entity, entity, company) if name))


class Columns(Section):
    """Columns of one's own on Sage CRM's company, by what they hold; all optional."""

    tax_number: Text | None = None
    erp_key: Text | None = None
    erp_ref: Text | None = None
    erp_company: Text | None = None

    def named(self) -> dict[str, str]:
        """Those that are configured."""
        return self.model_dump(exclude_none=True)


class SageCrmConfig(_System):
    """Sage CRM, REST (SData 2.0). ``timezone``: of dates that carry none. ``phone_types``: field -> link type.

    ``address_type``: the type box with which an address must be ticked to take part; none: the primary one does.
    """

    event_queue: ClassVar[bool] = False

    connector: Literal["sage_crm"]
    username: Secret
    password: SecretStr
    webhook_secret: WebhookSecret = None
    timezone: TimeZone = "UTC"
    concurrency: int = Field(default=2, ge=1, le=64)
    phone_types: dict[str, str] = Field(default_factory=lambda: dict(PHONE_TYPES))
    address_type: Text | None = None
    columns: Columns = Field(default_factory=Columns)

    @property
    def own_columns(self) -> dict[str, str]:
        return self.columns.named()

    def of_the_map(self) -> dict[str, Any]:
        return {"columns": self.own_columns, "phone_types": self.phone_types}

    @field_validator("phone_types")
    @classmethod
    def _one_type_each(cls, types: dict[str, str]) -> dict[str, str]:
        for name in types:
            if name not in PHONE_TYPES:
                allowed = ", ".join(PHONE_TYPES)
                raise problem((name,), f"unknown key{nearest(name, PHONE_TYPES)}; allowed: {allowed}")
        used = [t for t in (PHONE_TYPES | types).values() if t]
        if len(set(used)) < len(used):
            raise ValueError('two fields share a link type; give each its own, or leave one out with ""')
        return types


class RestConfig(_System):
    """A CRM behind a JSON API. ``profile``: how it is laid out, a shipped one's name or a file beside sync.toml."""

    event_queue: ClassVar[bool] = False

    connector: Literal["rest"]
    profile: Text
    token: Secret
    webhook_secret: WebhookSecret = None

    _layout: Profile = PrivateAttr()

    @model_validator(mode="after")
    def _profile_is_read(self, info: ValidationInfo) -> RestConfig:
        folder = (info.context or {}).get("folder", Path())
        try:
            self._layout = load(self.profile, folder)
        except ConfigError as error:
            raise problem(("profile",), str(error)) from None
        return self

    @property
    def layout(self) -> Profile:
        """The profile that was read."""
        return self._layout

    @property
    def own_columns(self) -> dict[str, str]:
        return self._layout.columns

    @property
    def sub_company_column(self) -> str:
        return self._layout.customers.sub_company


SystemConfig = Annotated[IntacctConfig | SageCrmConfig | RestConfig, Field(discriminator="connector")]

KINDS: dict[str, Side] = {"intacct": "erp", "sage_crm": "crm", "rest": "crm"}

"""``[systems.NAME]``: how to reach a vendor. A new connector adds its section here, to the union and to ``KINDS``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from mappings.canonical import PHONE_TYPES
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
from sync_worker.events import Side


class _System(Section):
    """What holds for every system. Seconds everywhere.

    ``company``: the company's name that people see. ``poll_seconds``: pause between two looks at its feed.
    ``stale_seconds``: how long it may answer with an older version (E7). ``sweep_seconds``: pause between comparisons
    of what has no time stamp. ``concurrency``: calls in flight, over all workers. ``default_country``: for new records.
    """

    base_url: WebUrl
    company: str = ""
    poll_seconds: float = Field(default=60.0, ge=1)
    stale_seconds: float = Field(default=30.0, ge=0)
    sweep_seconds: float = Field(default=900.0, ge=1)
    concurrency: int = Field(default=4, ge=1, le=64)
    default_country: Country = ""


class IntacctConfig(_System):
    """Sage Intacct, REST v1. Webhooks are signed with ``client_secret`` (documented), so there is no other secret.

    ``username``: user@company or user@company|entity. ``entity``: sent as X-IA-API-Param-Entity when not blank.
    ``event_queue``: pull its trigger event queue.
    """

    connector: Literal["intacct"]
    base_url: WebUrl = "https://api.intacct.com/ia/api/v1"
    client_id: Secret
    client_secret: Secret
    username: str
    entity: str = ""
    event_queue: bool = True

    @field_validator("username")
    @classmethod
    def _names_its_company(cls, name: str) -> str:
        user, _, company = name.partition("@")
        if not user or not company.partition("|")[0]:
            raise ValueError("must be user@company or user@company|entity")
        return name


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
    """Sage CRM, REST (SData 2.0). ``timezone``: of dates that carry none. ``phone_types``: field -> link type."""

    event_queue: ClassVar[bool] = False

    connector: Literal["sage_crm"]
    username: Secret
    password: SecretStr
    webhook_secret: WebhookSecret = None
    timezone: TimeZone = "UTC"
    concurrency: int = Field(default=2, ge=1, le=64)
    phone_types: dict[str, str] = Field(default_factory=lambda: dict(PHONE_TYPES))
    columns: Columns = Field(default_factory=Columns)

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


SystemConfig = Annotated[IntacctConfig | SageCrmConfig, Field(discriminator="connector")]

KINDS: dict[str, Side] = {"intacct": "erp", "sage_crm": "crm"}

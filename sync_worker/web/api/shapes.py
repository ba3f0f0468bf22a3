"""What the API answers. Times are ISO 8601 in UTC; null means never, nobody or nothing."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sync_worker.reports import STATES

T = TypeVar("T")

FIELD_STATES = ("in_step", "differs", "conflict", "waiting", "refused", "stale")


def _state(value: str) -> str:
    if value not in STATES:
        raise ValueError(f"there is no such state; there are: {', '.join(STATES)}")
    return value


State = Annotated[str, AfterValidator(_state), Field(json_schema_extra={"enum": list(STATES)})]


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="give it as `after` to get the next page; null: this was the last")


class Half(BaseModel):
    """A record of one side."""

    system: str
    key: str | None = Field(description="the vendor's API key; null while there is no record")
    ref: str = Field(description="the number that people see")


class Cause(BaseModel):
    """Why a link is in its state."""

    code: str = Field(description="stable; empty when both sides agree")
    text: str


class Link(BaseModel):
    """A record and its partner."""

    link: int
    flow: str
    entity: str
    state: State
    cause: Cause
    waiting_on: str | None = Field(description="the key it waits on", examples=["account_manager:erp:E-12"])
    erp: Half
    crm: Half


class LinkRow(Link):
    """A link as the list shows it."""

    due_at: str | None = Field(description="when the worker looks at it next")
    noticed_at: str | None = Field(description="the oldest notice that is not answered yet")
    created_at: str
    last_synced_at: str | None


class Links(Page[LinkRow]):
    """A page of links."""


class NextStep(BaseModel):
    """What happens next, and when."""

    what: str
    at: str | None


class FieldRow(BaseModel):
    """One shared field. A unit (address, contact) is an object of its parts."""

    name: str
    erp: Any
    crm: Any
    status: str = Field(json_schema_extra={"enum": list(FIELD_STATES)})
    why: str | None = Field(default=None, description="of one that differs: why it does not travel")


class Candidate(BaseModel):
    """A record that a person may choose as partner."""

    system: str | None
    key: str
    ref: str | None = None
    name: str | None = None
    why: str


class Moment(BaseModel):
    """One line of a link's timeline."""

    at: str
    what: str
    why: str


class Explanation(Link):
    """A link as `sync-worker explain --json` shows it."""

    default: bool | None = Field(
        description="whether the CRM record's shared fields come from this link; null: not linked"
    )
    next_step: NextStep
    fields: list[FieldRow]
    candidates: list[Candidate]
    timeline: list[Moment]


class Due(BaseModel):
    """Links that the workers look at now."""

    links: list[int]


class Lag(BaseModel):
    """Seconds from a notice to the write that it led to, over the latest writes."""

    lag_seconds_p50: float | None
    lag_seconds_p95: float | None
    paused: str | None


class SystemState(BaseModel):
    """Whether a system was reached when it was last asked and is not paused, and why not; or that none has asked."""

    up: bool
    reason: str | None


class Status(BaseModel):
    """As `sync-worker status --json` shows it."""

    ok: bool = Field(description="false while something is down, paused or failing")
    links: dict[str, int] = Field(description="links by state")
    due: int
    oldest_due_seconds: float | None
    flows: dict[str, Lag]
    systems: dict[str, SystemState]


class Event(BaseModel):
    """An accepted notice."""

    id: int
    system: str
    entity: str
    key: str
    op: str
    via: str
    notice_id: str | None
    at: str | None = Field(description="by the vendor's clock, if it said")
    received_at: str


class Events(Page[Event]):
    """A page of events."""


class Entry(BaseModel):
    """A line of the journal: a remote write, a change of a link, or what a person did."""

    id: int
    link: int | None
    flow: str
    at: str
    what: str
    side: str | None
    key: str | None
    before: dict[str, Any] | None = Field(description="the values that were overwritten")
    after: dict[str, Any] | None
    why: str
    actor: str = Field(description="`worker`, `cli`, or a token's name")
    run: int | None


class Entries(Page[Entry]):
    """A page of journal entries."""


class Manager(BaseModel):
    """An account manager as their system lists them."""

    system: str
    key: str
    ref: str
    name: str
    email: str | None
    active: bool
    seen_at: str


class Managers(Page[Manager]):
    """A page of account managers."""


class MappingRow(BaseModel):
    """An ERP manager and the CRM user that stand for one another in a flow."""

    flow: str
    erp_key: str
    crm_key: str
    preferred: bool = Field(description="the way back, where several ERP managers stand for the same CRM user")
    actor: str
    at: str


class MappingRows(Page[MappingRow]):
    """A page of mapping rows."""


class Mapped(BaseModel):
    """A mapping row that was made, or would be."""

    row: MappingRow | None = Field(description="null in a dry run")
    waiting: int = Field(description="links that waited for it, counted before anything was changed")
    replaces: str | None = Field(description="the CRM user the ERP manager stood for before")
    released: int = Field(description="links that are due now; 0 in a dry run")


class Run(BaseModel):
    """An import, upload or the like."""

    id: int
    kind: str
    flow: str
    actor: str
    state: str
    params: dict[str, Any] | None
    counts: dict[str, Any] | None
    started_at: str
    ended_at: str | None


class Runs(Page[Run]):
    """A page of runs."""


class RunRow(BaseModel):
    """What a run says about one record."""

    key: str
    verdict: str
    link: int | None
    detail: Any


class RunRows(Page[RunRow]):
    """A page of a run's rows."""


class Wish(BaseModel):
    """The base of what is sent: an unknown name is refused, and text is text."""

    model_config = ConfigDict(extra="forbid", strict=True)

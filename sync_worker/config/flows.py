"""``[flows.NAME]``: which ERP and CRM are joined, in what direction, and what happens to each field."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mappings.canonical import CUSTOMER_FIELDS, UNITS
from sync_worker.config.values import Section, Text, Texts, nearest, problem
from sync_worker.events import Side, other

Create = Literal["on_create", "on_change", "on_first_invoice", "manual", "never"]
Winner = Literal["review", "erp", "crm"]
Cell = str | bool | int | float


class LimitsConfig(Section):
    """Runs that would change, blank or unlink (this one: an hour) more than so many stop and ask."""

    changed: int = Field(default=1000, ge=0)
    blanked: int = Field(default=50, ge=0)
    unlinked: int = Field(default=20, ge=0)


class FilterConfig(Section):
    """Column -> allowed values; records that have another value are ``excluded``."""

    erp: dict[str, Texts] = Field(default_factory=dict)
    crm: dict[str, Texts] = Field(default_factory=dict)


class DefaultsConfig(Section):
    """The vendor's own column -> value, for new records."""

    erp: dict[str, Cell] = Field(default_factory=dict)
    crm: dict[str, Cell] = Field(default_factory=dict)


class CustomField(Section):
    """A field of one's own: its column on either side."""

    erp: Text
    crm: Text


class FieldConfig(Section):
    """``owner``: whose changes count. ``clear_on_empty``: does emptying travel; None = yes, but not a manager's.

    ``max_erp``, ``max_crm``: longest text that side takes, in characters.
    """

    owner: Literal["erp", "crm", "both", "none"] = "both"
    clear_on_empty: bool | None = None
    max_erp: int | None = Field(default=None, ge=1)
    max_crm: int | None = Field(default=None, ge=1)


class FlowConfig(Section):
    """One entity, kept in step between one ERP and one CRM. Several flows may share a CRM (E21).

    ``sub_companies``: those of the CRM whose records this flow takes (LAY-15); ``default_sub_company``: it takes the
    records without one. ``create_without_manager``: is a customer made in the ERP though its account manager has no
    mapping row (the field waits), or does the whole record wait for the row (AM-9)?
    """

    entity: Literal["customer"]
    erp: str
    crm: str
    direction: Literal["both", "to_crm", "to_erp", "none"] = "both"
    create_in_erp: Create = "on_create"
    create_in_crm: Create = "on_create"
    on_conflict: Winner = "review"
    initial: Winner = "review"
    create_without_manager: bool = True
    new_customer_id: str = "CRM-{crm_key}"
    match_policy: Literal["ladder", "strict_gumu"] = "ladder"
    overwrite: bool = False
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    filter: FilterConfig = Field(default_factory=FilterConfig)
    sub_companies: Annotated[Texts, Field(min_length=0)] = ()
    default_sub_company: bool = False
    defaults: DefaultsConfig = Field(default_factory=DefaultsConfig)
    fields: dict[str, FieldConfig] = Field(default_factory=dict)
    custom: dict[str, CustomField] = Field(default_factory=dict)

    def waits_for_invoice(self, side: Side) -> bool:
        """Do final invoices of this side's system permit partners on the other?"""
        into = other(side)
        create = self.create_in_crm if into == "crm" else self.create_in_erp
        return create == "on_first_invoice" and self.direction in ("both", f"to_{into}")

    @field_validator("new_customer_id")
    @classmethod
    def _names_the_record(cls, pattern: str) -> str:
        try:
            names = [(name, form) for _, name, *form in Formatter().parse(pattern) if name is not None]
        except ValueError:
            names = []
        if pattern and names != [("crm_key", ["", None])]:
            raise ValueError(
                'must contain {crm_key} once and nothing else in braces; "" leaves the numbering to the ERP'
            )
        return pattern

    @model_validator(mode="after")
    def _fields_exist(self) -> FlowConfig:
        for name in self.custom:
            if name in CUSTOMER_FIELDS:
                raise problem(("custom", name), "this name belongs to a built-in field; choose another one")
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
                raise problem(("custom", name), "a field's name is small letters, digits and _")
        known = [*CUSTOMER_FIELDS, *self.custom]
        parts = [f"{unit}.{part}" for unit, names in UNITS.items() for part in names]
        for name, one in self.fields.items():
            if name in parts:
                if one.owner != "both" or one.clear_on_empty is not None:
                    unit = name.partition(".")[0]
                    raise problem(("fields", name), f"a part has only max_erp and max_crm; the rest is up to {unit!r}")
            elif name not in known:
                hint = nearest(name, [*known, *parts])
                raise problem(("fields", name), f"unknown field{hint}; fields: {', '.join(known)}")
        return self

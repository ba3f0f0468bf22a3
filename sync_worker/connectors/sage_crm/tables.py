"""The tables we touch, by their real names, and how a row is read without minding the case of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from mappings.fields import FieldMap
from mappings.sage_crm import PARTS
from sync_worker.connectors import stamps
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.settings import SageCrmSettings

Raw = Mapping[str, Any]

COMPANY_ENTITY = "5"  # documented: entity id of Company in PhoneLink and EmailLink (13 is Person)
BIT = {part: 1 << i for i, part in enumerate(PARTS)}


@dataclass(frozen=True, slots=True)
class Table:
    """``resource`` as it stands in URLs; ``key`` its primary key, lower case; ``prefix`` of its columns."""

    resource: str
    prefix: str
    key: str

    @property
    def updated(self) -> str:
        return f"{self.prefix.lower()}_updateddate"

    @property
    def created(self) -> str:
        return f"{self.prefix.lower()}_createddate"


@dataclass(frozen=True, slots=True)
class Linked:
    """A table whose rows belong to companies through a link table, one per type. ``part`` is its name among parts."""

    part: str
    table: Table
    link: Table
    child: str  # column of the link table that holds the child's id
    company: str  # column of the link table that holds the company's id
    entity: str = ""  # column that says what that id is of, where it may be of something else than a company

    def link_column(self, name: str) -> str:
        return f"{self.link.prefix}_{name}"

    @property
    def of_companies(self) -> dict[str, int]:
        """Cells by which a link is a company's, and not another entity's."""
        return {self.entity: int(COMPANY_ENTITY)} if self.entity else {}

    def links_company(self, row: Row) -> bool:
        return all(row.id(column) == str(value) for column, value in self.of_companies.items())

    def kind_of(self, row: Row) -> str:
        """The type of a link row, case folded."""
        return str(row.cell(self.link_column("Type")) or "").casefold()


COMPANY = Table("Company", "Comp", "comp_companyid")
PERSON = Table("Person", "Pers", "pers_personid")
ADDRESS = Table("Address", "Addr", "addr_addressid")
PERSON_LINK = Table("Person_Link", "PeLi", "peli_personlinkid")
ADDRESS_LINK = Table("Address_Link", "AdLi", "adli_addresslinkid")
USERS = Table("Users", "User", "user_userid")
PHONE = Linked(
    "phone",
    Table("Phone", "Phon", "phon_phoneid"),
    Table("PhoneLink", "PLink", "plink_linkid"),
    "PLink_PhoneId",
    "PLink_RecordID",
    "PLink_EntityID",
)
EMAIL = Linked(
    "email",
    Table("Email", "Emai", "emai_emailid"),
    Table("EmailLink", "ELink", "elink_linkid"),
    "ELink_EmailId",
    "ELink_RecordID",
    "ELink_EntityID",
)
TICKED = Linked("address", ADDRESS, ADDRESS_LINK, "AdLi_AddressId", "AdLi_CompanyID")  # where ``address_type`` is set
# part -> (table, column of Company that names the primary one)
PRIMARY = {"person": (PERSON, "Comp_PrimaryPersonId"), "address": (ADDRESS, "Comp_PrimaryAddressId")}


class Row:
    """One native row. ``cell`` finds a column whatever its case; None is empty, absence is told by ``has``."""

    __slots__ = ("_cells", "raw")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self._cells = {name.lower(): value for name, value in raw.items()}

    def has(self, column: str) -> bool:
        return column.lower() in self._cells

    def cell(self, column: str) -> Any:
        return self._cells.get(column.lower())

    def id(self, column: str) -> str:
        """An id as text; "" where there is none (null, empty and zero alike). Observed: int or string."""
        value = self.cell(column)
        return "" if value in (None, "", 0, "0") else str(value)

    def key(self, table: Table) -> str:
        return self.id(table.key) or self.id("$key")

    def deleted(self, table: Table) -> bool:
        """Observed: a live row has null, a deleted one 1."""
        return self.cell(f"{table.prefix}_deleted") not in (None, "", 0, "0", False, "N")

    def changed_at(self, table: Table, zone: ZoneInfo) -> float | None:
        """When it was last changed; a row never updated counts from its creation."""
        return stamps.seconds(self.cell(table.updated), zone) or stamps.seconds(self.cell(table.created), zone)

    def stamp(self, table: Table) -> str:
        """When it was last changed, as the vendor writes it; a row never updated counts from its creation."""
        return stamps.kept(self.cell(table.updated) or self.cell(table.created))

    def created_at(self, table: Table, zone: ZoneInfo) -> float | None:
        return stamps.seconds(self.cell(table.created), zone)


@dataclass(frozen=True)
class Shape:
    """Which columns make up a native customer, in the mapping's spelling.

    ``spelled``: lower case -> the mapping's spelling, for main-table columns. ``children``: part -> its columns
    without type. ``types``: part -> link types that are shown (``phone``: Business, Mobile, …). ``address_type``: the
    type with which the address that is shown is ticked; "" shows the primary address, whatever its types.
    """

    spelled: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]
    types: Mapping[str, tuple[str, ...]]
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    address_type: str = ""

    def primaries(self, company: Row) -> dict[str, str]:
        """Name among a record's children -> id of the primary child that a company's row names.

        What is no id says nothing.
        """
        named = {self.primary_name(part): company.id(c) for part, (_, c) in PRIMARY.items() if company.has(c)}
        return {name: child for name, child in named.items() if not child or where.is_id(child)}

    def primary_name(self, part: str) -> str:
        """Where types decide, the primary address need not be the one that is shown."""
        return "address@primary" if part == "address" and self.address_type else part

    def company(self, row: Row) -> dict[str, Any]:
        """A company row as native columns: everything that is a value, no linked-record objects."""
        spelled = self.spelled
        return {
            spelled.get(name.lower(), name): value
            for name, value in row.raw.items()
            if not name.startswith("$") and not isinstance(value, dict | list)
        }

    def child(self, part: str, row: Row | None, kind: str = "") -> dict[str, Any]:
        """A child row as native columns, ``@kind`` appended; None: known to be absent, so every column is empty."""
        tail = f"@{kind}" if kind else ""
        columns = self.children[part]
        if row is None:
            return {f"{column}{tail}": None for column in columns}
        return {f"{column}{tail}": row.cell(column) for column in columns if row.has(column)}


_ALWAYS = {
    "person": ("Pers_FirstName", "Pers_LastName"),
    "address": (
        *(f"Addr_Address{i}" for i in range(1, 6)),
        "Addr_City",
        "Addr_State",
        "Addr_PostCode",
        "Addr_Country",
    ),
    "phone": ("Phon_CountryCode", "Phon_AreaCode", "Phon_Number"),
    "email": ("Emai_EmailAddress",),
}
_PART_OF_PREFIX = {"pers": "person", "addr": "address", "phon": "phone", "emai": "email"}


def part_of(column: str) -> str:
    """The part a native column lives in, by its prefix; what is no child's belongs to the company."""
    return _PART_OF_PREFIX.get(column.partition("_")[0].lower(), "company")


def shape_of(settings: SageCrmSettings, customer: FieldMap | None) -> Shape:
    """The columns to read: what the mapping names, and always the standard ones of each child table."""
    mapped = customer.columns if customer else ()
    own = [column for column in settings.columns.values() if column]
    columns: dict[str, dict[str, str]] = {part: {c.lower(): c for c in names} for part, names in _ALWAYS.items()}
    types = {"phone": dict.fromkeys(filter(None, settings.phone_types.values())), "email": {settings.email_type: None}}
    spelled = {column.lower(): column for column in own}
    for column in mapped:
        base, _, kind = column.partition("@")
        part = part_of(base)
        if part == "company":
            spelled[column.lower()] = column
        else:
            columns[part][base.lower()] = base
            if kind:
                types[part][kind] = None
    return Shape(
        spelled,
        {part: tuple(names.values()) for part, names in columns.items()},
        {part: tuple(kinds) for part, kinds in types.items()},
        ZoneInfo(settings.timezone),
        settings.address_type,
    )

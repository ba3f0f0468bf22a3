"""The tables of the emulated Sage CRM: names, column spelling, types, what is indexed.

Column names are documented or observed; the audit six and ``*_Deleted`` on the link tables, and several ``User_``
columns, are our assumption from the naming rule (4-letter prefix, underscore). Column lengths are nowhere
documented: there are none here, the ``cut`` and ``refuse_longer`` faults make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ColumnType = Literal["int", "str", "bool", "date"]
Row = dict[str, Any]

COMPANY_ENTITY = 5
PERSON_ENTITY = 13

DEFAULT_CUSTOM_COLUMNS: Mapping[str, Mapping[str, ColumnType]] = {
    "Company": {
        "comp_vatnumber": "str",
        "comp_intacct_recordno": "str",
        "comp_intacct_customerid": "str",
        "comp_intacct_company": "str",
        "comp_region": "str",
        "comp_salesperson": "str",
    },
    "Address": {"addr_salesperson": "str"},
}


@dataclass(frozen=True)
class TableSpec:
    """One table. ``columns``: database spelling -> type, primary key first; ``by_lower`` finds them without case.

    ``notice``: entity word of the change notices its writes cause. ``link_notice``: (word, column) announced by an
    insert into a link table. ``indexed``: columns whose ``eq`` and ``in`` need no scan.
    ``references``: linked-record object -> (table, column). ``read_only``: refused in writes.
    """

    name: str
    prefix: str
    columns: Mapping[str, ColumnType]
    title: tuple[str, ...]
    notice: str | None = None
    link_notice: tuple[str, str] | None = None
    indexed: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    writable: bool = True
    by_lower: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_lower", {name.lower(): name for name in self.columns})

    @property
    def key(self) -> str:
        return next(iter(self.columns))

    @property
    def created_date(self) -> str:
        return f"{self.prefix}_CreatedDate"

    @property
    def updated_date(self) -> str:
        return f"{self.prefix}_UpdatedDate"

    @property
    def deleted(self) -> str:
        return f"{self.prefix}_Deleted"

    def spelled(self, column: str) -> str | None:
        """The database's spelling of a column, whatever the case it was asked in; None when there is none."""
        return self.by_lower.get(column.lower())


def _columns(prefix: str, text: str) -> dict[str, ColumnType]:
    """``Name:i`` int, ``:b`` bool, ``:d`` date, else str; a name with an underscore stands as it is."""
    kinds: dict[str, ColumnType] = {"": "str", "i": "int", "b": "bool", "d": "date"}
    out: dict[str, ColumnType] = {}
    for word in text.split():
        name, _, kind = word.partition(":")
        out[name if "_" in name else f"{prefix}_{name}"] = kinds[kind]
    return out


_AUDIT = "CreatedBy:i CreatedDate:d UpdatedBy:i UpdatedDate:d TimeStamp:d Deleted:i"
_COMPANY = (
    "CompanyId:i Name PrimaryPersonId:i PrimaryAddressId:i PrimaryUserId:i PrimaryAccountId:i Type Status Source "
    "Territory SecTerr:i ChannelId:i Revenue Employees Sector IndCode WebSite MailRestriction OptOut:b "
    "LibraryDir SegmentId:i comp_slaid:i WorkflowId:i UploadDate:d comp_promote"
)
_PERSON = (
    "PersonId:i CompanyId:i AccountId:i PrimaryAddressId:i PrimaryUserId:i Salutation FirstName MiddleName LastName "
    "Suffix Gender Title TitleCode Department DepartmentCode Status Source Territory SecTerr:i ChannelId:i WebSite "
    "MailRestriction OptOut:b LibraryDir "
    "WorkflowID:i Pers_IntId:i Pers_IntForeignID Pers_intlastsyncdate:d pers_promote"
)
_ADDRESS = "AddressId:i Address1 Address2 Address3 Address4 Address5 City State PostCode Country"
_USERS = (
    "UserId:i Logon FirstName LastName EmailAddress Title PrimaryChannelId:i PrimaryTerritory:i Disabled:b Resource:b"
)
HOME_TERRITORY = -2147483640


def _table(name: str, prefix: str, columns: str, extra: Mapping[str, ColumnType], **more: Any) -> TableSpec:
    spelled = {**_columns(prefix, columns), **_columns(prefix, _AUDIT), **extra}
    key = next(iter(spelled))
    audit = _columns(prefix, _AUDIT)
    read_only = frozenset({key, *audit, *more.pop("computed", ())})
    return TableSpec(name=name, prefix=prefix, columns=spelled, read_only=read_only, **more)


def _link(name: str, prefix: str, of: str, of_key: str, word: str) -> dict[str, Any]:
    """PhoneLink and EmailLink: which phone or e-mail belongs to which company (5) or person (13), as what type."""
    column = f"{prefix}_{of_key}"
    return {
        "name": name,
        "prefix": prefix,
        "columns": f"LinkID:i EntityID:i RecordID:i {of_key}:i Type",
        "title": (f"{prefix}_Type",),
        "link_notice": (word, column),
        "indexed": frozenset({f"{prefix}_RecordID", column}),
        "required": (f"{prefix}_EntityID", f"{prefix}_RecordID", column),
        "parents": {column: of},
    }


def build_tables(custom: Mapping[str, Mapping[str, ColumnType]]) -> dict[str, TableSpec]:
    """All tables by name; ``custom`` adds an installation's own columns, which are indexed on Company."""

    def extra(name: str) -> Mapping[str, ColumnType]:
        return custom.get(name, {})

    company_keys = {"Comp_Name", "Comp_PrimaryPersonId", "Comp_PrimaryAddressId", *extra("Company")}
    tables = [
        _table(
            "Company",
            "Comp",
            _COMPANY,
            extra("Company"),
            title=("Comp_Name",),
            notice="customer",
            indexed=frozenset(company_keys),
            required=("Comp_Name",),
            defaults={"Comp_Status": "Active", "Comp_SecTerr": HOME_TERRITORY},
            references={
                "Person": ("Person", "Comp_PrimaryPersonId"),
                "Address": ("Address", "Comp_PrimaryAddressId"),
            },
            parents={"Comp_PrimaryPersonId": "Person", "Comp_PrimaryAddressId": "Address"},
        ),
        _table(
            "Person",
            "Pers",
            _PERSON,
            extra("Person"),
            title=("Pers_FirstName", "Pers_LastName"),
            notice="person",
            indexed=frozenset({"Pers_CompanyId", "Pers_PrimaryAddressId"}),
            defaults={"Pers_Status": "Active", "Pers_SecTerr": HOME_TERRITORY},
            references={
                "Company": ("Company", "Pers_CompanyId"),
                "Address": ("Address", "Pers_PrimaryAddressId"),
            },
            parents={"Pers_CompanyId": "Company", "Pers_PrimaryAddressId": "Address"},
        ),
        _table("Address", "Addr", _ADDRESS, extra("Address"), title=("Addr_Address1",), notice="address"),
        _table(
            "Phone",
            "Phon",
            "PhoneId:i CountryCode AreaCode Number FullNumber",
            extra("Phone"),
            title=("Phon_FullNumber",),
            notice="phone",
            computed=("Phon_FullNumber",),
        ),
        _table(extra=extra("PhoneLink"), **_link("PhoneLink", "PLink", "Phone", "PhoneId", "phone")),
        _table(
            "Email",
            "Emai",
            "EmailId:i EmailAddress",
            extra("Email"),
            title=("Emai_EmailAddress",),
            notice="email",
            indexed=frozenset({"Emai_EmailAddress"}),
        ),
        _table(extra=extra("EmailLink"), **_link("EmailLink", "ELink", "Email", "EmailId", "email")),
        _table(
            "Address_Link",
            "AdLi",
            "AddressLinkId:i AddressId:i CompanyID:i PersonID:i Type",
            extra("Address_Link"),
            title=("AdLi_Type",),
            indexed=frozenset({"AdLi_AddressId", "AdLi_CompanyID", "AdLi_PersonID"}),
            required=("AdLi_AddressId",),
            parents={"AdLi_AddressId": "Address", "AdLi_CompanyID": "Company", "AdLi_PersonID": "Person"},
        ),
        _table(
            "Person_Link",
            "PeLi",
            "PersonLinkId:i PersonId:i CompanyID:i Type",
            extra("Person_Link"),
            title=("PeLi_Type",),
            indexed=frozenset({"PeLi_PersonId", "PeLi_CompanyID"}),
            required=("PeLi_PersonId",),
            parents={"PeLi_PersonId": "Person", "PeLi_CompanyID": "Company"},
        ),
        _table("Users", "User", _USERS, extra("Users"), title=("User_FirstName", "User_LastName"), writable=False),
    ]
    return {spec.name: spec for spec in tables}

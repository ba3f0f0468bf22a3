"""What the emulated company's objects look like: names, types, references. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Type = Literal["string", "number", "boolean", "decimal", "date", "datetime", "key"]

CUSTOMER = "accounts-receivable/customer"
INVOICE = "accounts-receivable/invoice"
CONTACT = "company-config/contact"
EMPLOYEE = "company-config/employee"
USER = "company-config/user"
DEPARTMENT = "company-config/department"
ENTITY = "company-config/entity"
TERM = "accounts-receivable/term"
CUSTOMER_TYPE = "accounts-receivable/customer-type"
TERRITORY = "accounts-receivable/territory"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value. ``default`` stands in a new record that does not say."""

    type: Type = "string"
    enum: frozenset[str] | None = None
    read_only: bool = False
    required: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference ``{key, id, name?, href}``; stored as the target's key.

    ``embedded``: the target is shown in full. ``through``: its fields can be written from here.
    """

    target: str
    named: bool = False
    embedded: bool = False
    through: bool = False
    read_only: bool = False


Node = Leaf | Ref | Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object of the API. ``entity``: its short name in triggers, ledger and the back door."""

    path: str
    entity: str
    tree: Mapping[str, Node]
    indexed: tuple[str, ...] = ()
    needs_id: bool = True
    writable: bool = True
    constants: Mapping[str, Any] = field(default_factory=dict)

    def with_custom_fields(self, names: tuple[str, ...]) -> ObjectType:
        custom = {name: Leaf() for name in names}
        return replace(self, tree={**self.tree, **custom}, indexed=(*self.indexed, *names))


def _texts(names: str) -> dict[str, Node]:
    return dict.fromkeys(names.split(), _TEXT)


def _enum(values: str, default: str | None = None) -> Leaf:
    return Leaf(enum=frozenset(values.split()), default=default)


_TEXT = Leaf()
_FLAG = Leaf("boolean", default=False)
_READ_ONLY = Leaf(read_only=True)
_STATUS = _enum("active inactive", "active")
_LONG_STATUS = _enum("active activeNonPosting inactive", "active")
_IDENTITY: dict[str, Node] = {"key": Leaf("key", read_only=True), "id": _TEXT, "href": _READ_ONLY}

AUDIT: Mapping[str, Node] = {
    "createdDateTime": Leaf("datetime", read_only=True),
    "modifiedDateTime": Leaf("datetime", read_only=True),
    "createdBy": Leaf("key", read_only=True),
    "modifiedBy": Leaf("key", read_only=True),
    "createdByUser": Ref(USER, read_only=True),
    "modifiedByUser": Ref(USER, read_only=True),
}
_COMMON: dict[str, Node] = {"entity": Ref(ENTITY, named=True, read_only=True), "audit": AUDIT}

_MAILING_ADDRESS: Mapping[str, Node] = _texts(
    "addressLine1 addressLine2 addressLine3 city state postCode country isoCountryCode"
)
_CONTACT: dict[str, Node] = {
    **_IDENTITY,
    **_texts("lastName firstName middleName prefix companyName email1 email2 phone1 phone2 mobile pager fax URL1 URL2"),
    "printAs": Leaf(required=True),
    "showInContactList": Leaf("boolean", default=True),
    **_texts("discount entityUseCode"),
    "status": _STATUS,
    "mailingAddress": _MAILING_ADDRESS,
    "tax": {
        "isTaxable": Leaf("boolean", default=True),
        "taxId": _TEXT,
        "group": Ref("tax/contact-tax-group"),
    },
    **_COMMON,
}

EMBEDDED_CONTACT: Mapping[str, Node] = {
    **{name: node for name, node in _CONTACT.items() if name not in ("audit", "entity")},
    "tax": {"isTaxable": Leaf("boolean", default=True), "group": Ref("tax/contact-tax-group")},
}
"""A contact inside a customer, employee or user: documented without audit and without ``tax.taxId``."""

_CUSTOMER: dict[str, Node] = {
    **_IDENTITY,
    "name": Leaf(required=True),
    "status": _LONG_STATUS,
    "taxId": _TEXT,
    "creditLimit": Leaf("number"),
    "isOnHold": _FLAG,
    "discountPercent": _TEXT,
    **_texts("notes currency"),
    "emailOptIn": _FLAG,
    "isOneTimeUse": _FLAG,
    "disableRefund": _FLAG,
    "deliveryOptions": _enum("print email both", "print"),
    "overridePriceList": _enum("customer billingContact shippingContact"),
    "customerResaleNumber": _TEXT,
    "advanceBillBy": Leaf("number"),
    "advanceBillByType": _enum("days months"),
    "retainagePercentage": _TEXT,
    "customerRestriction": _enum("unrestricted rootOnly restricted", "unrestricted"),
    "totalDue": Leaf("decimal", read_only=True, default="0.00"),
    "lastInvoiceCreatedDate": Leaf("date", read_only=True),
    "lastStatementGeneratedDate": Leaf("date", read_only=True),
    "subscriptionEndDate": Leaf("date", read_only=True),
    "webURL": _READ_ONLY,
    **_texts("electronicAddress resaleNumber"),
    "activationDate": Leaf("date"),
    "enableOnlineACHPayment": _FLAG,
    "enableOnlineCardPayment": _FLAG,
    "customerType": Ref(CUSTOMER_TYPE),
    "parent": Ref(CUSTOMER, named=True),
    "salesRepresentative": Ref(EMPLOYEE, named=True),
    "term": Ref(TERM),
    "territory": Ref(TERRITORY, named=True),
    "shippingMethod": Ref("accounts-receivable/shipping-method"),
    "accountGroup": Ref("accounts-receivable/customer-account-group"),
    "accountLabel": Ref("accounts-receivable/account-label"),
    "defaultRevenueGLAccount": Ref("general-ledger/account"),
    "overrideOffsetGLAccount": Ref("general-ledger/account"),
    "priceList": Ref("order-entry/price-list"),
    "priceSchedule": Ref("order-entry/price-schedule"),
    "customerMessage": Ref("accounts-receivable/customer-message"),
    "vendor": Ref("accounts-payable/vendor"),
    "attachment": Ref("company-config/attachment"),
    "contacts": {
        "default": Ref(CONTACT, embedded=True, through=True),
        "primary": Ref(CONTACT),
        "billTo": Ref(CONTACT),
        "shipTo": Ref(CONTACT),
    },
    **_COMMON,
}

_EMPLOYEE: dict[str, Node] = {
    **_IDENTITY,
    "name": _READ_ONLY,
    "primaryContact": Ref(CONTACT, embedded=True),
    "jobTitle": _TEXT,
    "startDate": Leaf("date"),
    "endDate": Leaf("date"),
    "birthDate": Leaf("date"),
    "SSN": _TEXT,
    "status": _STATUS,
    **_texts("terminationType gender defaultCurrency preferredPaymentMethod"),
    "department": Ref(DEPARTMENT, named=True),
    "location": Ref("company-config/location", named=True),
    "manager": Ref(EMPLOYEE, named=True),
    "employeeType": Ref("company-config/employee-type"),
    "class": Ref("company-config/class", named=True),
    "earningType": Ref("company-config/earning-type"),
    **_COMMON,
}

_USER: dict[str, Node] = {
    **_IDENTITY,
    **_texts("userName accountEmail"),
    "userType": Leaf(default="business"),
    "adminPrivileges": Leaf(default="off"),
    "contact": Ref(CONTACT, embedded=True),
    "status": _STATUS,
    "webServices": {"isEnabled": _FLAG, "isRestricted": _FLAG},
    "sso": {"isSSOEnabled": _FLAG, "federatedSSOId": _TEXT},
    **_COMMON,
}

_INVOICE: dict[str, Node] = {
    **_IDENTITY,
    "id": _READ_ONLY,
    "invoiceNumber": _TEXT,
    "recordType": Leaf(read_only=True, default="ri"),
    "state": _enum("draft posted paid partiallyPaid selected reversed reversal noValue", "posted"),
    "customer": Ref(CUSTOMER, named=True),
    "invoiceDate": Leaf("date", required=True),
    "dueDate": Leaf("date"),
    **_texts("referenceNumber description"),
    "term": Ref(TERM),
    "totalTxnAmount": Leaf("decimal", read_only=True, default="0.00"),
    "totalTxnAmountDue": Leaf("decimal", read_only=True, default="0.00"),
    "totalBaseAmount": Leaf("decimal", read_only=True, default="0.00"),
    "totalBaseAmountDue": Leaf("decimal", read_only=True, default="0.00"),
    "moduleKey": Leaf(enum=frozenset({"accountsReceivable", "orderEntry"}), default="accountsReceivable"),
    "isSystemGeneratedDocument": _FLAG,
    "reversedDate": Leaf("date", read_only=True),
    **_COMMON,
}

_DEPARTMENT: dict[str, Node] = {
    **_IDENTITY,
    "name": Leaf(required=True),
    "reportTitle": _TEXT,
    "parent": Ref(DEPARTMENT, named=True),
    "supervisor": Ref(EMPLOYEE, named=True),
    "status": _LONG_STATUS,
    **_COMMON,
}

_SIMPLE: dict[str, Node] = {**_IDENTITY, "name": _TEXT, "status": _STATUS, **_COMMON}


def object_types(custom_fields: Mapping[str, tuple[str, ...]]) -> dict[str, ObjectType]:
    """Every object of the company by path; ``custom_fields``: path -> names as ``nsp::NAME``."""
    types = (
        ObjectType(
            CUSTOMER,
            "customer",
            _CUSTOMER,
            (
                "name",
                "taxId",
                "salesRepresentative",
                *(f"contacts.{c}" for c in ("default", "primary", "billTo", "shipTo")),
            ),
            constants={"contactList": [], "customerEmailTemplates": []},
        ),
        ObjectType(CONTACT, "contact", _CONTACT, ("email1", "printAs")),
        ObjectType(EMPLOYEE, "employee", _EMPLOYEE, ("primaryContact", "department")),
        ObjectType(USER, "user", _USER, ("contact",), writable=False),
        ObjectType(DEPARTMENT, "department", _DEPARTMENT),
        ObjectType(INVOICE, "invoice", _INVOICE, ("customer", "state"), needs_id=False, constants={"lines": []}),
        ObjectType(ENTITY, "entity", _SIMPLE, writable=False),
        ObjectType(TERM, "term", _SIMPLE),
        ObjectType(CUSTOMER_TYPE, "customer-type", _SIMPLE),
        ObjectType(TERRITORY, "territory", _SIMPLE),
    )
    return {t.path: t.with_custom_fields(tuple(custom_fields.get(t.path, ()))) for t in types}

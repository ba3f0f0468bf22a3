"""Create, change and delete with the vendor's rules; every refusal is an ``ApiError``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_worker.connectors.emulation import ValueRefused
from sync_worker.connectors.intacct.emulator import contacts
from sync_worker.connectors.intacct.emulator.company import Company
from sync_worker.connectors.intacct.emulator.envelope import (
    ApiError,
    bad_value,
    business_error,
    payload_error,
    unknown_key,
)
from sync_worker.connectors.intacct.emulator.payload import Payload, PayloadReader
from sync_worker.connectors.intacct.emulator.schema import CONTACT, CUSTOMER, EMPLOYEE, INVOICE, Leaf, Node
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults
from sync_worker.connectors.intacct.emulator.tables import Version
from sync_worker.connectors.intacct.emulator.unit import Author, Unit

_STAMP = ("DateTime", "By", "ByUser")
_USED_BY = {
    CUSTOMER: ((INVOICE, "customer"),),
    CONTACT: (
        *((CUSTOMER, f"contacts.{c}") for c in ("default", "primary", "billTo", "shipTo")),
        (EMPLOYEE, "primaryContact"),
    ),
    EMPLOYEE: ((CUSTOMER, "salesRepresentative"),),
}


class Records:
    """The write side of the company."""

    def __init__(self, company: Company, unit: Unit, faults: IntacctFaults) -> None:
        self._company = company
        self._unit = unit
        self._faults = faults

    # --- the three verbs ---------------------------------------------------------------------------------------------

    def create(self, path: str, body: Any, author: Author) -> Version:
        """A new record. 400 for the payload's form, 409 for a taken id, 422 for an unknown reference or a rule."""
        payload = self._read(path, body, author)
        kind = self._company.kinds[path]
        missing = [c for c in _required(kind.tree) if payload.values.get(c) is None]
        record_id = payload.values.get("id") or (None if kind.needs_id else "")
        if record_id is None and path == CUSTOMER and self._faults.sequence_numbers:
            record_id = ""
        if record_id is None:
            missing.append("id")
        if missing:
            raise payload_error([bad_value(c, "is required") for c in missing])
        with self._unit:
            return self._insert(path, payload, record_id or "", author)

    def change(self, path: str, key: str, body: Any, author: Author) -> Version:
        """PATCH: fields that are absent stay. 404 for an unknown key."""
        old = self._company.tables[path].rows.get(key)
        if old is None:
            raise unknown_key(key)
        payload = self._read(path, body, author)
        if payload.values.get("id", old["id"]) != old["id"]:
            raise business_error("id", "cannot be changed")
        if path == INVOICE and author.actor == "api" and payload.values.get("state", old["state"]) != old["state"]:
            raise business_error("state", "is changed by workflows only")
        with self._unit:
            return self._update(path, old, payload, author)

    def delete(self, path: str, key: str, author: Author) -> None:
        """422 while something refers to the record (a customer with transactions: our assumption)."""
        row = self._company.tables[path].rows.get(key)
        if row is None:
            raise unknown_key(key)
        for user, column in _USED_BY.get(path, ()):
            if self._company.tables[user].is_used(column, key):
                raise business_error(None, f"still used by {user}")
        with self._unit:
            self._unit.drop(path, key)
            self._unit.note(author, path, row, "delete", _shown(row), {})

    def set_state(self, key: str, allowed: tuple[str, ...], changes: Mapping[str, Any], author: Author) -> Version:
        """An invoice's workflow step. 422 when its state does not allow it."""
        old = self._company.tables[INVOICE].rows.get(key)
        if old is None:
            raise unknown_key(key)
        if old["state"] not in allowed:
            raise business_error("state", f"a {old['state']} invoice cannot do that")
        with self._unit:
            new = {**old, **changes, **self._touch(author)}
            self._unit.put(INVOICE, new)
            self._unit.note(author, INVOICE, new, "update", {c: old.get(c) for c in changes}, changes)
            self._note_posting(old, new)
        return new

    # --- steps -------------------------------------------------------------------------------------------------------

    def _read(self, path: str, body: Any, author: Author) -> Payload:
        screen = author.actor != "api"
        reader = PayloadReader(screen=screen, null_reference=self._faults.null_reference or screen)
        payload = reader.read(self._company.kinds[path].tree, body)
        if payload.errors:
            raise payload_error(payload.errors)
        return payload

    def _insert(self, path: str, payload: Payload, record_id: str, author: Author) -> Version:
        company, table = self._company, self._company.tables[path]
        if record_id in table.by_id:
            raise ApiError(409, "operationFailed", "Another record has this id", "REST-1051")
        refs = self._resolve(path, payload)
        values = self._store(path, payload.values)
        key = company.next_key(path)
        row: Version = dict(_defaults(table.kind.tree))
        row.update({c: v for c, v in values.items() if v is not None or c not in row})
        row.update(refs)
        row["key"] = key
        row["id"] = record_id or (self._free_number() if path == CUSTOMER else key)
        row["entity"] = author.entity_key
        row.update(self._touch(author))
        row.update({f"audit.created{what}": row[f"audit.modified{what}"] for what in _STAMP})
        if self._faults.never_modified_is_null:
            row.update({f"audit.modified{what}": None for what in _STAMP})
        after = self._as_columns(path, {c: row[c] for c in (*values, "id", "status") if c in row}, refs)
        if path == CUSTOMER:
            after.update(self._first_contact(row, payload, author))
        elif path == CONTACT:
            contacts.complete(row, lower_case=self._faults.country_lower_case)
        elif path == EMPLOYEE and not row.get("primaryContact"):
            raise business_error("primaryContact", "Employee Contact info cannot be empty", "BL01001973")
        elif path == INVOICE:
            self._check_new_invoice(row, author)
        self._unit.put(path, row)
        self._unit.note(author, path, row, "create", dict.fromkeys(after), after)
        if path == INVOICE:
            self._note_posting(None, row)
        return row

    def _update(self, path: str, old: Version, payload: Payload, author: Author) -> Version:
        refs = self._resolve(path, payload)
        values = self._store(path, payload.values)
        new: Version = {**old, **values, **refs, **self._touch(author)}
        if path == CONTACT:
            contacts.keep_country_in_step(new, values, lower_case=self._faults.country_lower_case)
        before = self._as_columns(path, {c: old.get(c) for c in values}, {c: old.get(c) for c in refs})
        after = self._as_columns(path, {c: new.get(c) for c in values}, refs)
        for column, inner in payload.through.items():
            was, now = self._write_through(column, old, new, inner, author)
            before.update(was)
            after.update(now)
        self._unit.put(path, new)
        self._unit.note(author, path, new, "update", before, after)
        if path == CONTACT and self._faults.contact_bumps_customer:
            self._bump_customers(new["key"], author)
        elif path == INVOICE:
            self._note_posting(old, new)
        return new

    def _first_contact(self, row: Version, payload: Payload, author: Author) -> dict[str, Any]:
        """The display contact of a new customer: the one referred to, or its own, named "NAME(ID)"."""
        if row.get("contacts.default"):
            return {}
        inner = payload.through.get("contacts.default", Payload())
        inner.refs.pop("key", None)
        inner.values.setdefault("printAs", row["name"])
        if inner.values["printAs"] is None:
            raise payload_error([bad_value("contacts.default.printAs", "must not be empty")])
        contact_id = inner.values.pop("id", None) or f"{row['name']}({row['id']})"
        if contact_id in self._company.tables[CONTACT].by_id:
            raise business_error("contacts.default", "a contact of this name exists")
        refs = self._resolve(CONTACT, inner)
        values = self._store(CONTACT, inner.values)
        contact: Version = dict(_defaults(self._company.kinds[CONTACT].tree))
        contact.update({c: v for c, v in values.items() if v is not None or c not in contact})
        contact.update(refs)
        contact.update(key=self._company.next_key(CONTACT), id=contact_id, entity=author.entity_key)
        contact.update({c: v for c, v in row.items() if c.startswith("audit.")})
        contacts.complete(contact, lower_case=self._faults.country_lower_case)
        self._unit.put(CONTACT, contact)
        if self._faults.contact_trigger_on_customer_write:
            self._unit.fire(author, CONTACT, contact, "create")
        row["contacts.default"] = contact["key"]
        return {f"contacts.default.{c}": contact[c] for c in values}

    def _write_through(
        self, column: str, old: Version, new: Version, inner: Payload, author: Author
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of the display contact written through the customer; unsettled, so it can be switched off."""
        key = old.get(column)
        if author.actor == "api" and not self._faults.writable_default_contact:
            raise business_error(column, "is read-only here")
        contact = self._company.tables[CONTACT].rows.get(key or "")
        wanted = inner.refs.pop("key", (key, None))[0]
        if contact is None or wanted != key or inner.values.get("id", contact["id"]) != contact["id"]:
            raise business_error(column, "cannot be replaced and changed in one step")
        refs = self._resolve(CONTACT, inner)
        values = self._store(CONTACT, inner.values)
        changed: Version = {**contact, **values, **refs, **self._touch(author)}
        contacts.keep_country_in_step(changed, values, lower_case=self._faults.country_lower_case)
        self._unit.put(CONTACT, changed)
        if self._faults.contact_trigger_on_customer_write:
            self._unit.fire(author, CONTACT, changed, "update")
        before = self._as_columns(CONTACT, {c: contact.get(c) for c in values}, {c: contact.get(c) for c in refs})
        after = self._as_columns(CONTACT, {c: changed.get(c) for c in values}, refs)
        return {f"{column}.{c}": v for c, v in before.items()}, {f"{column}.{c}": v for c, v in after.items()}

    def _bump_customers(self, contact_key: str, author: Author) -> None:
        table = self._company.tables[CUSTOMER]
        for key in list(table.equal_to("contacts.default", [contact_key])):
            self._unit.put(CUSTOMER, {**table.rows[key], **self._touch(author)})

    def _resolve(self, path: str, payload: Payload) -> dict[str, str | None]:
        """References as keys. Unknown ones are 422, with the field."""
        out: dict[str, str | None] = {}
        for column, (key, ref_id) in payload.refs.items():
            if key is None and ref_id is None:
                out[column] = None
                continue
            target = self._company.tables.get(self._company.targets[path][column])
            found = key if key is not None else (target.by_id.get(ref_id or "") if target else None)
            row = target.rows.get(found or "") if target else None
            if row is None or (ref_id is not None and row["id"] != ref_id):
                raise business_error(column, "refers to a record that does not exist")
            out[column] = row["key"]
        return out

    def _store(self, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the company makes of the values. A contact's column may be named as the customer names it, too."""
        if not self._faults.touches_values:
            return dict(values)
        out: dict[str, Any] = {}
        try:
            for column, value in values.items():
                stored = self._faults.store(column, value)
                out[column] = self._faults.store(f"contacts.default.{column}", stored) if path == CONTACT else stored
        except ValueRefused as error:
            raise business_error(error.column, error.reason) from error
        return out

    def _touch(self, author: Author) -> dict[str, str]:
        return {
            "audit.modifiedDateTime": self._company.stamp(),
            "audit.modifiedBy": author.user_key,
            "audit.modifiedByUser": author.user_key,
        }

    def _as_columns(self, path: str, values: Mapping[str, Any], refs: Mapping[str, str | None]) -> dict[str, Any]:
        out = dict(values)
        for column, key in refs.items():
            target = self._company.tables[self._company.targets[path][column]]
            out[f"{column}.key"] = key
            out[f"{column}.id"] = target.rows[key]["id"] if key is not None and key in target.rows else None
        return out

    def _free_number(self) -> str:
        taken = self._company.tables[CUSTOMER].by_id
        number = len(taken) + 1
        while (candidate := f"C-{number:05d}") in taken:
            number += 1
        return candidate

    def _check_new_invoice(self, row: Version, author: Author) -> None:
        if not row.get("customer"):
            raise payload_error([bad_value("customer", "is required")])
        if author.actor == "api" and row["state"] not in ("draft", "posted"):
            raise business_error("state", "a new invoice is draft or posted")

    def _note_posting(self, old: Version | None, new: Version) -> None:
        """A posted invoice shows on its customer; derived figures move no stamp and fire nothing (observed)."""
        if new["state"] != "posted" or (old is not None and old["state"] == "posted"):
            return
        table = self._company.tables[CUSTOMER]
        customer = table.rows[new["customer"]]
        total = float(customer["totalDue"]) + float(new["totalTxnAmount"])
        figures = {"totalDue": f"{total:.2f}", "lastInvoiceCreatedDate": new["invoiceDate"]}
        self._unit.put(CUSTOMER, {**customer, **figures})


def _required(tree: Mapping[str, Node]) -> list[str]:
    return [name for name, node in tree.items() if isinstance(node, Leaf) and node.required]


def _defaults(tree: Mapping[str, Node], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, node in tree.items():
        if isinstance(node, Leaf):
            if node.default is not None:
                out[prefix + name] = node.default
        elif isinstance(node, Mapping):
            out.update(_defaults(node, f"{prefix}{name}."))
    return out


def _shown(row: Version) -> dict[str, Any]:
    return {c: v for c, v in row.items() if v is not None and not c.startswith("audit.")}

"""The tour: what people do in both systems, one edit after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sync_worker import desk
from sync_worker.demo.measure import Edit, Measure, Side
from sync_worker.demo.stage import Stage
from sync_worker.desk import managers
from sync_worker.wiring import App

CONFLICT_SECONDS = 20.0
MANAGER, USER, USER_KEY = "E-10", "sellers1", "2"
ADDRESS = "contacts.default.mailingAddress"

ORCHARD: dict[str, Any] = {
    "Comp_Name": "Orchard Foods",
    "Comp_WebSite": "http://orchard.test",
    "person": [{"$isDefault": True, "Pers_FirstName": "Ivy", "Pers_LastName": "Lane"}],
    "address": [{"$isDefault": True, "Addr_Address1": "1 Mill Lane", "Addr_City": "Leeds", "Addr_Country": "GB"}],
    "phone": [{"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": "4960000"}],
    "email": [{"$type": "Business", "Emai_EmailAddress": "ap@orchard.test"}],
}
HARBOUR: dict[str, Any] = {
    "id": "C-1001",
    "name": "Harbour Lights",
    "contacts.default.email1": "office@harbour.test",
    "contacts.default.phone1": "+44 20 7946 0000",
    f"{ADDRESS}.city": "London",
    f"{ADDRESS}.isoCountryCode": "GB",
}


class Pair:
    """One customer in both systems: how its fields are changed and seen on either side."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.keys: dict[Side, str] = {}

    def in_erp(self, column: str) -> Any:
        return self._stage.erp.customer(self.keys["erp"]).get(column)

    def in_crm(self, column: str, table: str = "Company") -> Any:
        crm, key = self._stage.crm, self.keys["crm"]
        return (crm.company(key) if table == "Company" else crm.child(table, key)).get(column)

    def change_erp(self, columns: dict[str, Any]) -> str:
        self._stage.erp.edit(self.keys["erp"], columns)
        return self.keys["erp"]

    def change_crm(self, columns: dict[str, Any], table: str = "Company") -> str:
        if table == "Company":
            self._stage.crm.edit(self.keys["crm"], columns)
        else:
            self._stage.crm.edit_child(table, self.keys["crm"], columns)
        return self.keys["crm"]


class Tour:
    """Plays on a stage that is ready. ``app``: an application of our own over the same database."""

    def __init__(self, stage: Stage, app: App) -> None:
        self._stage = stage
        self._app = app
        self.measure = Measure(stage, app)

    def play(self) -> Iterator[Edit]:
        """Every edit as it ends; nothing more when a new record does not arrive, since all others need both.

        Raises ``Stopped``, ``CannotStart`` and ``VendorAway``.
        """
        erp, crm = self._stage.erp, self._stage.crm
        orchard = Pair(self._stage)
        yield self._created(orchard, "crm", "company created", lambda: crm.create(ORCHARD), erp.customers_by_name)
        harbour = Pair(self._stage)
        yield self._first_invoice(harbour)
        if len(orchard.keys) == len(harbour.keys) == 2:
            yield from self._fields(orchard, harbour)
            yield self._conflict(orchard)
            yield self._lost_notice(harbour)
            yield self._doubled_notice(orchard)
            yield self._manager(orchard, harbour)

    def _created(
        self, pair: Pair, source: Side, what: str, act: Callable[[], str], there: Callable[[], dict[str, str]]
    ) -> Edit:
        """A new record on one side; ``there``: name -> key on the other. Fills in both keys of the pair."""
        target: Side = "crm" if source == "erp" else "erp"
        name = {"crm": ORCHARD["Comp_Name"], "erp": HARBOUR["name"]}[source]

        def make() -> str:
            pair.keys[source] = act()
            return pair.keys[source]

        edit = self.measure.edit(source, what, make, lambda: name in there())
        if edit.arrived:
            pair.keys[target] = there()[name]
        return edit

    def _first_invoice(self, pair: Pair) -> Edit:
        """A customer of the ERP comes to the CRM when it is first invoiced: not when it is made, not by a draft.

        The invoice is read on behalf of no link yet, so that one call is not among those counted.
        """
        erp, what = self._stage.erp, "customer created: its draft invoice pushes nobody, posting it does"
        customer = erp.create(HARBOUR)
        draft = {"customer.key": customer, "invoiceDate": "2026-11-22", "state": "draft"}
        invoice = erp.person("invoice", None, draft)

        def held_back() -> bool:
            found = self.measure.link("erp", customer)
            return found is not None and found.state == "not_synced"

        self._stage.until(held_back, CONFLICT_SECONDS)
        self.measure.wait_for_quiet()
        if not held_back():
            return Edit("erp", "crm", what, None, 0, arrived=False)

        def post() -> str:
            erp.person("invoice", invoice, {"state": "posted"})
            return customer

        return self._created(pair, "erp", what, post, self._stage.crm.companies_by_name)

    def _fields(self, orchard: Pair, harbour: Pair) -> Iterator[Edit]:
        """The everyday edits, each in both directions."""
        new = "Orchard Foods Ltd"
        yield self._to_erp("name", orchard, {"Comp_Name": new}, lambda: orchard.in_erp("name") == new)
        new = "Harbour Lights plc"
        yield self._to_crm("name", harbour, {"name": new}, lambda: harbour.in_crm("Comp_Name") == new)
        number = {"Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": "4960123"}
        shown = "contacts.default.phone1"
        yield self._to_erp("phone", orchard, number, lambda: _digits(orchard.in_erp(shown)).endswith("0123"), "Phone")
        change = {shown: "+44 20 7946 0777"}
        yield self._to_crm(
            "phone", harbour, change, lambda: _digits(harbour.in_crm("Phon_FullNumber", "Phone")).endswith("0777")
        )
        mail, shown = "accounts@orchard.test", "contacts.default.email1"
        change = {"Emai_EmailAddress": mail}
        yield self._to_erp("e-mail", orchard, change, lambda: orchard.in_erp(shown) == mail, "Email")
        mail = "hello@harbour.test"
        yield self._to_crm(
            "e-mail", harbour, {shown: mail}, lambda: harbour.in_crm("Emai_EmailAddress", "Email") == mail
        )
        change = {"Addr_Address1": "7 Canal Road", "Addr_City": "Bradford"}
        yield self._to_erp(
            "address", orchard, change, lambda: orchard.in_erp(f"{ADDRESS}.city") == "Bradford", "Address"
        )
        change = {f"{ADDRESS}.city": "Dover"}
        yield self._to_crm("address", harbour, change, lambda: harbour.in_crm("Addr_City", "Address") == "Dover")
        yield self._to_erp(
            "status", orchard, {"Comp_Status": "Inactive"}, lambda: orchard.in_erp("status") == "inactive"
        )
        change = {"status": "inactive"}
        yield self._to_crm("status", harbour, change, lambda: harbour.in_crm("Comp_Status") == "Inactive")

    def _to_erp(
        self, what: str, pair: Pair, columns: dict[str, Any], shows: Callable[[], bool], table: str = "Company"
    ) -> Edit:
        return self.measure.edit("crm", what, lambda: pair.change_crm(columns, table), shows)

    def _to_crm(self, what: str, pair: Pair, columns: dict[str, Any], shows: Callable[[], bool]) -> Edit:
        return self.measure.edit("erp", what, lambda: pair.change_erp(columns), shows)

    def _manager(self, *pairs: Pair) -> Edit:
        """Customers of a manager whom nobody has mapped yet wait, and follow when a person does."""
        stage, keys = self._stage, [pair.keys["erp"] for pair in pairs]
        for pair in pairs:
            pair.change_erp({"salesRepresentative.id": MANAGER})

        def waiting() -> bool:
            found = [self.measure.link("erp", key) for key in keys]
            return all(one is not None and one.state == "waiting" for one in found)

        what = f"account manager mapped: {len(pairs)} waiting customers follow"
        if not stage.until(waiting, CONFLICT_SECONDS):
            return Edit("erp", "crm", what, None, 0, arrived=False)

        def map_them() -> str:
            made = managers.propose(self._app, "customers", MANAGER, USER)
            managers.map_managers(self._app, [made], actor="demo")
            return keys[0]

        def shows() -> bool:
            return all(str(pair.in_crm("Comp_PrimaryUserId")) == USER_KEY for pair in pairs)

        return self.measure.edit("erp", what, map_them, shows, by_hand=True)

    # --- when something goes wrong -----------------------------------------------------------------------------------

    def _conflict(self, pair: Pair) -> Edit:
        """The same field on both sides at once: it rests until a person chooses, here the ERP's value."""
        stage, key = self._stage, pair.keys["crm"]
        self.measure.wait_for_quiet()
        stage.crm.faults(notices_off=True)  # so that nobody looks between the two edits
        pair.change_crm({"Comp_WebSite": "http://crm.orchard.test"})
        stage.crm.faults(notices_off=False)
        pair.change_erp({"contacts.default.URL1": "http://erp.orchard.test"})

        def parked() -> bool:
            found = self.measure.link("crm", key)
            return found is not None and found.state == "conflict"

        what = "website edited on both sides: a conflict, settled for the ERP's value"
        if not stage.until(parked, CONFLICT_SECONDS):
            return Edit("erp", "crm", what, None, 0, arrived=False)

        def settle() -> str:
            desk.resolve(self._app, "crm", key, "website", "erp")
            return key

        def shows() -> bool:
            return bool(pair.in_crm("Comp_WebSite") == "http://erp.orchard.test")

        return self.measure.edit("erp", what, settle, shows, by_hand=True)

    def _lost_notice(self, pair: Pair) -> Edit:
        """Nobody is told of this one: the feed finds it."""
        new = "Harbour Lights & Sons"
        self._stage.crm.faults(notices_off=True)
        try:
            return self._to_erp(
                "name, its notice lost: found by the feed",
                pair,
                {"Comp_Name": new},
                lambda: pair.in_erp("name") == new,
            )
        finally:
            self._stage.crm.faults(notices_off=False)

    def _doubled_notice(self, pair: Pair) -> Edit:
        """Told twice, written once."""
        new = "Orchard Fine Foods"
        before = self._stage.crm.stats()["ledger_seq"]
        self._stage.erp.faults(p_notice_doubled=1.0)
        edit = self._to_crm(
            "name, its notice doubled: written once", pair, {"name": new}, lambda: pair.in_crm("Comp_Name") == new
        )
        self._stage.erp.faults(p_notice_doubled=0.0)
        return replace(edit, arrived=edit.arrived and len(self._stage.crm.ledger(before)) == 1)


def _digits(text: Any) -> str:
    return "".join(one for one in str(text or "") if one.isdigit())

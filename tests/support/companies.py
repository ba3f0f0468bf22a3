"""Two ERP companies on one CRM: what the tests of shared records play with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from support.rules import FLOW, rest
from support.world import World, _hook
from sync_worker import wiring
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.connectors.intacct.emulator import make as make_intacct
from sync_worker.events import Change
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.tables import link

SECOND = "second"
SYSTEM = """
[systems.erp2]
connector = "intacct"
base_url = "http://{host}.test/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "{company}"
stale_seconds = 30
{more}
[flows.second]
entity = "customer"
erp = "erp2"
crm = "crm"
{flow}
"""
BY_HAND = 'create_in_crm = "never"\ncreate_in_erp = "manual"'


Make = Callable[..., "TwoErps"]


class TwoErps(World):
    """A second ERP, joined with the same CRM by the flow ``second``.

    ``first``, ``second``: lines of either flow. ``shared_erp``: both systems are one Intacct (two of its entities).
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        *,
        first: str = "",
        second: str = BY_HAND,
        more: str = "",
        shared_erp: IntacctEmulator | None = None,
        **kw: Any,
    ) -> None:
        self._shared_erp = shared_erp
        self._lines = lambda a, b: a + SYSTEM.format(host="erp2", company="Acme DE", more=more, flow=b)
        super().__init__(directory, url, flow=self._lines(first, second), **kw)

    def build(self) -> wiring.App:
        if "erp2" not in self.vendors:
            if self._shared_erp is not None:
                self.erp = self.vendors["erp"] = self.vendors["erp2"] = self._shared_erp
                self._shared_erp.clock = self.clock
            else:
                self.vendors["erp2"] = make_intacct(7)
                self.vendors["erp2"].clock = self.clock
                self.vendors["erp2"].hooks.append(_hook(self.vendors["erp2"], "http://hooks.test/erp2", "demo-secret"))
        return super().build()

    def restart(self, first: str = "", second: str = BY_HAND) -> None:
        """The worker is restarted with other lines of the two flows."""
        self.reconfigure(self._lines(first, second))

    def link_of(self, flow: str, crm: str) -> LinkRow:
        with self.db.read() as conn:
            (row,) = rows_of(conn, select(link).where(link.c.flow == flow, link.c.crm_key == crm))
        return row

    def new_in(self, system: str, name: str, **columns: Any) -> str:
        return str(self.vendors[system].person("customer", None, {"name": name, **columns}, "create"))

    def new_private(self, system: str, entity: str, name: str, **columns: Any) -> str:
        """A customer private to an entity of that system's company: its id is its name, unless given."""
        call = self.app.systems[system]._call  # type: ignore[attr-defined]  # the connector's own request
        body = {"id": name, "name": name, "contacts": {"default": {"printAs": name}}, **columns}
        path = "objects/accounts-receivable/customer"
        headers = {"X-IA-API-Param-Entity": entity}
        answer = call("create customer", "POST", path, json=body, write=True, headers=headers)
        return str(answer.json()["ia::result"]["key"])

    def edit_in(self, system: str, key: str, **columns: Any) -> None:
        self.vendors[system].person("customer", key, columns)

    def customer(self, system: str, key: str) -> dict[str, Any]:
        found = self.vendors[system].get_record("customer", key)
        assert found is not None
        return found

    def companies(self) -> dict[str, dict[str, Any]]:
        """All companies of the CRM by key."""
        rows = self.crm.list_records("Company")
        return {str(row["Comp_CompanyId"]): row for row in rows if not row["Comp_Deleted"]}

    def ids_on(self, crm: str) -> tuple[str, str, str]:
        """The company's own columns: record number, customer id, ERP company."""
        row = self.crm_record(crm)
        return tuple(str(row.get(f"comp_intacct_{c}") or "") for c in ("recordno", "customerid", "company"))  # type: ignore[return-value]  # three of them

    def ask_for(self, crm: str, *flows: str) -> None:
        """A person wants this company in these flows' ERPs."""
        self.app.inbox.accept(
            [Change("crm", "customer", crm, "updated", "manual")], may_create="manual", flows=flows or None
        )
        self.settle()


def shared(two: TwoErps, name: str = "Northwind Tools") -> tuple[str, str, str]:
    """One company linked to a customer in either ERP: keys in the first, the CRM, the second."""
    crm = two.new_crm(name, Comp_WebSite="http://northwind.example")
    two.settle()
    two.ask_for(crm)
    rest(two)
    first, second = two.link_of(FLOW, crm), two.link_of(SECOND, crm)
    assert first.state == second.state == "in_sync", two.links()
    return str(first.erp_key), crm, str(second.erp_key)


def worlds_of_two(directory: Path, url: str) -> Iterator[Make]:
    """A factory of the test's one world, closed at the end: ``yield from worlds_of_two(...)`` in a fixture."""
    made: list[TwoErps] = []

    def make(**kw: Any) -> TwoErps:
        made.append(TwoErps(directory, url, **kw))
        return made[-1]

    yield make
    for world in made:
        world.close()

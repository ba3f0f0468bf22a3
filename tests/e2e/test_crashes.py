"""Real processes, killed in the middle of work: everything arrives, nothing twice, counted on the vendors' ledgers."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from support.installation import Installation
from support.postgres import PostgresServer
from support.waiting import until
from sync_worker.store.leases import LEASE

pytestmark = pytest.mark.timeout(300)

# field -> (column of the ERP's ledger, column of the CRM's ledger)
FIELDS = {
    "name": ("name", "Comp_Name"),
    "tax": ("taxId", "comp_vatnumber"),
    "website": ("contacts.default.URL1", "Comp_WebSite"),
    "email": ("contacts.default.email1", "Emai_EmailAddress"),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """One that runs, on either database."""
    server: PostgresServer | None = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_template")
    url = server.new_database() if server is not None else None
    made = Installation(database_url=url)
    try:
        made.start()
        yield made
    finally:
        made.close()
        if server is not None and url is not None:
            server.drop_database(url)


class Crowd:
    """Many linked customers, edits and new records on both sides, and what must have become of them."""

    def __init__(self, installation: Installation, customers: int) -> None:
        self.it = installation
        names = [f"Customer {n:03d}" for n in range(customers)]
        made = [{"entity": "customer", "columns": {"id": f"C-{n:03d}", "name": name}} for n, name in enumerate(names)]
        erp_keys = installation.erp.post("people", made)["keys"]
        until(lambda: installation.at_rest() and len(installation.crm.records("Company")) == customers, 60)
        crm_keys = installation.crm.companies_by_name()
        self.pairs = [(erp_key, crm_keys[name]) for erp_key, name in zip(erp_keys, names, strict=True)]
        self.start = {"erp": installation.erp.stats()["ledger_seq"], "crm": installation.crm.stats()["ledger_seq"]}
        self.created: dict[str, list[str]] = {"erp": [], "crm": []}

    def edit(self) -> int:
        """Five edits of every customer, three in the CRM and two in the ERP; how many that are."""
        it = self.it
        for word in ("old", "new"):
            it.crm.post("people", [_company(crm, Comp_Name=f"Name {crm} {word}") for _, crm in self.pairs])
        it.crm.post("people", [_company(crm, comp_vatnumber=f"GB{crm}") for _, crm in self.pairs])
        for column, value in (("URL1", "http://{}.test"), ("email1", "{}@customer.test")):
            change = [_customer(erp, **{f"contacts.default.{column}": value.format(erp)}) for erp, _ in self.pairs]
            it.erp.post("people", change)
        return 5 * len(self.pairs)

    def create(self, count: int) -> None:
        """So many new records on either side."""
        self.created = {side: [f"New in {side} {n:02d}" for n in range(count)] for side in ("erp", "crm")}
        names = self.created["crm"]
        self.it.crm.post("people", [{"entity": "Company", "columns": {"Comp_Name": name}} for name in names])
        made = [{"id": f"N-{n:02d}", "name": name} for n, name in enumerate(self.created["erp"])]
        self.it.erp.post("people", [{"entity": "customer", "columns": columns} for columns in made])

    def written(self) -> int:
        """Writes of ours since the edits began."""
        return len(self.it.erp.ledger(self.start["erp"])) + len(self.it.crm.ledger(self.start["crm"]))

    def has_arrived(self) -> bool:
        if not self.it.at_rest():
            return False
        expected = len(self.pairs) + len(self.created["erp"]) + len(self.created["crm"])
        return len(self.it.erp.records("customer")) >= expected <= len(self.it.crm.records("Company"))

    def judge(self) -> None:
        """Everything is there, once, and nothing was written more often than it was edited."""
        it = self.it
        customers = {row["key"]: row for row in it.erp.records("customer")}
        companies = {str(row["Comp_CompanyId"]): row for row in it.crm.records("Company")}
        for erp, crm in self.pairs:
            customer, company = customers[erp], companies[crm]
            assert customer["name"] == company["Comp_Name"] == f"Name {crm} new"
            assert customer["taxId"] == company["comp_vatnumber"] == f"GB{crm}"
            assert company["Comp_WebSite"] == customer["contacts.default.URL1"] == f"http://{erp}.test"
            assert it.crm.child("Email", crm).get("Emai_EmailAddress") == f"{erp}@customer.test"
        for names in (
            Counter(row["name"] for row in customers.values()),
            Counter(row["Comp_Name"] for row in companies.values()),
        ):
            assert all(names[new] == 1 for new in self.created["erp"] + self.created["crm"])
            assert len(names) == sum(names.values()) == len(self.pairs) + len(self.created["erp"]) * 2
        creates = [len(self._ours("erp", "customer", "create")), len(self._ours("crm", "Company", "create"))]
        assert creates == [len(self.created["crm"]), len(self.created["erp"])]
        self._judge_updates()

    def _judge_updates(self) -> None:
        """At most one write per side and change: two changes of a name, one of the tax number, website and e-mail."""
        for (_, key), times in self._per_field("erp", "customer").items():
            assert times["name"] <= 2 and times["taxId"] <= 1, (key, times)
            assert not times.keys() & {FIELDS["website"][0], FIELDS["email"][0]}, (key, times)
        for (entity, key), times in self._per_field("crm", "Company", "Email").items():
            assert times["Comp_WebSite"] <= 1 and times["Emai_EmailAddress"] <= 1, (entity, key, times)
            assert not times.keys() & {"Comp_Name", "comp_vatnumber"}, (entity, key, times)

    def _per_field(self, side: str, *entities: str) -> dict[tuple[str, str], Counter[str]]:
        found: dict[tuple[str, str], Counter[str]] = {}
        for entity in entities:
            for row in self._ours(side, entity, "update"):
                found.setdefault((entity, row["key"]), Counter()).update(row["after"].keys())
        return found

    def _ours(self, side: str, entity: str, op: str) -> list[dict[str, Any]]:
        vendor = self.it.erp if side == "erp" else self.it.crm
        return [r for r in vendor.ledger(self.start[side]) if (r["entity"], r["op"]) == (entity, op)]


def _company(key: str, **columns: Any) -> dict[str, Any]:
    return {"entity": "Company", "key": key, "columns": columns}


def _customer(key: str, **columns: Any) -> dict[str, Any]:
    return {"entity": "customer", "key": key, "columns": columns}


def test_workers_killed_rings_wiped_and_the_queue_server_killed_lose_and_double_nothing(
    installation: Installation,
) -> None:
    crowd = Crowd(installation, customers=40)
    crowd.create(25)
    assert crowd.edit() == 200
    until(lambda: crowd.written() >= 15)
    installation.kill_workers()
    until(lambda: len(installation.pids("worker")) == 2)
    with installation.queue() as queue:
        queue.flushall()
    installation.kill_queue()
    until(crowd.has_arrived, 120)
    crowd.judge()
    counts = installation.cli_json("status")["links"]
    assert {state: n for state, n in counts.items() if n} == {"in_sync": 90}
    before = installation.writes()
    assert installation.cli("replay", "--state", "in_sync").stdout == "90 links are due again\n"
    until(installation.at_rest, 60)
    assert installation.writes() == before


def test_an_edit_whose_workers_were_killed_before_they_wrote_anything_goes_on_long_before_their_leases_run_out(
    installation: Installation,
) -> None:
    it = installation
    key = it.erp.person("customer", None, {"id": "C-900", "name": "Caught Ltd"})
    until(lambda: it.rows("SELECT 1 FROM link WHERE erp_ref = 'C-900' AND state = 'in_sync'"))
    it.crm.faults(latency_ms=1500)
    it.crm.person("Company", it.crm.companies_by_name()["Caught Ltd"], {"Comp_Name": "Caught and Let Go Ltd"})
    until(
        lambda: it.rows(
            "SELECT 1 FROM link WHERE erp_ref = 'C-900' AND unwritten_token = lease_token AND lease_until > 0"
        )
    )
    it.kill_workers()
    it.crm.faults(latency_ms=0)
    until(lambda: it.erp.record("customer", key)["name"] == "Caught and Let Go Ltd", LEASE / 2)


def test_a_stop_signal_or_the_supervisors_death_ends_every_process(installation: Installation) -> None:
    """Each on one database: this comes after all other tests of the installation, since another start costs seconds."""
    supervisor = installation.run
    assert len(installation.pids()) == 6, "supervisor, web, scheduler, two workers, queue server"
    if installation.db.is_sqlite:
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) == 0
        assert installation.pids() == set()
    else:
        supervisor.kill()
        supervisor.wait()
        until(lambda: installation.pids() == set(), 25)

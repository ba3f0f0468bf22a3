"""Both vendors, the engine and a clock in one process: what the simulations and the rule tests play with.

Everything is the product's own code; only the sockets and the time are replaced. ``crash`` makes the worker die at a
chosen step (a vendor call or a database commit), after which its leases have to run out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from support.clock import FakeClock
from support.inprocess import EmulatorTransport
from sync_worker import config as configuration
from sync_worker import reports, wiring
from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.intacct.emulator import make as make_intacct
from sync_worker.connectors.sage_crm.emulator import make as make_sage_crm
from sync_worker.errors import RetryableError
from sync_worker.events import Change
from sync_worker.store import parts, waiting
from sync_worker.store.session import Database
from sync_worker.store.tables import link

HOOK_SECRET = "whsec_c2ltdWxhdGlvbi1zZWNyZXQtMTIzNDU2Nzg5MA=="

CONFIG = """
[secrets]
key = "c2ltdWxhdGlvbi1rZXktMDEyMzQ1Njc4OTAxMjM0NTY="
[systems.erp]
connector = "intacct"
base_url = "http://erp.test/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme UK"
stale_seconds = {stale}
concurrency = 4
[systems.crm]
connector = "sage_crm"
base_url = "http://crm.test/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "{secret}"
default_country = "GB"
stale_seconds = {stale}
concurrency = 1
{crm}
  [systems.crm.columns]
  tax_number = "comp_vatnumber"
{columns}
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
{flow}
"""

KEY_COLUMNS = """  erp_key = "comp_intacct_recordno"
  erp_ref = "comp_intacct_customerid"
  erp_company = "comp_intacct_company"
"""


class Crash(BaseException):
    """The worker dies here: nothing after this line happens."""


class World:
    """``flow``, ``crm``: further lines of ``[flows.customers]`` and ``[systems.crm]``.

    ``stale``: both vendors' stale window in seconds.
    """

    def __init__(
        self,
        directory: Path | str,
        url: str,
        *,
        flow: str = "",
        stale: float = 30,
        seed: int = 0,
        key_columns: bool = True,
        crm: str = "",
    ) -> None:
        self.clock = FakeClock()
        self.rng = random.Random(seed)
        self.erp = make_intacct(seed)
        self.crm = make_sage_crm(seed)
        self.vendors = {"erp": self.erp, "crm": self.crm}
        for emulator in self.vendors.values():
            emulator.clock = self.clock
        self.crm.faults.merge({"bump_updated_on_api_write": True})
        self.erp.hooks.append(_hook(self.erp, "http://hooks.test/erp", "demo-secret"))
        self.crm.hooks.append(_hook(self.crm, "http://hooks.test/crm", HOOK_SECRET))
        self._directory, self._stale, self._crm = directory, stale, crm
        self._columns = KEY_COLUMNS if key_columns else ""
        self.config = self._configured(flow)
        self.db = Database(url, clock=self.clock, durable=False)
        self.steps_to_crash: int | None = None
        self._interruption: tuple[int, Callable[[], None]] | None = None
        self._guard_commits()
        self._builds = 0
        self.app = self.build()

    def _configured(self, flow: str) -> configuration.Config:
        filled = {"stale": self._stale, "secret": HOOK_SECRET, "columns": self._columns, "crm": self._crm}
        self.text = CONFIG.format(**filled, flow=flow)
        return configuration.parse(self.text, environ={"SYNC_DATA_DIR": str(self._directory)})

    def reconfigure(self, flow: str) -> None:
        """The worker is restarted with other lines of ``[flows.customers]``."""
        self.config = self._configured(flow)
        self.app = self.build()

    def build(self) -> wiring.App:
        """A fresh application, as after a restart of the worker; ``engine.owner`` says which it is."""
        self._builds += 1
        app = wiring.build(
            self.config,
            db=self.db,
            monotonic=self.clock,
            sleep=lambda _seconds: None,
            transport_for=lambda name: EmulatorTransport(self.vendors[name], lambda _before: self.step()),
            owner=f"worker-{self._builds}",
        )
        app.engine.rng = self.rng
        return app

    def step(self) -> None:
        """One step of the worker: it may be the one at which it dies, or at which somebody else does something."""
        if self._interruption is not None:
            left, act = self._interruption
            self._interruption = (left - 1, act) if left > 0 else None
            if left == 0:
                act()
        if self.steps_to_crash is not None:
            self.steps_to_crash -= 1
            if self.steps_to_crash < 0:
                self.steps_to_crash = None
                raise Crash

    def in_the_middle(self, steps: int | None, act: Callable[[], None] | None) -> None:
        """``act`` happens after so many steps of the worker; None: forget it."""
        self._interruption = (steps, act) if steps is not None and act is not None else None

    def _guard_commits(self) -> None:
        plain = self.db.write

        @contextmanager
        def write() -> Iterator[Any]:
            with plain() as conn:
                yield conn
                self.step()  # dies before the commit
            self.step()  # dies after it

        self.db.write = write  # type: ignore[method-assign]

    @contextmanager
    def crashing_after(self, steps: int) -> Iterator[None]:
        """The worker dies after so many steps within; its leases stay, and a new worker is built."""
        self.steps_to_crash = steps
        try:
            yield
        except Crash:
            self.app = self.build()
        finally:
            self.steps_to_crash = None

    # --- what people and vendors do ---

    def edit_erp(self, key: str, **columns: Any) -> None:
        self.erp.person("customer", key, columns)

    def edit_crm(self, key: str, **columns: Any) -> None:
        self.crm.person("Company", key, columns)

    def new_erp(self, name: str, **columns: Any) -> str:
        return self.erp.person("customer", None, {"name": name, **columns}, "create")

    def new_crm(self, name: str, **columns: Any) -> str:
        return self.crm.person("Company", None, {"Comp_Name": name, "Comp_Status": "Active", **columns}, "create")

    def deliver(self) -> int:
        """Notices reach the hooks; returns how many were accepted."""
        count = 0
        for name, emulator in self.vendors.items():
            for notice in emulator.take_notices():
                headers = {k.lower(): v for k, v in notice.headers.items()}
                try:
                    changes = self.app.systems[name].verify_hook(headers, notice.body, self.clock())
                except HookRefused:  # it came too late: lost, and found by the feeds
                    continue
                self.app.inbox.accept(changes)
                count += len(changes)
        return count

    # --- what the worker does ---

    def work(self, rounds: int = 200) -> int:
        """Bring everything that is due now to an end; returns how many passes that took."""
        count = 0
        for _ in range(rounds):
            for system in parts.due_systems(self.db):
                with suppress(RetryableError):
                    self.app.engine.resolve_parts(system)
            due = waiting.due_counts(self.db)
            if not due:
                return count
            ended = sum(self.app.engine.run_due(flow, klass).claimed for flow, _, klass, _, _ in due)
            if ended == 0:
                return count
            count += ended
        raise AssertionError(f"still due after {rounds} rounds: {waiting.due_counts(self.db)}")

    def settle(self, *, hours: float = 1.0, deliver: bool = True) -> None:
        """Deliver and work, moving the clock to whatever is due next, until nothing is."""
        end = self.clock() + hours * 3600
        while self.clock() < end:
            if deliver:
                self.deliver()
            self.work()
            if deliver and self.pending_notices():
                continue
            upcoming = self.next_due()
            if upcoming is None:
                return
            self.clock.time = max(self.clock.time + 0.001, upcoming)
        raise AssertionError(f"not at rest after {hours} h: {self.links()}")

    def pending_notices(self) -> int:
        return sum(e.stats()["notices_waiting"] for e in self.vendors.values())

    def next_due(self) -> float | None:
        with self.db.read() as conn:
            due = conn.execute(select(func.min(link.c.due_at)).where(link.c.due_at.is_not(None))).scalar_one()
            leased = conn.execute(
                select(func.min(link.c.lease_until)).where(
                    link.c.lease_until > self.clock(), link.c.due_at <= self.clock()
                )
            ).scalar_one()
            from sync_worker.store.tables import part

            children = conn.execute(select(func.min(part.c.due_at)).where(part.c.due_at.is_not(None))).scalar_one()
        times = [t for t in (due if due is None or due > self.clock() else None, leased, children) if t is not None]
        if due is not None and due <= self.clock() and leased is None:
            times.append(self.clock())
        return min(times, default=None)

    def poll(self) -> None:
        """The feeds of both vendors, as the scheduler follows them: a turn that fails is repeated later."""
        for system in self.vendors:
            with suppress(RetryableError):
                self.app.feeds.poll(system)
                self.app.feeds.poll_invoices(system)

    def sweep(self) -> None:
        for system in self.vendors:
            self.app.feeds.sweep(system)

    def notice(self, system: str, key: str, op: str = "updated", entity: str = "customer") -> None:
        """A notice out of nowhere: doubled, forged, late."""
        self.app.inbox.accept([Change(system, entity, key, op=op)])  # type: ignore[arg-type]

    # --- what can be seen ---

    def links(self) -> list[Any]:
        with self.db.read() as conn:
            return [dict(row) for row in conn.execute(select(link).order_by(link.c.id)).mappings()]

    def explain(self, system: str, key: str) -> dict[str, Any]:
        rows = reports.find_links(self.db, self.app.flows, system, key)
        assert len(rows) == 1, rows
        return reports.explain(self.db, self.app.flows[rows[0].flow], rows[0])

    def erp_record(self, key: str) -> dict[str, Any]:
        found = self.erp.get_record("customer", key)
        assert found is not None
        return found

    def crm_record(self, key: str) -> dict[str, Any]:
        found = self.crm.get_record("Company", key)
        assert found is not None
        return found

    def crm_child_key(self, key: str, table: str) -> str:
        """Key of the Business e-mail or phone, primary address or person of a company."""
        record = self.crm_record(key)
        if table in ("Address", "Person"):
            return str(record[f"Comp_Primary{table}Id"])
        link_table, prefix = ("EmailLink", "ELink") if table == "Email" else ("PhoneLink", "PLink")
        for row in self.crm.list_records(link_table):
            if str(row[f"{prefix}_RecordID"]) == key and row[f"{prefix}_Type"] == "Business":
                return str(row[f"{prefix}_{table}Id"])
        raise AssertionError(f"company {key} shows no {table}")

    def crm_child(self, key: str, table: str) -> dict[str, Any] | None:
        return self.crm.get_record(table, self.crm_child_key(key, table))

    def close(self) -> None:
        self.app.close()

    def written(self, side: str) -> list[Any]:
        """Writes our worker made on one side, from the vendor's ledger."""
        return [row for row in self.vendors[side].ledger if row.actor == "api"]


def _hook(emulator: Any, url: str, secret: str) -> Any:
    from sync_worker.connectors.emulation import Hook

    return Hook(url, secret)

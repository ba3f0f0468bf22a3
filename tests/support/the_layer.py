"""A world whose CRM is The Layer: the connector ``rest`` with the shipped profile, over its emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.rules import rest, row_of
from support.world import HOOK_SECRET, World
from sync_worker import config as configuration
from sync_worker import desk, wiring
from sync_worker.connectors.emulation import Hook
from sync_worker.connectors.rest.emulator import make as make_the_layer

SYSTEM = """
[secrets]
key = "c2ltdWxhdGlvbi1rZXktMDEyMzQ1Njc4OTAxMjM0NTY="
[systems.erp]
connector = "intacct"
base_url = "http://erp.test/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme UK"
stale_seconds = 30
[systems.crm]
connector = "rest"
profile = "the_layer"
base_url = "http://crm.test/api/v1"
token = "demo-token"
webhook_secret = "{secret}"
default_country = "GB"
stale_seconds = 30
concurrency = 1
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
{flow}
"""
Make = Callable[..., "LayerWorld"]


class LayerWorld(World):
    """``flow``: further lines of ``[flows.customers]``, and tables behind them."""

    def __init__(
        self, directory: Path | str, url: str, *, flow: str = "", vendors: dict[str, Any] | None = None
    ) -> None:
        self._more = vendors or {}
        super().__init__(directory, url, flow=flow)

    def _configured(self, flow: str) -> configuration.Config:
        text = SYSTEM.format(secret=HOOK_SECRET, flow=flow)
        return configuration.parse(text, environ={"SYNC_DATA_DIR": str(self._directory)})

    def build(self) -> wiring.App:
        if self.crm.name != "the_layer":
            self.crm = make_the_layer(1)  # type: ignore[assignment]  # another vendor in its place
            for name, emulator in {"crm": self.crm, **self._more}.items():
                self.vendors[name] = emulator  # type: ignore[assignment]  # the same
                emulator.clock = self.clock
            self.crm.hooks.append(Hook("http://hooks.test/crm", HOOK_SECRET))
        return super().build()

    def new_layer(self, name: str, **columns: Any) -> str:
        """A person enters a customer; ``columns`` by their last names: ``email``, ``mobile`` …"""
        return self.crm.person("customer", None, {"/companyName": name, **paths(columns)}, "create")

    def new_erp(self, name: str, **columns: Any) -> str:
        return super().new_erp(name, **{"id": f"C-{len(self.erp_names()) + 1}", **columns})

    def edit_layer(self, key: str, **columns: Any) -> None:
        self.crm.person("customer", key, paths(columns))

    def layer_record(self, key: str) -> dict[str, Any]:
        found = self.crm.get_record("customer", key)
        assert found is not None
        return found

    def invoice(self, customer: str, state: str = "finalised", key: str | None = None) -> str:
        """A person makes an invoice, or changes one."""
        op = "create" if key is None else "update"
        return self.crm.person("invoice", key, {"customer": customer, "state": state}, op)  # type: ignore[arg-type]  # one of two words

    def sync_now(self, key: str, flow: str | None = None) -> Any:
        """What the button on the Intacct tab does."""
        desk.ask_sync(self.app, "crm", key, flow, actor="a person", bell=lambda _touched: None)
        self.settle()

    def erp_of(self, key: str) -> dict[str, Any]:
        """The customer that a Layer customer is linked to."""
        row = row_of(self, crm=key)
        assert row.erp_key is not None, self.explain("crm", key)
        return self.erp_record(row.erp_key)

    def erp_names(self) -> list[str]:
        return [row["name"] for row in self.erp.list_records("customer")]


ABOVE = {"mobile": "/mainContact/mobile", "city": "/address/city", "line1": "/address/line1"}


def paths(columns: dict[str, Any]) -> dict[str, Any]:
    return {ABOVE.get(name, f"/{name}"): value for name, value in columns.items()}


def linked(world: LayerWorld, name: str = "Northwind Tools", **columns: Any) -> str:
    """A Layer customer that was pushed by hand and is long at rest."""
    key = world.new_layer(name, **columns)
    world.settle()
    world.sync_now(key)
    rest(world)
    assert row_of(world, crm=key).state == "in_sync", world.explain("crm", key)
    return key


def layer_worlds(directory: Path, url: str) -> Iterator[Make]:
    """A factory of the test's one world, closed at the end: ``yield from layer_worlds(...)`` in a fixture."""
    made: list[LayerWorld] = []

    def make(flow: str = "", **kw: Any) -> LayerWorld:
        made.append(LayerWorld(directory, url, flow=flow, **kw))
        return made[-1]

    yield make
    for world in made:
        world.close()

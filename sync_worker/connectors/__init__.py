"""The vendors: one line per system. Adding one is docs/howto/add-a-connector."""

from __future__ import annotations

# connector name in sync.toml -> package; its ``connect`` module makes the connector, its ``emulator`` stands in for it
CONNECTORS = {
    "intacct": "sync_worker.connectors.intacct",
    "sage_crm": "sync_worker.connectors.sage_crm",
}

"""The vendors: one line per system. Adding one is docs/howto/add-a-connector."""

from __future__ import annotations

# connector name in sync.toml -> package; its ``connect`` module makes the connector
CONNECTORS = {
    "intacct": "sync_worker.connectors.intacct",
    "sage_crm": "sync_worker.connectors.sage_crm",
    "rest": "sync_worker.connectors.rest",
}

# vendor that `emulate` stands in for -> package
EMULATORS = {
    "intacct": "sync_worker.connectors.intacct.emulator",
    "sage_crm": "sync_worker.connectors.sage_crm.emulator",
    "the_layer": "sync_worker.connectors.rest.emulator",
}

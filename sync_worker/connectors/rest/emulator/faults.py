"""The Layer's own switches beside the kit's faults."""

from __future__ import annotations

from dataclasses import dataclass

from sync_worker.connectors.emulation import Faults


@dataclass
class TheLayerFaults(Faults):
    """``cut`` and the like name members by their path, ``/mainContact/mobile``.

    ``patch_allowed``: else only PUT of the whole record changes one. ``ids_allowed``: the list takes several ids.
    ``page_404``: what is not there answers with a page of HTML, as a proxy would. ``page_cap``: most rows of a page.
    """

    patch_allowed: bool = True
    ids_allowed: bool = True
    page_404: bool = False
    page_cap: int = 200

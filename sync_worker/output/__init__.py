"""How the command line shows things: ``Printer``, and what is shown with it, in ``records`` and ``runs``."""

from sync_worker.output.printer import Printer, shown

__all__ = ["Printer", "shown"]

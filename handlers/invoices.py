"""Invoices: the first one that is final makes its customer's partner, where the flow waits for it.

draft              nothing happens; it counts once it is posted
final              (posted, paid, partly paid) it permits the customer's partner to be created
reversed           nothing happens, and nothing that was created is taken back

Only an invoice that became final after the flow was switched on counts, however old its customer is. The second one,
the same one told twice, or two at one moment change nothing: the permission is given once and ends with the link. What
was unlinked stays so, and so does what waits for a person's choice.
"""

from __future__ import annotations

from mappings.canonical import Invoice
from sync_worker.routing import dates


@dates("invoice")
def final_since(invoice: Invoice, was_draft: bool) -> float | None:
    """A moment at which the invoice was surely not final yet, in seconds; None: it does not count (now).

    The flow counts it when that moment lies after the flow was switched on. No system says when an invoice was posted.
    One that was seen as a draft became so with its last change; of any other only its making is sure: an old invoice
    that is paid today was posted long ago.
    """
    if invoice.state != "final" or invoice.customer is None:
        return None
    return invoice.changed_at if was_draft else invoice.created_at

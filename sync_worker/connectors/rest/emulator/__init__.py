"""The Layer on request: a JSON API under ``/api/v1`` as the shipped profile ``the_layer`` expects it.

The Layer publishes no API. Documented by its help pages are only the words: the fields that reach Sage (company name,
e-mail, website, telephone, VAT number, mobile, which shows on the contact where it was entered), the three columns
that name the Sage customer, sub-companies, and that the first finalised invoice pushes a customer. Everything about
paths, paging, filters, statuses and notices is our own convention; so this emulator proves consistency, not truth.
A second opinion on the client: it imports neither client, profile nor mapping. What is unknown is refused.
"""

from sync_worker.connectors.rest.emulator.service import TheLayerEmulator


def make(seed: int = 0) -> TheLayerEmulator:
    """An empty tenant with the token ``demo-token`` and three users; hooks bring their own secret."""
    return TheLayerEmulator(seed=seed)


__all__ = ["TheLayerEmulator", "make"]

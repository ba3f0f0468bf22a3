"""Sage Intacct REST API v1, as far as this project needs it. A second opinion: written from what the vendor documents.

Documented: paths, verbs and references; envelopes and the error codes used here; OAuth grants and their fields;
Idempotency-Key (48 hours answered, 60 days reserved, failures too); batches of 500 with a result each and the
transaction header; the query grammar, flat rows, pages of at most 4000, entity-private records hidden at the top
level; contact without audit, US as default country; event queue calls; webhook headers, claims, hash, the statuses
that are tried again and the waits between attempts.

Observed in public clients: rejected tokens as 401 and as 400; the bare error of the token endpoint; the array that an
empty event queue answers with; ``{"ackId"}`` as body of an acknowledgement; webhooks that failed for good appearing
in the event queue; ``ia::status`` beside each result of a batch; both forms of the signature header; that a second
grant kills the first refresh token; that derived figures fire no trigger.

Guessed, each refused or behind a switch (see ``IntacctFaults``) where a client could come to rely on it: whether
``contacts.default`` can be written through the customer; whether a contact's edit moves the customer's modified time;
the form that empties a reference; an unknown ackId (422); query sizes over 4000 (400); changing an id (422); keys
compared as numbers; empty texts stored as null; empty values failing every comparison but ``$eq: null``; an employee
named as their contact prints; the default contact's ``printAs`` being the customer's name when none is sent; the
number of events per list call; deleting what is still referred to (422); exp of the webhook's signature in
milliseconds; no trigger for a contact that is written through its customer.

Left out (404): composite, bulk, reports, XML session, audit history, authorization-code grant.
"""

from sync_worker.connectors.intacct.emulator.api import IntacctEmulator
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults

__all__ = ["IntacctEmulator", "IntacctFaults", "make"]


def make(seed: int = 0) -> IntacctEmulator:
    """The emulator of ``sync-worker emulate intacct``: client demo-client / demo-secret, user sync@ACME."""
    return IntacctEmulator(seed=seed)

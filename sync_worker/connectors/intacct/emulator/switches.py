"""What can be switched on this emulator beyond the common faults; every switch stands for something undocumented."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sync_worker.connectors.emulation import Faults


@dataclass
class IntacctFaults(Faults):
    """Faults and switches, settable by name in the constructor and while running.

    ``sequence_numbers``: a POST without ``id`` gets one (documented: only where document sequencing is on).
    ``writable_default_contact``: ``contacts.default`` of an existing customer can be written through the customer
    (unsettled); off: 422, only ``company-config/contact`` works.
    ``contact_bumps_customer``: a contact's edit moves the modified time of the customers that show it (not found).
    ``contact_trigger_on_customer_write``: writing a contact through its customer also fires the contact's trigger.
    ``audit_on_contact``: contacts show ``audit`` (documented absence).
    ``never_modified_is_null``: a new record has no modified time until it is changed.
    ``null_reference``: ``"refer": null`` clears it, too; ``{"key": null}`` or ``{"id": null}`` always does (our guess).
    ``token_error_form``: status of a rejected token, both were seen. ``refresh_form``: rotated, kept or absent.
    ``error_shape``: which of the four envelopes errors come in; ``details_object``: ``details`` as an object.
    ``batch_uniform_status``: a batch whose items all failed alike answers with that status instead of 207.
    ``max_in_flight`` is 6 here: documented for an application in tier 1.
    ``hook_form``, ``hook_context``, ``hook_exp_in_ms``: forms of the webhook's signature and context header.
    ``webhooks`` / ``event_queue``: which trigger types the company has; ``queue_batch``: events per list call.
    ``trigger_template``: merge fields of the trigger's body. ``triggers``: objects that have triggers.
    """

    ONE_SHOTS: ClassVar[frozenset[str]] = Faults.ONE_SHOTS | {"locked"}

    sequence_numbers: bool = False
    writable_default_contact: bool = True
    contact_bumps_customer: bool = False
    contact_trigger_on_customer_write: bool = False
    audit_on_contact: bool = False
    never_modified_is_null: bool = False
    null_reference: bool = False
    country_lower_case: bool = False
    token_lifetime: int = 43_200
    token_error_form: str = "401"  # noqa: S105 -- an HTTP status, no secret
    refresh_form: str = "rotated"
    error_shape: str = "normal"
    details_object: bool = False
    batch_uniform_status: bool = False
    max_batch: int = 500
    max_in_flight: int = 6
    hook_form: str = "bare"
    hook_context: str = "good"
    hook_exp_in_ms: bool = True
    webhooks: bool = True
    event_queue: bool = True
    queue_batch: int = 100
    trigger_template: list[str] = field(default_factory=lambda: ["entity", "key", "id", "op"])
    triggers: list[str] = field(default_factory=lambda: ["customer", "contact", "invoice", "employee"])

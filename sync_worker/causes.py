"""Every cause a link can have: one sentence for people, and the one next step. Codes are stable; texts may improve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

AT_REST = "nothing until something changes"

# code: (what it means, what happens next)
CAUSES: dict[str, tuple[str, str]] = {
    "": ("both sides agree on what is shared", AT_REST),
    "new": ("something may be new about this record, and it has not been looked at yet", "the worker looks at it"),
    "differs": (
        "{fields}: a change here does not travel (direction, owner, an emptied field, an address that is not ticked, "
        "or what was undone)",
        AT_REST,
    ),
    # pending
    "retrying": ("{fields} could not be written yet: {error}", "tried again"),
    "rate_limited": ("{system} asked us to slow down", "tried again"),
    "system_unavailable": ("{system} cannot be reached", "tried again"),
    "record_busy": ("the vendor holds a lock on this record", "tried again"),
    "read_too_old": ("too much time went by between reading and writing", "read again, then written"),
    "not_yet_there": ("something this record depends on is not visible yet", "tried again"),
    "outcome_unknown": (
        "a create on the {side} side may or may not have been applied",
        "looked for, and created again only if it is not there",
    ),
    "linking": ("its partner was found", "both sides are compared"),
    "creating": ("its partner is being created on the {side} side", "tried again if the worker was interrupted"),
    "intent_open": ("another record is just being created on the {side} side and may be this one", "looked at again"),
    "not_found": ("the {side} side says there is no such record", "looked at once more before it counts as removed"),
    "many_unlinked": (
        "more records vanished within an hour than `limits.unlinked` allows, so the flow is paused",
        "check the vendor; if that is right: sync-worker resume FLOW",
    ),
    "stale_read": ("{fields}: an older version was seen, as vendors show shortly after a write", "read again"),
    # conflict
    "both_changed": (
        "{fields} changed on both sides since they last agreed",
        "choose: sync-worker resolve SYSTEM KEY --field FIELD --take erp|crm|=VALUE",
    ),
    "first_link_up": (
        "{fields} had different values when the two records were linked",
        "choose: sync-worker resolve SYSTEM KEY --field FIELD --take erp|crm|=VALUE",
    ),
    "rewritten": (
        "both systems rewrite {fields} in turn",
        "stop one of the two rules, then choose: sync-worker resolve SYSTEM KEY --field FIELD --take erp|crm",
    ),
    "ids_disagree": ("the ids on the two records contradict each other: {why}", "correct the ids on one side"),
    "already_linked": (
        "its partner is linked to another record (link {link})",
        "correct the key columns of one of the two",
    ),
    # waiting
    "manager_unmapped": (
        "{fields}: no mapping for {waiting_on}",
        "sync-worker managers map --flow FLOW --erp KEY --crm KEY",
    ),
    "manager_ambiguous": (
        "{fields}: several ERP managers are mapped to {waiting_on} and none is preferred",
        "sync-worker managers map --flow FLOW --erp KEY --crm KEY --preferred",
    ),
    "manager_disabled": (
        "{fields}: whoever {waiting_on} is mapped to is disabled or gone in the other system",
        "that person is enabled there again, or: sync-worker managers map --flow FLOW --erp KEY --crm KEY",
    ),
    "match": (
        "records that may be its partner exist",
        "choose: sync-worker links link --flow FLOW --erp KEY --crm KEY, "
        "or create a new one: sync-worker sync SYSTEM KEY",
    ),
    "sub_company_unmapped": (
        "no flow takes the sub-company {sub_company}",
        "add it to `sub_companies` of a flow and restart: what waits for it goes then by itself",
    ),
    "several_made": (
        "several records of this name were made while a create was under way",
        "fill the CRM's key column with the right one's key",
    ),
    # failing
    "refused": (
        "the vendor refused {fields}: {reason}",
        "correct the value on either side, or retry: sync-worker replay --link LINK",
    ),
    "too_long": ("{reason}", "shorten it in that system; then it goes on by itself"),
    "bug": ("an error of ours: {reason}", "report it with the log line sync.bug; then sync-worker replay --link LINK"),
    "poison": ("{reason}", "report it; then sync-worker replay --link LINK"),
    "already_exists": (
        "the other system says it exists already: {reason}",
        "correct the unique value, or fill the CRM's key column",
    ),
    # not synced
    "needs_invoice": (
        "its partner is made with the first finalised invoice",
        "the first finalised invoice, or a manual sync",
    ),
    "needs_manual": ("its partner is made only on request", "sync-worker sync SYSTEM KEY"),
    "older_than_flow": (
        "it is older than the flow, and nothing on the other side matches it",
        "sync-worker sync SYSTEM KEY",
    ),
    "direction": ("the flow's direction does not lead there", "change `direction` of the flow"),
    "other_company": (
        "this CRM record belongs to another ERP company ({company})",
        "a customer in this one too: sync-worker sync SYSTEM KEY --flow FLOW",
    ),
    "needs_company": (
        "several ERP companies share the CRM, and the record does not say which of them it belongs to",
        "fill the CRM's company column, or choose: sync-worker sync SYSTEM KEY --flow FLOW",
    ),
    "never": (
        "the flow never creates records there",
        "fill the CRM's key column, or change create_in_erp / create_in_crm",
    ),
    # excluded, unlinked
    "filter": ("the flow's filter {filter} leaves it out", "change the record or the filter"),
    "removed": (
        "its record was removed on the {side} side; the other one stays as it is",
        "a new partner: sync-worker sync SYSTEM KEY",
    ),
    "unlinked": (
        "a person unlinked it",
        "sync-worker links link --flow FLOW --erp KEY --crm KEY, or a new partner: sync-worker sync SYSTEM KEY",
    ),
}

RETRY = "correct the record, or retry: sync-worker replay --link LINK"
_WORDS = re.compile(r"--erp KEY|--crm KEY|SYSTEM KEY|\b(?:FLOW|FIELD|LINK)\b")

# What stands for a parameter where a cause is told of many records, and of whose data nothing may be said.
_OF_MANY = {
    "company": "each record says which",
    "error": "each record says why",
    "fields": "some fields",
    "filter": "of the flow",
    "link": "each record says which",
    "reason": "each record says why",
    "side": "other",
    "sub_company": "of each record",
    "waiting_on": "some keys",
    "why": "each record says why",
}


def text(code: str, params: Mapping[str, Any] | None) -> str:
    """What a cause means, with its parameters filled in; an unknown code (a vendor's error class) speaks for itself."""
    template = CAUSES.get(code, (code.replace("_", " ") + ": {reason}", ""))[0]
    return template.format_map(_Filled(params or {}))


def general_text(code: str, **known: str) -> str:
    """What a cause means of many records at once, whose parameters differ; ``known``: those that are the same."""
    return text(code, {**_OF_MANY, **known})


def next_step(code: str, known: Mapping[str, str] | None = None) -> str:
    """The one thing that moves the record on, as a command where there is one.

    ``known``: what stands for the command's words (``FLOW``, ``SYSTEM KEY``, ``--erp KEY``, ``FIELD``, …); a word that
    is not known stays for a person to fill in.
    """
    step = CAUSES.get(code, ("", RETRY))[1]
    return _WORDS.sub(lambda word: (known or {}).get(word[0], word[0]), step)


class _Filled(dict[str, Any]):
    """Parameters as words; a missing one reads as an ellipsis instead of failing the explanation."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        known = {k: v for k, v in params.items() if v is not None}
        words = {k: ", ".join(map(str, v)) if isinstance(v, list | dict) else v for k, v in known.items()}
        super().__init__({**words, **({"fields": "the whole record"} if words.get("fields") == "" else {})})

    def __missing__(self, key: str) -> str:
        return "the system" if key == "system" else "…"

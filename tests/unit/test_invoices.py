"""Which invoice counts (LAY-2), as a table; and the note that the how-to shows."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.invoices import final_since
from mappings.canonical import Invoice
from mappings.intacct import invoice_state
from sync_worker.connectors.sage_crm.hooks import read_hook
from sync_worker.routing import dates, dates_of

HOWTO = Path(__file__).parents[2] / "docs/howto/first-invoice.md"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("state", "was_draft", "since"),
    [
        ("final", False, 100.0),  # surely made final after it was made
        ("final", True, 200.0),  # seen as a draft: final with its last change
        ("draft", False, None),
        ("draft", True, None),
        ("void", False, None),
        ("void", True, None),
        ("other", True, None),
    ],
)
def test_lay_2_an_invoice_counts_from_the_moment_it_was_surely_not_final(
    state: Any, was_draft: bool, since: float | None
) -> None:
    assert final_since(Invoice("9", "43", state, 100.0, 200.0), was_draft) == since


def test_lay_2_an_invoice_of_nobody_or_of_unknown_age_does_not_count() -> None:
    assert final_since(Invoice("9", None, "final", 100.0, 200.0), True) is None
    assert final_since(Invoice("9", "43", "final"), False) is None


@pytest.mark.parametrize("state", [None, "", "Posted", 7, "unheard of"])
def test_a_state_nobody_has_heard_of_concludes_nothing(state: object) -> None:
    assert invoice_state(state) == "other"


def test_invoices_are_dated_by_one_handler_only() -> None:
    assert dates_of("invoice") is final_since
    with pytest.raises(ValueError, match="two handlers for invoice"):
        dates("invoice")(final_since)


def test_the_announcement_in_the_how_to_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    sent: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> SimpleNamespace:
        sent.append(request)
        return SimpleNamespace(status=200)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102  our own page
    assert names["announce"]("https://sync.example.com/hooks/crm", SECRET, "INV-9", "43") == 200
    headers = {name.lower(): value for name, value in sent[0].headers.items()}
    now = float(headers["webhook-timestamp"])
    assert isinstance(sent[0].data, bytes)
    (change,) = read_hook("crm", SECRET, headers, sent[0].data, now)
    assert (change.entity, change.key, change.op, change.customer) == ("invoice", "INV-9", "finalised", "43")

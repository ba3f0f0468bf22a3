"""Random lives of linked customers: edits on both sides, lost and doubled notices, stale reads, failing calls, crashes.

The machine plays, then everything is run to rest and judged from the vendors' ledgers (support/judge.py). Hypothesis
prints how to repeat a failure. SYNC_SECONDS: how long lives are played (60); SYNC_EXAMPLES: exactly so many instead.
"""

from __future__ import annotations

import os
import time
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from support.judge import in_step
from support.lives import Life

SECONDS = float(os.environ.get("SYNC_SECONDS", "60"))
EXAMPLES = int(os.environ.get("SYNC_EXAMPLES", "0"))
FIRST_LIVES = 5  # played to learn how long one takes here: half a second to three


class InvoicedLife(Life):
    """The same, where customers of the ERP are pushed by their first final invoice only (LAY-2)."""

    FLOW = 'create_in_crm = "on_first_invoice"'

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[str] = []
        self.invoiced: set[str] = set()  # names of customers that have had a final invoice

    def newcomers(self) -> dict[str, str]:
        """Name -> key of the customers made in the ERP."""
        made = {name for side, name in self.made if side == "erp"}
        rows = [row for row in self.world.erp.list_records("customer") if row["name"] in made]
        return {row["name"]: row["key"] for row in rows}

    @rule(number=st.integers(0, 3), state=st.sampled_from(["draft", "posted"]))
    def somebody_makes_an_invoice(self, number: int, state: str) -> None:
        found = sorted(self.newcomers().items())
        if found:
            name, customer = found[number % len(found)]
            columns = {"customer.key": customer, "invoiceDate": "2026-11-22", "state": state}
            key = self.world.erp.person("invoice", None, columns, "create")
            if state == "draft":
                self.drafts.append(key)
            else:
                self.invoiced.add(name)

    @rule()
    def somebody_posts_a_draft(self) -> None:
        if self.drafts:
            key = self.drafts.pop()
            self.world.erp.person("invoice", key, {"state": "posted"})
            found = self.world.erp.get_record("invoice", key)
            assert found is not None
            self.invoiced.add(found["customer.name"])

    def judge_creates(self) -> None:
        """Companies have one customer each; customers have one company each, if and only if they were invoiced."""
        companies = [row for row in self.world.crm.list_records("Company") if not row["Comp_Deleted"]]
        for side, name in self.made:
            customers = [row for row in self.world.erp.list_records("customer") if in_step(row["name"], name)]
            found = [row for row in companies if in_step(row["Comp_Name"], name)]
            wanted = 1 if side == "crm" or name in self.invoiced else 0
            assert (len(customers), len(found)) == (1, wanted), (side, name, self.invoiced, self.world.links())
        states = {row["state"] for row in self.world.links()}
        assert states <= {"in_sync", "conflict", "not_synced"}, self.world.links()


class InterruptedLife(Life):
    """Few fields of one customer, edited and put back, and writes that fail or whose end nobody learns."""

    FEW: ClassVar = {
        "name": "website",
        "website": "website",
        "tax_number": "tax_number",
        "email": "email",
        "city": "tax_number",
    }
    somebody_creates = somebody_forges_a_notice = the_feeds_are_polled = None  # type: ignore[assignment]  # no rules
    notices_arrive_doubled_and_in_another_order = reads_become_stale = None  # type: ignore[assignment]
    reads_are_fresh_again = somebody_edits_in_the_middle_of_a_pass = None  # type: ignore[assignment]


def lives(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(600 + 10 * EXAMPLES)  # a failure is made smaller before it is told, which takes its time
@pytest.mark.parametrize(("life", "share"), [(Life, 0.6), (InvoicedLife, 0.2), (InterruptedLife, 0.2)])
def test_whatever_happens_both_sides_end_in_step_and_nothing_is_lost_or_doubled(life: type[Life], share: float) -> None:
    if EXAMPLES:
        run_state_machine_as_test(life, settings=lives(max(1, round(share * EXAMPLES))))
        return
    began, budget = time.monotonic(), share * SECONDS
    run_state_machine_as_test(life, settings=lives(FIRST_LIVES))
    spent = time.monotonic() - began
    if spent < budget:
        run_state_machine_as_test(life, settings=lives(max(1, round((budget - spent) / spent * FIRST_LIVES))))

"""A claimed row is read after the claim's commit, and what is saved is written down before its own (ADR 16)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from support.rules import FLOW, Make, api_writes, pair, row_of, three_due_links
from sync_worker.store import leases, links
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link
from sync_worker.store.waiting import Scope

SCOPE = Scope("customers", "customer", ("erp", "crm"))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    yield from three_due_links(database_url)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Something happens once between a claim's commit and the reading of its rows."""

    def happens(act: Callable[[], object]) -> None:
        plain = leases.held

        def held(db: Database, tokens: Mapping[int, int]) -> list[LinkRow]:
            monkeypatch.setattr(leases, "held", plain)
            act()
            return plain(db, tokens)

        monkeypatch.setattr(leases, "held", held)

    return happens


def test_e1_what_is_edited_between_claim_and_read_is_answered_by_the_same_pass(
    make: Make, between: Callable[[Callable[[], object]], None]
) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Northwind Tool Works")
    world.deliver()
    before = api_writes(world)

    def edited_again() -> None:
        world.edit_crm(one.crm, Comp_Name="Northwind Works")
        world.deliver()

    between(edited_again)
    assert world.app.engine.run_due(FLOW, "live").claimed == 1
    assert world.erp_record(one.erp)["name"] == "Northwind Works"
    assert api_writes(world)["erp"] == before["erp"] + 1
    row = row_of(world, crm=one.crm)
    assert (row.crm_done, row.state) == (row.crm_dirty, "in_sync")


def test_e3_a_link_that_somebody_else_took_between_claim_and_read_is_not_worked_on(
    db: Database, between: Callable[[Callable[[], object]], None]
) -> None:
    taken = update(link).where(link.c.erp_key == "8").values(lease_token=link.c.lease_token + 1)
    between(lambda: db.run(lambda conn: conn.execute(taken)))
    assert [row.erp_key for row in leases.claim(db, SCOPE, limit=3)] == ["7", "9"]


def test_e17_a_link_that_was_absorbed_between_claim_and_read_is_not_worked_on(
    db: Database, between: Callable[[Callable[[], object]], None]
) -> None:
    between(lambda: db.run(lambda conn: conn.execute(delete(link).where(link.c.erp_key == "9"))))
    assert [row.erp_key for row in leases.claim(db, SCOPE, limit=3)] == ["7", "8"]


def test_e4_a_database_that_goes_away_between_claim_and_read_loses_nothing(
    make: Make, between: Callable[[Callable[[], object]], None]
) -> None:
    """Nobody knows whether its claim is held any more: the lease runs out, and the link is taken again."""
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Northwind Works")
    world.deliver()

    def gone() -> None:
        raise OperationalError("SELECT", {}, Exception("the connection is closed"))

    between(gone)
    with pytest.raises(OperationalError):
        world.app.engine.run_due(FLOW, "live")
    assert row_of(world, crm=one.crm).claims == 1
    assert world.app.engine.run_due(FLOW, "live").claimed == 0
    world.clock.advance(leases.LEASE + 1)
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Northwind Works"


VALUES = [None, {}, {"a": ""}, {"a": 0, "b": False, "c": None}, {"a": [], "b": "null"}, {"ü": "„Größe“ \u2028 \\ '"}]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_what_is_written_down_before_a_save_is_what_was_given(db: Database, value: dict[str, Any] | None) -> None:
    [row] = leases.claim(db, SCOPE, limit=1)
    row.memory = row.cause_params = row.erp_was = row.crm_children = row.intent = row.was_linked_to = value
    entry = {"what": "update", "before": value, "after": value, "why": "a test"}
    assert links.save(db, [Save(row, keep_lease=True, journal=[entry])]).lost == set()
    held = leases.renew(db, [row], {row.id: value or {}})
    [stored] = leases.held(db, {row.id: row.lease_token})
    assert held == {row.id}
    assert [stored.cause_params, stored.erp_was, stored.crm_children, stored.intent, stored.was_linked_to] == [
        value
    ] * 5
    assert stored.memory == (value or {})
    with db.read() as conn:
        assert conn.execute(select(journal.c.before, journal.c.after)).one() == (value, value)

"""What a worker does about links that are left due when a batch has ended, against a real queue server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from sync_worker import actors
from sync_worker.broker import BULK, LIVE, NAMESPACE, QueueBroker
from sync_worker.engine.core import Worked
from sync_worker.events import LinkClass
from sync_worker.store.touches import Touched
from sync_worker.wiring import App

pytest_plugins = ("support.queues",)

LEFT = ("customers", "live")


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(actors, "GO_ON_SECONDS", 3600.0)


@dataclass
class Scripted:
    """An engine whose batches end as told; ``ran``: flow and class of each, or the link that was rung for."""

    ends: Sequence[Worked]
    ran: list[object] = field(default_factory=list)

    def run_due(self, flow: str, klass: LinkClass) -> Worked:
        self.ran.append((flow, klass))
        return self.ends[len(self.ran) - 1]

    def run_link(self, link_id: int) -> Worked:
        self.ran.append(link_id)
        return self.ends[len(self.ran) - 1]


def bound(queue: QueueBroker, *ends: Worked) -> Scripted:
    """The actors of this process, over such an engine."""
    engine = Scripted(ends)
    actors.bind(cast(App, SimpleNamespace(engine=engine)), queue)
    return engine


def rung(queue: QueueBroker) -> int:
    """Messages on both queues."""
    return sum(queue.client.llen(f"{NAMESPACE}:{name}") for name in (LIVE, BULK))


def test_what_is_left_due_is_worked_on_without_a_message_for_each_batch(queue: QueueBroker) -> None:
    engine = bound(queue, Worked(100, more=LEFT), Worked(100, more=LEFT), Worked(7))
    actors.sync_due(*LEFT)
    assert engine.ran == [LEFT] * 3
    assert rung(queue) == 0


def test_neighbours_of_a_single_edit_are_worked_on_at_once(queue: QueueBroker) -> None:
    engine = bound(queue, Worked(1, more=LEFT), Worked(3))
    actors.sync_link(9)
    assert engine.ran == [9, LEFT]
    assert rung(queue) == 0


def test_after_its_time_an_actor_rings_for_the_rest_so_that_other_flows_have_their_turn(
    queue: QueueBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "GO_ON_SECONDS", 0.0)
    engine = bound(queue, Worked(100, more=LEFT))
    actors.sync_due(*LEFT)
    assert engine.ran == [LEFT]
    assert rung(queue) == 1


def test_links_due_again_ring_once_if_they_are_of_another_class_and_not_at_all_if_the_actor_goes_on_with_theirs(
    queue: QueueBroker,
) -> None:
    again = (Touched(1, "customers", "customer", "live"), Touched(2, "customers", "customer", "bulk"))
    engine = bound(queue, Worked(100, again, LEFT), Worked(7))
    actors.sync_due(*LEFT)
    assert engine.ran == [LEFT] * 2
    assert (queue.client.llen(f"{NAMESPACE}:{LIVE}"), queue.client.llen(f"{NAMESPACE}:{BULK}")) == (0, 1)

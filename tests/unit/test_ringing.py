"""The ringing thread under a burst: a lone edit rings at once, a burst rings now and then, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import LIVE, QueueBroker
from sync_worker.doorbell import Doorbell, RingingThread
from sync_worker.events import LinkClass
from sync_worker.store.touches import Touched


@pytest.fixture
def queue() -> Iterator[QueueBroker]:
    server = QueueServer()
    made = broker.make_broker(server.url)
    yield made
    made.close()
    server.close()


def touched(link_id: int, flow: str = "customers", klass: LinkClass = "live") -> Touched:
    return Touched(link_id, flow, "customer", klass)


def rings(queue: QueueBroker) -> int:
    return broker.queue_length(queue.client, LIVE)


def test_a_lone_edit_rings_without_waiting_for_others(queue: QueueBroker) -> None:
    ringing = RingingThread(Doorbell(queue), gather=60)
    ringing.ring([touched(1)])
    until(lambda: rings(queue) == 1, seconds=5)
    ringing.close()


def test_a_burst_of_commits_for_one_flow_costs_one_more_ring_per_gathering_time(queue: QueueBroker) -> None:
    ringing = RingingThread(Doorbell(queue), gather=0.3)
    ringing.ring([touched(1)])
    until(lambda: rings(queue) == 1)
    begun = time.monotonic()
    for link_id in range(2, 100):
        ringing.ring([touched(link_id)])
    until(lambda: rings(queue) == 2)
    assert time.monotonic() - begun > 0.1
    ringing.close()
    assert rings(queue) == 2


def test_another_flow_rings_at_once_while_one_is_being_gathered(queue: QueueBroker) -> None:
    ringing = RingingThread(Doorbell(queue), gather=60)
    for flow in ("customers", "invoices"):
        ringing.ring([touched(1, flow=flow)])
    until(lambda: rings(queue) == 2, seconds=5)
    ringing.close()


def test_what_is_being_gathered_is_rung_for_at_the_end(queue: QueueBroker) -> None:
    ringing = RingingThread(Doorbell(queue), gather=60)
    ringing.ring([touched(1)])
    until(lambda: rings(queue) == 1)
    ringing.ring([touched(2)])
    ringing.close()
    assert rings(queue) == 2

"""The queue's settings and the rings, against a real queue server."""

from __future__ import annotations

import json
import socket
import threading

import pytest
import redis
import structlog
from dramatiq import Consumer, MessageProxy
from dramatiq.middleware import Retries, TimeLimit
from structlog.testing import capture_logs

from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import BULK, LIVE, NAMESPACE, QueueBroker
from sync_worker.doorbell import Doorbell, RingingThread, link_message, messages_for
from sync_worker.errors import ConfigError
from sync_worker.events import LinkClass
from sync_worker.ringer import LINKS_PER_RING, plan_rings
from sync_worker.store.touches import Touched

pytest_plugins = ("support.queues",)


def touched(link_id: int, flow: str = "customers", klass: LinkClass = "live") -> Touched:
    return Touched(link_id, flow, "customer", klass)


def waiting_in(queue: QueueBroker, name: str) -> list[tuple[str, list[object]]]:
    """(actor, arguments) of every message on a queue, oldest first."""
    ids = queue.client.lrange(f"{NAMESPACE}:{name}", 0, -1)
    bodies = [json.loads(queue.client.hget(f"{NAMESPACE}:{name}.msgs", each) or "") for each in ids]
    return [(body["actor_name"], body["args"]) for body in bodies]


def test_nothing_retries_delays_or_interrupts_a_message(queue: QueueBroker) -> None:
    assert not any(isinstance(one, Retries | TimeLimit) for one in queue.middleware)
    assert queue.get_declared_queues() == {LIVE, BULK}
    assert queue.get_declared_delay_queues() == set()
    with pytest.raises(ValueError, match="due_at"):
        queue.enqueue(link_message(1, "live"), delay=1000)


def test_heartbeat_and_maintenance_are_as_measured(queue: QueueBroker) -> None:
    assert (queue.heartbeat_timeout, queue.maintenance_chance) == (30_000, 100_000)


def test_a_script_never_times_out_on_the_socket_and_tcp_is_kept_alive() -> None:
    client = broker.connect("redis://127.0.0.1:6379/3")
    options = client.connection_pool.connection_kwargs
    assert options["socket_timeout"] is None
    assert options["socket_keepalive"] is True
    assert options["socket_keepalive_options"][socket.TCP_KEEPINTVL] == 5
    assert options["db"] == 3


def test_an_option_of_the_address_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"queue\.url asks for an option"):
        broker.connect("redis://q/0?socket_timeout=soon")


def test_a_worker_fetches_no_more_than_its_threads_can_do(queue: QueueBroker) -> None:
    worker = broker.make_worker(queue, 6)
    assert (worker.queue_prefetch, worker.worker_threads) == (6, 6)


def test_a_consumer_waits_at_the_server_instead_of_asking_again_and_again(queue: QueueBroker) -> None:
    consumer = queue.consume(LIVE, prefetch=8)
    assert next(consumer) is None  # loads the scripts
    queue.client.config_resetstat()
    assert [next(consumer) for _ in range(2)] == [None, None]
    asked: dict[str, dict[str, int]] = queue.client.info("commandstats")
    assert asked["cmdstat_blmove"]["calls"] == 2
    assert asked["cmdstat_evalsha"]["calls"] == 2


def test_a_message_ends_the_wait_and_is_fetched_at_once(queue: QueueBroker) -> None:
    consumer = queue.consume(LIVE, prefetch=8)
    assert next(consumer) is None  # an empty queue: the next look waits first
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(next(consumer)))
    waiting.start()
    until(lambda: blocked(queue) == 1)
    Doorbell(queue).send([link_message(7, "live")])
    waiting.join(10)
    assert [message.args for message in found if isinstance(message, MessageProxy)] == [(7,)]
    assert queue.client.llen(f"{NAMESPACE}:{LIVE}") == 0


def blocked(queue: QueueBroker) -> int:
    answer: dict[str, int] = queue.client.info("clients")
    return answer["blocked_clients"]


def test_bulk_work_leaves_half_of_the_threads_to_live_work(queue: QueueBroker) -> None:
    def fetched_at_once(name: str, threads: int) -> int:
        queue.client.flushall()
        Doorbell(queue).send([link_message(number, "live" if name == LIVE else "bulk") for number in range(20)])
        next(queue.consume(name, prefetch=threads))
        return 20 - broker.queue_length(queue.client, name)

    assert fetched_at_once(LIVE, 8) == 8
    assert fetched_at_once(BULK, 8) == 4
    assert fetched_at_once(BULK, 1) == 1


def test_a_single_touched_link_rings_itself(queue: QueueBroker) -> None:
    Doorbell(queue).ring([touched(7)])
    assert waiting_in(queue, LIVE) == [("sync_link.live", [7])]


def test_several_links_of_a_flow_and_class_ring_once(queue: QueueBroker) -> None:
    Doorbell(queue).ring([touched(1), touched(2), touched(3), touched(9, flow="invoices")])
    assert waiting_in(queue, LIVE) == [("sync_due.live", ["customers", "live"]), ("sync_link.live", [9])]


def test_bulk_links_ring_on_their_own_queue_and_retries_with_the_live_ones(queue: QueueBroker) -> None:
    Doorbell(queue).ring([touched(1, klass="bulk"), touched(2, klass="retry")])
    assert waiting_in(queue, BULK) == [("sync_link.bulk", [1])]
    assert waiting_in(queue, LIVE) == [("sync_link.live", [2])]


def test_one_ring_never_becomes_two_for_the_same_flow_and_class() -> None:
    again = [touched(1), touched(2)]
    assert len(messages_for(again, more=("customers", "live"))) == 1
    assert len(messages_for([touched(1)], more=("customers", "live"))) == 1
    assert len(messages_for(again, more=("customers", "bulk"))) == 2


def test_messages_carry_ids_only(queue: QueueBroker) -> None:
    Doorbell(queue).ring([touched(7)])
    [body] = queue.client.hvals(f"{NAMESPACE}:{LIVE}.msgs")
    assert json.loads(body)["args"] == [7]
    assert json.loads(body)["kwargs"] == {}


def test_a_queue_server_that_is_away_is_logged_once_and_never_raised() -> None:
    structlog.reset_defaults()
    doorbell = Doorbell(broker.make_broker("unix:///nonexistent/socket"))
    with capture_logs() as logs:
        doorbell.ring([touched(1)])
        doorbell.ring([touched(2)])
    assert [(entry["event"], entry["queue"], entry["log_level"]) for entry in logs] == [
        ("queue.away", "/nonexistent/socket", "error")
    ]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://:hunter2@queue.example:6999/3", "queue.example:6999"),
        ("rediss://ivy:hunter2@queue.example", "queue.example:6379"),
        ("unix://:hunter2@/run/queue.sock", "/run/queue.sock"),
    ],
)
def test_a_queue_server_is_named_by_its_place_without_user_and_password(url: str, place: str) -> None:
    assert broker.place_of(broker.connect(url)) == place


@pytest.mark.parametrize(
    "option", ["foo=1", "ssl=false", "ssl_verify=no", "socket_timeout=soon", "health_check_interval=x"]
)
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_an_option_of_the_queue_s_address_that_its_client_does_not_know_is_refused_at_once(
    scheme: str, option: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        broker.connect(f"{scheme}://:hunter22@queue.example/0?{option}")
    assert str(refused.value) == "queue.url asks for an option that is none"


def test_a_queue_server_that_stays_away_is_told_of_once_a_minute_and_once_when_it_is_back() -> None:
    structlog.reset_defaults()
    now = [0.0]
    watch = broker.Watch(broker.connect("redis://127.0.0.1:6999"), lambda: now[0])
    with capture_logs() as logs:
        for now[0] in range(121):
            watch.away(redis.ConnectionError("Error 111"))
        watch.back()
        watch.back()
        watch.away(redis.ConnectionError("Error 111"))
    assert [entry["event"] for entry in logs] == ["queue.away"] * 3 + ["queue.back", "queue.away"]
    assert logs[0]["queue"] == "127.0.0.1:6999"
    assert "REDIS_URL" in logs[0]["todo"]


def test_a_consumer_that_is_not_connected_does_not_tell_of_every_try(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = broker.make_broker("unix:///nonexistent/socket")
    tries: list[str] = []
    consume = queue.consume

    def trying(queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        tries.append(queue_name)
        return consume(queue_name, prefetch, timeout)

    monkeypatch.setattr(queue, "consume", trying)
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 0.01)
    worker = broker.make_worker(queue, 1)
    worker.start()
    until(lambda: tries.count(LIVE) > 3 and tries.count(BULK) > 3)
    worker.stop()
    assert [record.getMessage() for record in caplog.records if "connection" in record.getMessage()] == []


def test_rings_are_heard_again_after_the_server_came_back() -> None:
    server = QueueServer()
    queue = broker.make_broker(server.url)
    doorbell = Doorbell(queue)
    doorbell.ring([touched(1)])
    server.kill()
    assert doorbell.send([link_message(2, "live")]) is False
    server.start()
    until(lambda: doorbell.send([link_message(3, "live")]))
    assert waiting_in(queue, LIVE) == [("sync_link.live", [3])]
    queue.close()
    server.close()


def test_the_ringing_thread_merges_what_waits_and_rings_it_before_it_closes(queue: QueueBroker) -> None:
    gate = threading.Event()

    class Slow(Doorbell):
        def send(self, messages: object) -> bool:
            gate.wait(10)
            return super().send(messages)  # type: ignore[arg-type]  # passed on as it came

    ringing = RingingThread(Slow(queue))
    ringing.ring([touched(1)])
    until(lambda: not ringing._links)
    for link_id in (2, 3, 3):
        ringing.ring([touched(link_id)])
    ringing.ring([touched(4, flow="invoices")])
    ringing.ring([touched(4, flow="invoices")])
    ringing.ring_parts("crm")
    gate.set()
    ringing.close()
    assert waiting_in(queue, LIVE) == [
        ("sync_link.live", [1]),
        ("sync_due.live", ["customers", "live"]),
        ("sync_link.live", [4]),
        ("resolve_parts.live", ["crm"]),
    ]


def test_the_length_of_a_queue_counts_what_nobody_has_fetched(queue: QueueBroker) -> None:
    Doorbell(queue).ring([touched(1)])
    assert broker.queue_length(queue.client, LIVE) == 1
    assert broker.queue_length(queue.client, BULK) == 0


def test_threads_count_as_up_while_their_worker_reports(queue: QueueBroker) -> None:
    client: redis.Redis = queue.client
    broker.report_worker(client, "host:1", 4)
    broker.report_worker(client, "host:2", 8)
    assert broker.threads_up(client) == 12
    broker.forget_worker(client, "host:2", 8)
    assert broker.threads_up(client) == 4
    client.zadd(f"{NAMESPACE}:__workers__", {"host:1/4": 1.0})
    assert broker.threads_up(client) == 0


def test_live_is_rung_before_retries_and_retries_before_bulk() -> None:
    due: list[tuple[str, str, LinkClass, int, float]] = [
        ("a", "customer", "bulk", 1, 1.0),
        ("a", "customer", "retry", 1, 2.0),
        ("a", "customer", "live", 1, 3.0),
    ]
    assert plan_rings(due, {LIVE: 9, BULK: 9}) == [("a", "live"), ("a", "retry"), ("a", "bulk")]
    assert plan_rings(due, {LIVE: 1, BULK: 0}) == [("a", "live")]


def test_a_large_flow_gets_more_rings_but_never_hides_a_small_one() -> None:
    due: list[tuple[str, str, LinkClass, int, float]] = [
        ("large", "customer", "live", 3 * LINKS_PER_RING, 1.0),
        ("small", "customer", "live", 1, 2.0),
    ]
    assert plan_rings(due, {LIVE: 2}) == [("large", "live"), ("small", "live")]
    assert plan_rings(due, {LIVE: 9}).count(("large", "live")) == 3
    assert plan_rings(due, {LIVE: 9}).count(("small", "live")) == 1


def test_nothing_is_rung_while_the_queue_is_long_enough() -> None:
    assert plan_rings([("a", "customer", "live", 500, 1.0)], {LIVE: 0, BULK: 4}) == []
    assert plan_rings([("a", "customer", "live", 500, 1.0)], {LIVE: -3}) == []

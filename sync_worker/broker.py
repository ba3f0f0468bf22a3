"""Dramatiq on Redis, with the settings that were measured (docs/adr). The queue is a doorbell: SQL is the truth.

No retries (they are lost while Redis is away), no delayed messages (stranded after an outage), no time limit (it raises
in the middle of a transaction) and no dead letters: a message that fails is done, the ringer rings again for what is
still due. Messages carry ids only.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import dramatiq
import dramatiq.worker
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware
from redis.backoff import NoBackoff
from redis.retry import Retry

from sync_worker.errors import ConfigError
from sync_worker.events import LinkClass

if TYPE_CHECKING:
    from sync_worker.config import Config

NAMESPACE = "sync-worker"
LIVE = "live"
BULK = "bulk"
QUEUES: tuple[str, str] = (LIVE, BULK)
QUEUE_OF: dict[LinkClass, str] = {"live": LIVE, "retry": LIVE, "bulk": BULK}

# Seconds a consumer waits at the queue server for a message before it shows a sign of life and looks whether to stop.
BLOCK_SECONDS = 0.5
# A consumer whose threads are all busy looks this often whether one is free again.
BUSY_SECONDS = 0.01
# A worker that sent no sign of life for this long has its unacknowledged messages handed to others.
HEARTBEAT_TIMEOUT_MS = 30_000
# Of a million commands so many look for dead workers.
MAINTENANCE_CHANCE = 100_000
CONNECT_TIMEOUT = 2.0
# After losing the server, consumers and acknowledgements try again this often (dramatiq: 3 and 5 seconds).
RECONNECT_SECONDS = 1
# While the server is away a process says so this often.
REMIND_SECONDS = 60.0
# A worker that did not report for this long counts as down.
REPORT_SECONDS = 5.0

_WORKERS = f"{NAMESPACE}:__workers__"
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

log = structlog.get_logger(__name__)


class Watch:
    """Says of a queue server that is away: at once, then once a minute, and when it is back. For all threads."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place_of(client)
        self._clock = clock
        self._lock = threading.Lock()
        self._told_at: float | None = None

    def look(self, client: redis.Redis) -> None:
        """Ask it now. ``client``: with a time limit."""
        try:
            client.ping()
        except redis.RedisError as error:
            self.away(error)
        else:
            self.back()

    def away(self, error: redis.RedisError) -> None:
        """It did not answer."""
        now = self._clock()
        with self._lock:
            if self._told_at is not None and now - self._told_at < REMIND_SECONDS:
                return
            self._told_at = now
        todo = "start it, or correct REDIS_URL or [queue] url; nothing is synced meanwhile, and nothing is lost"
        log.error("queue.away", queue=self._place, error=type(error).__name__, todo=todo)

    def back(self) -> None:
        """It answered."""
        with self._lock:
            was_away, self._told_at = self._told_at is not None, None
        if was_away:
            log.info("queue.back", queue=self._place)


class QueueBroker(RedisBroker):
    """A ``RedisBroker`` without delay queues, whose bulk work never takes more than half of a process's threads.

    ``watch``: whoever asks the queue server tells it how that ended.
    """

    def __init__(self, client: redis.Redis, *, middleware: list[Middleware]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # dramatiq leaves its Redis broker untyped
            client=client,
            middleware=middleware,
            namespace=NAMESPACE,
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
            maintenance_chance=MAINTENANCE_CHANCE,
        )
        self.watch = Watch(client)
        for queue in QUEUES:
            self.declare_queue(queue)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue and no delay queue beside it: half the polling, and nothing that an outage can strand."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Put a message on its queue. Raises ``ValueError`` when asked to delay it: due times live in SQL."""
        if delay is not None:
            raise ValueError("delayed messages are not used: set due_at in SQL instead")
        return super().enqueue(message)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> dramatiq.Consumer:
        """Consume a queue. Prefetch counts what is being worked on, so halving it keeps threads free for live work."""
        share = max(1, prefetch // 2) if queue_name == BULK else prefetch
        return _WaitingConsumer(super().consume(queue_name, share, timeout=0), self.client, queue_name)

    def close(self) -> None:
        self.client.close()


class _WaitingConsumer(dramatiq.Consumer):
    """Dramatiq's consumer, which sleeps longer and longer between two looks, made to wait at the server instead.

    ``BLMOVE`` of a list's head onto the same list changes nothing and blocks while it is empty: a message is fetched a
    moment after it was put there, and an idle worker asks twice a second instead of fifteen times.
    """

    def __init__(self, looks: Any, client: redis.Redis, queue_name: str) -> None:
        self._looks = looks
        self._client = client
        self._key = f"{NAMESPACE}:{queue_name}"
        self._emptied = False

    def ack(self, message: dramatiq.MessageProxy) -> None:
        self._looks.ack(message)

    def nack(self, message: dramatiq.MessageProxy) -> None:
        self._looks.nack(message)

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        self._looks.requeue(messages)

    def __next__(self) -> dramatiq.MessageProxy | None:
        if self._emptied:
            self._wait()
        message: dramatiq.MessageProxy | None = next(self._looks)
        free = self._looks.outstanding_message_count < self._looks.prefetch
        # A look that got all it had room for has left more there, for all we know.
        self._emptied = free and not self._looks.message_cache
        if message is None and not free:
            time.sleep(BUSY_SECONDS)
        return message

    def _wait(self) -> None:
        try:
            # Fractions of a second are allowed since Redis 6, which is not in the client's types.
            self._client.blmove(self._key, self._key, timeout=BLOCK_SECONDS, src="LEFT", dest="LEFT")  # type: ignore[arg-type]
        except redis.ConnectionError as error:
            raise dramatiq.ConnectionClosed(error) from None  # type: ignore[no-untyped-call]


def connect(url: str, *, timeout: float | None = None) -> redis.Redis:
    """A client for the queue server (``redis://``, ``rediss://`` or ``unix://``).

    For messages no ``timeout`` (seconds): a script that timed out here still runs there, and would be sent twice.
    Callers that only ask questions set one. TCP keepalive ends connections whose other end is gone (about 30 s). One
    immediate retry renews a connection that a restart of the server left behind; more waiting is up to the caller.
    Raises ``ConfigError`` for an option in the URL that is none.
    """
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": CONNECT_TIMEOUT}
    if not url.startswith("unix:"):
        known = {getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)}
        options |= {"socket_keepalive": True, "socket_keepalive_options": known}
    try:
        made = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **options)
        pool = made.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # without connecting: the client looks at options only then
        return made
    except (ValueError, TypeError):
        raise ConfigError("queue.url asks for an option that is none") from None


def place_of(client: redis.Redis) -> str:
    """Where its server is: ``host:port`` or the path of a socket, without user and password."""
    known = client.connection_pool.connection_kwargs
    return str(known["path"]) if "path" in known else f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"


def url_of(config: Config) -> str:
    """The queue server's URL. Raises ``ConfigError`` when none is configured: only ``run`` brings its own server."""
    if not config.queue.url:
        raise ConfigError("queue.url is not set: give [queue] url or REDIS_URL; only `sync-worker run` brings a server")
    return str(config.queue.url)


def make_broker(url: str) -> QueueBroker:
    """The broker for ``url``, with both queues declared. Connects on first use: a server that is away is no error."""
    return QueueBroker(connect(url), middleware=[])


def make_worker(broker: QueueBroker, threads: int) -> dramatiq.Worker:
    """A worker over all queues; prefetch is sized to its threads, so none hoards what others could do."""
    dramatiq.worker.CONSUMER_RESTART_DELAY_SECS = RECONNECT_SECONDS
    dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS = RECONNECT_SECONDS
    for queue in QUEUES:
        logging.getLogger(f"dramatiq.worker.ConsumerThread({queue})").addFilter(_is_no_lost_connection)
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=int(BLOCK_SECONDS * 1000))
    worker.queue_prefetch = threads
    return worker


def _is_no_lost_connection(record: logging.LogRecord) -> bool:
    """A consumer says of every try, once a second, that it is not connected; our ``Watch`` tells of that."""
    return "connection error" not in str(record.msg)


def queue_length(client: redis.Redis, queue: str) -> int:
    """Messages that no worker has fetched yet. Raises ``redis.RedisError``."""
    return int(client.llen(f"{NAMESPACE}:{queue}"))


def report_worker(client: redis.Redis, name: str, threads: int) -> None:
    """A worker process says that it is up, about once a second. Raises ``redis.RedisError``."""
    now = time.time()
    with client.pipeline(transaction=False) as pipe:
        pipe.zadd(_WORKERS, {f"{name}/{threads}": now})
        pipe.zremrangebyscore(_WORKERS, 0, now - 60)
        pipe.execute()


def forget_worker(client: redis.Redis, name: str, threads: int) -> None:
    """A worker process says that it ends. Raises ``redis.RedisError``."""
    client.zrem(_WORKERS, f"{name}/{threads}")


def threads_up(client: redis.Redis) -> int:
    """Worker threads of all processes that reported lately. Raises ``redis.RedisError``."""
    return sum([int(member.rpartition(b"/")[2]) for member in _reported(client, REPORT_SECONDS)])


def hosts_up(client: redis.Redis) -> set[str]:
    """Names of the hosts (or containers) whose workers reported within a minute. Raises ``redis.RedisError``."""
    return {member.rpartition(b":")[0].decode() for member in _reported(client, 60.0)}


def _reported(client: redis.Redis, seconds: float) -> list[bytes]:
    members: Any = client.zrangebyscore(_WORKERS, time.time() - seconds, "+inf")
    return list(members)

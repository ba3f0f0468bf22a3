"""The call slots as the queue server holds them: an expiring member each in one sorted set per system."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis

from sync_worker.connectors.limiter import QUIET

# Takes a slot (2) or confirms one that stands (1). Expired ones (their process died) are removed first; the server's
# clock decides, not the workers'. Who finds none and has less than its share (ARGV[5]) leaves word for a moment; who
# confirms a slot and finds another's word gives that slot up. Live work (ARGV[6]) leaves a mark for QUIET (ARGV[7] ms);
# while it stands, other work neither takes nor keeps the last slot.
_ACQUIRE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local limit = tonumber(ARGV[2])
if ARGV[6] == '1' then
    redis.call('SET', KEYS[3], '1', 'PX', ARGV[7])
elseif limit > 1 and redis.call('EXISTS', KEYS[3]) == 1 then
    limit = limit - 1
end
local stands = redis.call('ZSCORE', KEYS[1], ARGV[1])
if stands then
    local waiting = redis.call('GET', KEYS[2])
    if (waiting and waiting ~= ARGV[4]) or redis.call('ZCARD', KEYS[1]) > limit then
        redis.call('ZREM', KEYS[1], ARGV[1])
        return 0
    end
elseif redis.call('ZCARD', KEYS[1]) >= limit then
    if ARGV[5] == '1' then redis.call('SET', KEYS[2], ARGV[4], 'PX', 150) end
    return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return stands and 1 or 2
"""

# Would a slot that stands be confirmed (1)? Nothing changes: it may be in use.
_LOOK = """
local t = redis.call('TIME')
local until_ms = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not until_ms or tonumber(until_ms) <= t[1] * 1000 + math.floor(t[2] / 1000) then return 0 end
local limit = tonumber(ARGV[2])
if limit > 1 and redis.call('EXISTS', KEYS[3]) == 1 then limit = limit - 1 end
local waiting = redis.call('GET', KEYS[2])
return ((waiting and waiting ~= ARGV[3]) or redis.call('ZCARD', KEYS[1]) > limit) and 0 or 1
"""

# Prolongs slots (ARGV[2] on) that still stand: a call may take far longer than a slot lives by itself.
_PROLONG = """
local t = redis.call('TIME')
local to = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', to, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class SlotServer:
    """What one process may ask and tell. Every method raises ``redis.RedisError`` when the server is away.

    ``me``: this process, with which all of its tokens begin. ``seconds``: for which a slot stands unless prolonged.
    """

    def __init__(self, client: redis.Redis, me: str, seconds: float, prefix: str) -> None:
        self._client = client
        self._me = me
        self._ms = int(seconds * 1000)
        self._prefix = prefix
        self._acquire: Any = client.register_script(_ACQUIRE)
        self._look: Any = client.register_script(_LOOK)
        self._prolong: Any = client.register_script(_PROLONG)

    def _keys(self, system: str) -> list[str]:
        """The slots; the word of who waits for one; the mark that somebody live has asked."""
        key = self._prefix + system
        return [key, f"{key}:waiting", f"{key}:live"]

    def take(self, system: str, token: str, limit: int, *, short: bool, live: bool) -> int:
        """2 = taken, 1 = it stood and is confirmed, 0 = not to be had, or given up. ``short``: leave word if so."""
        args = [token, limit, self._ms, self._me, int(short), int(live), int(QUIET * 1000)]
        return int(self._acquire(keys=self._keys(system), args=args))

    def would_confirm(self, system: str, token: str, limit: int) -> bool:
        """Would a slot that is in use be confirmed? Nothing changes."""
        return bool(self._look(keys=self._keys(system), args=[token, limit, self._me]))

    def prolong(self, system: str, tokens: Iterable[str]) -> None:
        self._prolong(keys=[self._prefix + system], args=[self._ms, *tokens])

    def give_back(self, system: str, tokens: Iterable[str]) -> None:
        self._client.zrem(self._prefix + system, *tokens)

    def ours(self, system: str) -> set[str]:
        """All tokens of this process that stand."""
        members: Any = self._client.zrange(self._prefix + system, 0, -1)
        return {m.decode() for m in members if m.decode().startswith(self._me)}

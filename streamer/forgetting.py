"""Streams that nobody publishes any more: which are to be deleted.

One rule for all: no point for as long as the stream's `ttl_s` says, or `default_ttl_s` where its settings say nothing.
Streams with a time of their own are looked at every time; of all others the shards take turns, for there may be a million.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import redis.asyncio

from streamer.contracts import StreamSettings
from streamer.patience import patiently
from streamer.placement import home_partition, shards_of_partition
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import StreamerSettings
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers

PERIOD_S = 30.0
# Publishers' clocks may be wrong by years: a stream is forgotten when it has also got no point for so long by ours.
UNCHANGED_S = 3600.0
SHARDS_A_TIME = 4  # of the owned ones: with 256 all are seen in half an hour


class Forgetting:
    """Looks for streams past their time, of the partitions that this worker owns."""

    def __init__(
        self, settings: StreamerSettings, client: redis.asyncio.Redis, keys: Keys, of: Mapping[str, StreamSettings]
    ) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._of = of
        self._next = time.monotonic() + PERIOD_S
        self._round = 0
        self._old: dict[str, tuple[int, float]] = {}  # streams that look old → points, and since when they are so many

    async def due(self, owned: Iterable[int]) -> dict[str, float]:
        """Streams to be deleted → seconds since their newest point; none when it is not time to look."""
        if time.monotonic() < self._next:
            return {}
        self._next = time.monotonic() + PERIOD_S
        settings, owned = self._settings, set(owned)
        own = [
            stream
            for stream, given in self._of.items()
            if given.ttl_s and home_partition(stream, settings.partitions, settings.partitioner) in owned
        ]
        found = self._past(await self._headers(own), lambda stream: self._of[stream].ttl_s or 0.0)
        if settings.default_ttl_s:
            shards = sorted(shard for p in owned for shard in shards_of_partition(p, settings.partitions))
            for _ in range(min(SHARDS_A_TIME, len(shards))):
                found |= await self._look(shards[self._round % len(shards)])
                self._round += 1
        return found

    async def _look(self, shard: int) -> dict[str, float]:
        members = await patiently(
            redis_name(self._settings), partial(self._client.smembers, self._keys.names(shard)), REDIS_ERRORS
        )
        names = sorted(bytes(name).decode() for name in members if isinstance(name, bytes))
        headers = await self._headers([name for name in names if name not in self._of or not self._of[name].ttl_s])
        old = self._past(headers, lambda stream: self._settings.default_ttl_s)
        for stream in headers.keys() - old.keys():
            self._old.pop(stream, None)
        return {stream: since for stream, since in old.items() if self._unchanged(stream, headers[stream].points)}

    def _unchanged(self, stream: str, points: int) -> bool:
        now = time.monotonic()
        before, since = self._old.setdefault(stream, (points, now))
        if before != points:
            self._old[stream] = (points, now)
            return False
        if now - since < min(UNCHANGED_S, self._settings.default_ttl_s):
            return False
        del self._old[stream]
        return True

    def _past(self, headers: Mapping[str, StreamHeader], ttl_of: Callable[[str], float]) -> dict[str, float]:
        now = time.time()
        return {
            stream: now - header.last_seen_ms / 1000
            for stream, header in headers.items()
            if header.last_seen_ms / 1000 + ttl_of(stream) < now
        }

    async def _headers(self, streams: list[str]) -> dict[str, StreamHeader]:
        read = partial(read_headers, self._client, self._keys, streams, self._settings.partitioner)
        return await patiently(redis_name(self._settings), read, REDIS_ERRORS)

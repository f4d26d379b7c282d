"""What a worker reports of itself once a second, for the demo's screen, `up` and operators."""

import time
from collections import defaultdict
from typing import Literal

import orjson
import redis.asyncio
import structlog

from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.windows.keys import Keys

Room = Literal["streamer", "detector", "trainer", "sink"]
log = structlog.get_logger(__name__)
PERIOD_S = 1.0
EXPIRE_S = 10  # a worker that is gone is gone from the picture, too


class Stats:
    """Counters and gauges of one worker, published to `keys.stats(worker)` as JSON."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, worker: str, room: Room) -> None:
        self.counts: defaultdict[str, float] = defaultdict(float)
        self._client = client
        self._key = keys.stats(f"{room}:{worker}")
        self._head = {"room": room, "worker": worker}
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether `publish` would write now."""
        return time.monotonic() >= self._next

    async def publish(self) -> None:
        """Write, at most once in `PERIOD_S`; cheap to call from a loop. While Redis is away nothing is written.

        Raises RefusedError when Redis does not let us write.
        """
        if not self.due:
            return
        self._next = time.monotonic() + PERIOD_S
        body = orjson.dumps({**self._head, "at": time.time(), **self.counts})
        try:
            await self._client.set(self._key, body, ex=EXPIRE_S)
        except REDIS_ERRORS as error:
            raise_if_refused("Redis", error)
            log.debug("stats not written", error=str(error))


async def read_stats(client: redis.asyncio.Redis, keys: Keys) -> list[dict[str, float | str]]:
    """The newest report of every living worker."""
    names = [key async for key in client.scan_iter(match=keys.stats_pattern(), count=1000)]
    pipe = client.pipeline(transaction=False)  # no MGET: of a cluster they lie on several nodes
    for name in names:
        pipe.get(name)
    rows = await pipe.execute() if names else []
    return [orjson.loads(row) for row in rows if row is not None]

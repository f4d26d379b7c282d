"""What a worker reports of itself once a second, for the demo's screen, `up` and operators."""

import time
from collections import defaultdict
from typing import Any, Literal

import orjson
import redis.asyncio
import structlog

from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.windows.keys import Keys

Room = Literal["streamer", "detector", "trainer", "sink", "console"]
log = structlog.get_logger(__name__)
PERIOD_S = 1.0
EXPIRE_S = 10  # a worker that is gone is gone from the picture, too
FORGET_S = 3600.0  # names of workers are kept longer than their reports, so that clocks of hosts may differ


class Stats:
    """Counters and gauges of one worker, published to `keys.stats(worker)` as JSON.

    `counts` are numbers; `facts` is what else the worker says of itself (its partitions, what it reads). What `counts`
    gained per second since the last report stands beside them, under `rates`.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, worker: str, room: Room) -> None:
        self.counts: defaultdict[str, float] = defaultdict(float)
        self.facts: dict[str, Any] = {}
        self._client = client
        self._name = f"{room}:{worker}"
        self._keys = keys
        self._head = {"room": room, "worker": worker, "since": time.time()}
        self._next = 0.0
        self._before: tuple[float, dict[str, float]] | None = None

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
        now = time.time()
        self._next = time.monotonic() + PERIOD_S
        body = orjson.dumps({**self._head, "at": now, "rates": self._rates(), "facts": self.facts, **self.counts})
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._keys.stats(self._name), body, ex=EXPIRE_S)
        pipe.zadd(self._keys.workers(), {self._name: now})
        pipe.zremrangebyscore(self._keys.workers(), "-inf", now - FORGET_S)
        try:
            await pipe.execute()
        except REDIS_ERRORS as error:
            raise_if_refused("Redis", error)
            log.debug("stats not written", error=str(error))

    def _rates(self) -> dict[str, float]:
        now, before = time.monotonic(), self._before
        self._before = (now, dict(self.counts))
        if before is None or now <= before[0]:
            return {}
        elapsed = now - before[0]
        return {name: round((value - before[1].get(name, 0.0)) / elapsed, 3) for name, value in self.counts.items()}


async def read_stats(client: redis.asyncio.Redis, keys: Keys) -> list[dict[str, Any]]:
    """The newest report of every living worker, by name."""
    members: Any = await client.zrange(keys.workers(), 0, -1)
    pipe = client.pipeline(transaction=False)  # no MGET: of a cluster they lie on several nodes
    for name in sorted(name.decode() for name in members):
        pipe.get(keys.stats(name))
    rows = await pipe.execute() if members else []
    return [orjson.loads(row) for row in rows if row is not None]

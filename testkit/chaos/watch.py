"""What is applied of what there is, and for how long nothing moves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.exceptions import RedisError

from streamer.kafka.client import make_consumer
from streamer.placement import shards_of_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys

LOOK_S = 0.5
At = tuple[str, int]  # topic of the contract, partition


@dataclass
class _Standing:
    applied: int = -1
    moved: float = field(default_factory=time.monotonic)
    undisturbed_s: float = 0.0


class Watch:
    """Ends of `metrics` and `windows` and what Redis says is applied of them.

    A partition *stands* while records wait in it and its applied offset does not move. `longest_s` is the longest
    standing by the clock, `undisturbed_s` the longest without the time in which a fault was in place (`faults` above 0).
    """

    def __init__(self, settings: CommonSettings, client: redis.asyncio.Redis) -> None:
        self.faults = 0
        self.longest_s = 0.0
        self.undisturbed_s = 0.0
        self.where = ""  # of the latter
        self.ends: dict[At, int] = {}
        self.applied: dict[At, tuple[int, int]] = {}  # smallest and largest of the shards
        self._settings = settings
        self._client = client
        self._standing: dict[At, _Standing] = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Watch"]:
        """Look twice a second until the end of the block."""
        consumer = await make_consumer(self._settings, None)
        topics = {self._settings.topic(topic): topic for topic in ("metrics", "windows")}
        consumer.assign([TopicPartition(topic, p) for topic in topics for p in range(self._settings.partitions)])
        tasks = [asyncio.create_task(self._read(consumer, topics)), asyncio.create_task(self._look())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer, topics: dict[str, str]) -> None:
        while True:
            for at, records in (await consumer.getmany(timeout_ms=200)).items():
                if records:
                    self.ends[topics[at.topic], at.partition] = records[-1].offset + 1

    async def _look(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(RedisError, OSError):  # it is killed now and then
                await self.load()
            now = time.monotonic()
            for at, end in list(self.ends.items()):
                standing = self._standing.setdefault(at, _Standing())
                applied = self.applied.get(at, (-1, -1))[0]
                if applied != standing.applied or applied + 1 >= end:
                    standing.applied, standing.moved, standing.undisturbed_s = applied, now, 0.0
                elif not self.faults:
                    standing.undisturbed_s += now - before
                self.longest_s = max(self.longest_s, now - standing.moved)
                if standing.undisturbed_s > self.undisturbed_s:
                    self.undisturbed_s = standing.undisturbed_s
                    self.where = f"{at[0]}/{at[1]} at {datetime.now(UTC):%H:%M:%S}"
            before = now

    async def load(self) -> None:
        """Read the applied offsets. Raises RedisError."""
        keys, partitions = Keys(self._settings.namespace), self._settings.partitions
        places = [(topic, p) for topic in ("metrics", "windows") for p in range(partitions)]
        pipe = self._client.pipeline(transaction=False)
        for topic, p in places:
            for shard in shards_of_partition(p, partitions):
                pipe.hget(keys.stream_offset(shard, self._settings.topic(topic), p), "offset")
        found = iter(await pipe.execute())
        for topic, p in places:
            offsets = [int(next(found) or -1) for _ in shards_of_partition(p, partitions)]
            self.applied[topic, p] = (min(offsets), max(offsets))

    def behind(self, topic: str) -> list[str]:
        """Partitions of a topic whose applied offsets are not those of its end."""
        wrong = []
        for (name, partition), end in self.ends.items():
            if name == topic and self.applied.get((name, partition)) != (end - 1, end - 1):
                wrong.append(f"{name}/{partition} ends at {end}, applied {self.applied.get((name, partition))}")
        return wrong

"""What tests between real servers share: a streamer in this process, a producer, and waits that end when it is so."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from streamer.contracts import AnomalyEvent
from streamer.host.embedded import EmbeddedStack
from streamer.kafka.client import make_consumer, make_producer
from streamer.kafka.tables import TableReader
from streamer.placement import home_partition
from streamer.settings import CommonSettings, StreamerSettings
from streamer.worker import StreamerWorker

# Publishers' clock in the tests of the streamer: records are stamped later than any of their points.
NOW_MS = 1_790_000_000_000
# How long a wait may last before the test fails. It ends as soon as the condition holds, so that a busy machine costs
# time only and never a test.
PATIENCE_S = 300.0

W = TypeVar("W", bound="Worker")


class Worker(Protocol):
    """What the three workers have in common."""

    async def run(self) -> None:
        """Work until stopped."""

    def stop(self) -> None:
        """End soon."""


@asynccontextmanager
async def at_work(worker: W) -> AsyncIterator[W]:
    """A worker in this process; its errors come out at the end."""
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


@asynccontextmanager
async def running(settings: CommonSettings, **own: object) -> AsyncIterator[StreamerWorker]:
    """A streamer worker in this process."""
    async with at_work(StreamerWorker(StreamerSettings.model_validate({**settings.model_dump(), **own}))) as worker:
        yield worker


@asynccontextmanager
async def servers_away(folder: Path) -> AsyncIterator[tuple[EmbeddedStack, CommonSettings]]:
    """An embedded stack whose broker and Redis have been killed, and the settings of workers that look for them."""
    stack = EmbeddedStack(folder / "stack")
    await stack.start()
    try:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=folder, log_format="json"
        )
        stack.kill_broker()
        stack.kill_redis()
        yield stack, settings
    finally:
        await stack.stop()


@asynccontextmanager
async def producing(settings: CommonSettings) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer."""
    producer = await make_producer(settings)
    try:
        yield producer
    finally:
        await producer.stop()


async def read_all(settings: CommonSettings, topic: str) -> list[ConsumerRecord]:
    """All records of a topic, partition by partition in order."""
    table = TableReader(settings, topic)
    await table.start()
    try:
        return await table.catch_up()
    finally:
        await table.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds; the test fails when it does not within `PATIENCE_S` seconds."""
    began = time.monotonic()
    while not await condition():
        waited = time.monotonic() - began
        assert waited < PATIENCE_S, "did not happen in time"
        await asyncio.sleep(min(0.02 + waited / 10, 0.3))  # looking costs more than waiting: a client each time, often


async def publish(producer: AIOKafkaProducer, settings: CommonSettings, body: object, **record: object) -> None:
    """One record on `metrics`; it carries a later time stamp than any of its points unless told otherwise."""
    await producer.send_and_wait(
        settings.topic("metrics"), orjson.dumps(body), **{"timestamp_ms": NOW_MS + 10**9, **record}
    )


async def committed(settings: CommonSettings) -> int:
    """The streamer's committed offsets, summed over the partitions of `metrics`: records that are done with."""
    consumer = await make_consumer(settings, settings.topic_prefix + "streamer")
    try:
        offsets = [
            await consumer.committed(TopicPartition(settings.topic("metrics"), p)) for p in range(settings.partitions)
        ]
        return sum(offset or 0 for offset in offsets)
    finally:
        await consumer.stop()


async def send_events(producer: AIOKafkaProducer, settings: CommonSettings, *events: AnomalyEvent) -> None:
    """Events on `anomalies`, where the detector would put them."""
    for each in events:
        await producer.send_and_wait(
            settings.topic("anomalies"),
            each.model_dump_json().encode(),
            key=each.subject.encode(),
            partition=home_partition(each.subject, settings.partitions, settings.partitioner),
        )

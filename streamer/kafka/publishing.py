"""Publishing batches to `metrics`: to the home partition, history marked as such."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streamer.contracts import StreamSettings
from streamer.errors import UnavailableError
from streamer.placement import home_partition
from streamer.record_headers import HEADER_MODE
from streamer.settings import CommonSettings
from streamer.timestamps import NS

History = Literal["auto", "yes", "no"]
HISTORY_HEADERS = [(HEADER_MODE, b"history")]
# The contract's own bound: events older than an hour are historic.
HISTORY_AGE_S = 3600.0
# Acknowledgements waited for together; bounds what is in flight when the broker is slow.
IN_FLIGHT = 500


@dataclass
class Batch:
    """Points of one stream and one channel set: `points` are `[ts, number or None, …]` in input order."""

    stream: str
    channels: tuple[str, ...]
    points: list[list[Any]] = field(default_factory=list)
    newest_ns: int = 0

    def message(self) -> bytes:
        """The value of a `metrics` record."""
        return orjson.dumps({"stream": self.stream, "channels": self.channels, "points": self.points})


async def publish(
    producer: AIOKafkaProducer,
    settings: CommonSettings,
    batches: Iterable[Batch],
    history: History = "auto",
    progress: Callable[[Batch], None] | None = None,
    settings_for: Callable[[Batch], StreamSettings | None] | None = None,
) -> int:
    """Send all batches and wait until each is acknowledged; returns the number of points.

    `auto` marks a batch as history (learnt from, never alerted on) when its newest point is older than an hour.
    `settings_for` gives settings that are to be written to `streams` before a stream's points. Raises UnavailableError
    when the broker does not take them.
    """
    topic = settings.topic("metrics")
    try:
        partitions = len(await producer.partitions_for(topic))
        flying: set[asyncio.Future[object]] = set()
        points = 0
        for batch in batches:
            aged = time.time() - batch.newest_ns / NS > HISTORY_AGE_S
            made = settings_for(batch) if settings_for is not None else None
            if made is not None:
                value = made.model_dump_json(exclude_unset=True).encode()
                flying.add(await producer.send(settings.topic("streams"), value, key=batch.stream.encode()))
            old = aged if history == "auto" else history == "yes"
            flying.add(
                await producer.send(
                    topic,
                    batch.message(),
                    key=batch.stream.encode(),
                    partition=home_partition(batch.stream, partitions, settings.partitioner),
                    headers=HISTORY_HEADERS if old else [],
                )
            )
            points += len(batch.points)
            if progress is not None:
                progress(batch)
            if len(flying) >= IN_FLIGHT:
                await asyncio.gather(*flying)
                flying.clear()
        await asyncio.gather(*flying)
    except KafkaError as error:
        raise UnavailableError(f"Kafka at {settings.bootstrap} did not take the points: {error!r}") from error
    return points

"""How far behind each stage is, in records and in seconds.

Records: the partition's end less what the stage's group has committed. Seconds: the age of the first record that it has
not done. Both come from one fetch at the committed offset, since the embedded broker's own end offsets are wrong.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streamer.kafka.client import fetch, make_consumer
from streamer.overview.cluster import read_committed
from streamer.settings import CommonSettings

# Only the first record of each partition is wanted; a broker sends at least one batch, whatever its size.
FETCH_BYTES = 1 << 20
FETCH_MS = 100
TRIES = 50  # answers without news before a partition counts as unknown: 5 s


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a stage."""

    partition: int
    records: int
    seconds: float  # 0 where nothing waits


@dataclass(frozen=True, slots=True)
class StageLag:
    """A group that reads a topic."""

    stage: str  # streamer, detector, trainer, or a sink's name as sink.NAME
    topic: str  # full name
    group: str
    partitions: list[PartitionLag]
    unknown: list[int]  # partitions of which the broker told nothing in time

    @property
    def records(self) -> int:
        """Records that wait, of all partitions."""
        return sum(part.records for part in self.partitions)

    @property
    def seconds(self) -> float:
        """Age of the oldest of them."""
        return max((part.seconds for part in self.partitions), default=0.0)


class LagReader:
    """Reads lags again and again over one connection."""

    def __init__(self, settings: CommonSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, give_up_after_s: float | None = None) -> None:
        """Connect. Raises RefusedError, UnavailableError."""
        self._consumer = await make_consumer(
            self._settings, None, give_up_after_s=give_up_after_s, fetch_bytes=FETCH_BYTES
        )

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(
        self, admin: AIOKafkaAdminClient, stage: str, topic: str, group: str, partitions: Iterable[int]
    ) -> StageLag:
        """Lag of one group on a topic (full names). Raises KafkaError, RefusedError, UnavailableError."""
        consumer = self._consumer
        assert consumer is not None, "start comes first"
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        committed = await read_committed(self._settings, admin, group, wanted) if wanted else {}
        if not wanted:
            return StageLag(stage, topic, group, [], [])
        begins = await consumer.beginning_offsets(wanted)
        at = {tp: max(committed.get(tp, 0), begins[tp]) for tp in wanted}
        # Assigned anew, so that what is told of them is told by fetches from now on.
        consumer.unsubscribe()
        consumer.assign(wanted)
        for tp, offset in at.items():
            consumer.seek(tp, offset)
        first: dict[TopicPartition, int] = {}  # record time stamp, ms
        ends: dict[TopicPartition, int] = {}
        for _ in range(TRIES):
            for tp, records in (await fetch(self._settings, consumer, FETCH_MS)).items():
                first.setdefault(tp, records[0].timestamp)
                consumer.pause(tp)
            for tp in wanted:
                end = consumer.highwater(tp)
                if end is not None and (end <= at[tp] or tp in first):
                    ends[tp] = end
            if len(ends) == len(wanted):
                break
        consumer.unsubscribe()
        now = time.time()
        lags = []
        for tp, end in ends.items():
            waiting = max(0, end - at[tp])
            age = max(0.0, now - first[tp] / 1000) if waiting and tp in first else 0.0
            lags.append(PartitionLag(tp.partition, waiting, round(age, 3)))
        lags.sort(key=lambda lag: lag.partition)
        return StageLag(stage, topic, group, lags, sorted(tp.partition for tp in wanted if tp not in ends))

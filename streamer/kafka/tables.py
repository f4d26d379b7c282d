"""Whole topics that a worker follows from their beginning, without a group."""

from collections.abc import AsyncIterator, Collection

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from streamer.errors import UnavailableError
from streamer.kafka.client import FETCH_MAX_WAIT_MS, fetch, make_consumer, raise_if_hidden
from streamer.kafka.topics import at_end
from streamer.patience import patiently
from streamer.refusals import KAFKA_ERRORS
from streamer.settings import CommonSettings


class TableReader:
    """A whole topic from its beginning, without a group: how workers follow `streams` and `models`."""

    def __init__(
        self,
        settings: CommonSettings,
        topic: str,
        only: Collection[int] | None = None,
        wait_ms: int = FETCH_MAX_WAIT_MS,
    ) -> None:
        """`only`: these partitions; None: all. `wait_ms`: how long the broker may hold an answer that has nothing."""
        self.settings = settings
        self._only, self._wait_ms = only, wait_ms
        self.topic = settings.topic(topic)
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def start(self) -> None:
        """Connect and stand at the beginning; waits for the topic. Raises RefusedError."""
        await self.stop()  # of a start that did not come to its end
        # Known to `stop` before the first wait, so that a worker that ends while it waits closes it.
        consumer = self._consumer = await make_consumer(self.settings, None, wait_ms=self._wait_ms)

        async def find() -> set[int]:
            await consumer._client.force_metadata_update()
            found = consumer.partitions_for_topic(self.topic)
            if not found:
                raise_if_hidden(self.settings, consumer, {self.topic})
                raise UnavailableError(f"topic {self.topic} does not exist: run `anomalyllm topics provision`")
            return set(found)

        consumer._client.add_topic(self.topic)
        partitions = await patiently(f"topic {self.topic}", find, (*KAFKA_ERRORS, UnavailableError))
        self._partitions = [
            TopicPartition(self.topic, p) for p in sorted(partitions) if self._only is None or p in self._only
        ]
        consumer.assign(self._partitions)
        await consumer.seek_to_beginning(*self._partitions)

    async def catch_up(self) -> list[ConsumerRecord]:
        """Everything up to the present end. The end is what fetches report (tansu's end_offsets are wrong)."""
        return [record async for record in self.to_end()]

    async def to_end(self) -> AsyncIterator[ConsumerRecord]:
        """The same, record by record."""
        assert self._consumer is not None
        quiet = 0
        while quiet < 2:
            new = await self.poll(150)
            for record in new:
                yield record
            quiet = quiet + 1 if not new and await at_end(self._consumer, self._partitions) else 0

    async def poll(self, timeout_ms: int = 0) -> list[ConsumerRecord]:
        """New records, in order of each partition; an empty list when there are none within the time.

        Raises RefusedError.
        """
        assert self._consumer is not None
        batches = await fetch(self.settings, self._consumer, timeout_ms)
        return [record for records in batches.values() for record in records]

    async def rewind(self) -> None:
        """Back to the beginning: the broker behind the address is a new one."""
        assert self._consumer is not None
        await self._consumer.seek_to_beginning(*self._partitions)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

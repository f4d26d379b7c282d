"""Up to when the streamer has received everything: what `windows` is told of a partition beside its data.

The end of a partition is known from its broker's newest answer. A partition that is behind, whose broker is away, or
that nobody reads, says nothing; so no stream is called silent for our own slowness (docs/decisions/027).
"""

import time
from collections import defaultdict
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from streamer.kafka.client import unread
from streamer.windows import wire

PERIOD_S = 1.0  # between two marks of a partition
MOST_REFUSED = 1000  # streams named in a mark: 256 KB at most


class Received:
    """Marks of this worker's partitions."""

    def __init__(self) -> None:
        self._began_ms = 0
        self._next: dict[int, float] = {}
        self._polled: dict[int, int] = {}
        self._refused: defaultdict[int, set[str]] = defaultdict(set)

    def fetching(self) -> None:
        """A fetch begins: what it finds to be the end of a partition was the end now or later."""
        self._began_ms = round(time.time() * 1000)

    def refused(self, partition: int, streams: Iterable[str]) -> None:
        """These streams have sent, but nothing that could be used."""
        known = self._refused[partition]
        known.update(list(streams)[: MOST_REFUSED - len(known)])

    def marks(self, consumer: AIOKafkaConsumer, topic: str, partitions: Iterable[int]) -> list[tuple[int, bytes]]:
        """Marks that are due, of partitions that are read up to their end and all of whose data have been announced."""
        made = []
        for partition in partitions:
            if self._began_ms / 1000 < self._next.get(partition, 0.0) or not self._at_end(consumer, topic, partition):
                continue
            self._next[partition] = self._began_ms / 1000 + PERIOD_S
            until_ms = min(self._began_ms, self._polled[partition])
            made.append((partition, wire.mark(until_ms, sorted(self._refused.pop(partition, ())))))
        return made

    def _at_end(self, consumer: AIOKafkaConsumer, topic: str, partition: int) -> bool:
        """Whether the broker has answered since the last time, and nothing of what it has is unread."""
        at = TopicPartition(topic, partition)
        if unread(consumer, at) != 0:  # behind, or not known
            return False
        answered_ms = consumer.last_poll_timestamp(at)
        if answered_ms is None or answered_ms == self._polled.get(partition):
            return False
        self._polled[partition] = answered_ms
        return True

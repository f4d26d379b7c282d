"""Records of several partitions, in the order of their time stamps.

Other tools spread one stream's points over all partitions of a topic. Read partition by partition, a backlog would
arrive as one partition's points and then the next one's, and a stream's interval could not be seen. So a record is taken
only when no partition that has more to give can still bring an older one (as Kafka Streams does, KIP-353 and KIP-695).
"""

import heapq
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from aiokafka import ConsumerRecord, TopicPartition

# Held of one partition while others are waited for; a fetch may bring more at once.
FULL_RECORDS = 2_000
FULL_BYTES = 16 << 20


class Merge:
    """Holds what was fetched and not yet taken."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, deque[tuple[int, ConsumerRecord]]] = {}
        self._newest: dict[TopicPartition, int] = {}
        self._bytes: dict[TopicPartition, int] = {}

    def put(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Fetched records, in offset order. A time stamp that goes back or is missing counts as the one before it."""
        for partition, records in batches.items():
            held = self._held.setdefault(partition, deque())
            self._bytes.setdefault(partition, 0)
            stamp = self._newest.get(partition, 0)
            for record in records:
                stamp = max(stamp, record.timestamp)
                held.append((stamp, record))
                self._bytes[partition] += _size(record)
            self._newest[partition] = stamp

    def take(
        self, lagging: Collection[TopicPartition], most: int, most_bytes: int = FULL_BYTES
    ) -> list[ConsumerRecord]:  # fmt: skip
        """Oldest first, until a partition of `lagging` (has more than is held) is empty.

        At most `most` records, and none after those that fill `most_bytes`.
        """
        taken: list[ConsumerRecord] = []
        if any(not self._held.get(partition) for partition in lagging):
            return taken
        heap = [(held[0][0], partition) for partition, held in self._held.items() if held]
        heapq.heapify(heap)
        size = 0
        while heap and len(taken) < most and size < most_bytes:
            _, partition = heap[0]
            held = self._held[partition]
            record = held.popleft()[1]
            taken.append(record)
            size += _size(record)
            self._bytes[partition] -= _size(record)
            if held:
                heapq.heapreplace(heap, (held[0][0], partition))
            elif partition in lagging:
                break
            else:
                heapq.heappop(heap)
        return taken

    def full(self) -> set[TopicPartition]:
        """Partitions to fetch nothing more of for now."""
        return {
            partition
            for partition, held in self._held.items()
            if len(held) >= FULL_RECORDS or self._bytes[partition] >= FULL_BYTES
        }

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what is held of partitions that are read again, or by somebody else."""
        for partition in partitions:
            self._held.pop(partition, None)
            self._newest.pop(partition, None)
            self._bytes.pop(partition, None)

    def holds(self) -> bool:
        """Whether anything is held."""
        return any(self._held.values())

    def partitions(self) -> set[TopicPartition]:
        """Those of which something was put."""
        return set(self._held)


def _size(record: ConsumerRecord) -> int:
    return len(record.value or b"")

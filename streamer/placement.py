"""Which partition and which virtual shard a stream lives in."""

import zlib
from functools import lru_cache
from typing import Literal

from aiokafka.partitioner import murmur2

Partitioner = Literal["murmur2", "crc32"]
# 256 virtual shards: the partition count must divide it, so that a partition owns whole shards and the
# Redis layout survives a change of the partition count.
SHARDS = 256


def stream_hash(stream: str, partitioner: Partitioner = "murmur2") -> int:
    """Non-negative 31-bit hash of the stream's name, as the client libraries compute it for a record key.

    `murmur2` is the Java client's and aiokafka's default, `crc32` librdkafka's `consistent`.
    """
    raw = stream.encode()
    return (murmur2(raw) if partitioner == "murmur2" else zlib.crc32(raw)) & 0x7FFFFFFF


@lru_cache(maxsize=1 << 20)
def home_partition(stream: str, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """hash(stream) mod partitions: the one partition of `metrics`, `windows` and `anomalies` that owns the stream."""
    return stream_hash(stream, partitioner) % partitions


@lru_cache(maxsize=1 << 20)
def shard_of(stream: str, partitioner: Partitioner = "murmur2") -> int:
    """hash(stream) mod 256: the virtual shard, the Redis Cluster hash tag of all of the stream's keys."""
    return stream_hash(stream, partitioner) % SHARDS


def shards_of_partition(partition: int, partitions: int) -> range:
    """All shards whose streams live in this partition (partition count divides 256)."""
    return range(partition, SHARDS, partitions)

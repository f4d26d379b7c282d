"""Owning partitions: assignment, epochs, where to resume, and a broker that came back as another one."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import redis.asyncio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from streamer.kafka.client import RETRIABLE, cluster_id, make_consumer, patiently
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger

log = structlog.get_logger(__name__)

# A restarted embedded broker starts with an empty log: an idle consumer would wait at its old position for ever.
CLUSTER_CHECK_S = 2.0


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """The partitions of one topic that this worker owns.

    `lock` is held by the worker while it works on a batch: a partition is given away between batches only.
    """

    def __init__(
        self,
        settings: CommonSettings,
        client: redis.asyncio.Redis,
        keys: Keys,
        topic: str,
        group: str,
        on_gain: Callable[[int], None] | None = None,
        on_loss: Callable[[int], None] | None = None,
    ) -> None:
        self.settings = settings
        self.topic = topic
        self.group = settings.topic_prefix + group
        self.lock = asyncio.Lock()
        self.owned: set[int] = set()
        self.ledger: Ledger
        self.consumer: AIOKafkaConsumer
        self._name = settings.topic(topic)
        self._client = client
        self._keys = keys
        self._on_gain = on_gain
        self._on_loss = on_loss
        self._next_check = 0.0

    async def __aenter__(self) -> Self:
        await self._new_ledger()
        await provision(self.settings)
        self.consumer = await make_consumer(self.settings, self.group)
        fixed = self.settings.fixed_partitions()
        if fixed is None:
            self.consumer.subscribe([self._name], listener=self)
        else:
            self.consumer.assign([TopicPartition(self._name, p) for p in fixed])
            await self.on_partitions_assigned(self.consumer.assignment())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.consumer.stop()

    async def _new_ledger(self) -> None:
        cluster = await patiently(f"Kafka at {self.settings.bootstrap}", lambda: cluster_id(self.settings))
        self.ledger = Ledger(self._client, self._keys, self._name, cluster, self.settings.partitions)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Claim each partition and stand where both Kafka and Redis have seen everything before."""
        async with self.lock:
            for tp in sorted(assigned):
                claim = partial(self.ledger.claim, tp.partition)
                await patiently("Redis", claim, (redis.RedisError, OSError))
                await self._seek(tp)
                self.owned.add(tp.partition)
                if self._on_gain:
                    self._on_gain(tp.partition)
            log.info("partitions assigned", topic=self._name, partitions=sorted(self.owned))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the batch in hand finish, then let go."""
        async with self.lock:
            for tp in revoked:
                self.owned.discard(tp.partition)
                self.ledger.release(tp.partition)
                if self._on_loss:
                    self._on_loss(tp.partition)

    async def _seek(self, tp: TopicPartition) -> None:
        committed = await patiently("committed offsets", lambda: self.consumer.committed(tp))
        # Notified (committed) and applied (Redis) may differ after a crash either way: the smaller misses nothing.
        self.consumer.seek(tp, min(committed or 0, self.ledger.resume_at(tp.partition)))

    async def fetch(self, max_records: int, timeout_ms: int) -> dict[int, list[ConsumerRecord]]:
        """Records of owned partitions, at most `max_records` in all; watches for a replaced broker while idle."""
        batches = await self.consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        if not batches and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CLUSTER_CHECK_S
            await self._check_cluster()
        return {tp.partition: records for tp, records in batches.items() if records}

    async def _check_cluster(self) -> None:
        try:
            now = await cluster_id(self.settings)
        except RETRIABLE:
            return  # away: the consumer reconnects by itself, and we look again
        if now == self.ledger.cluster:
            return
        log.warning("the broker is a new one: starting at its beginning", topic=self._name, cluster=now)
        async with self.lock:
            await provision(self.settings)
            self.ledger.cluster = now
            for partition in sorted(self.owned):
                await self.ledger.claim(partition)
                self.consumer.seek(TopicPartition(self._name, partition), self.ledger.resume_at(partition))

    async def recover(self, partition: int) -> None:
        """After a failed batch: read the stored offsets again and go back to where nothing is missed."""
        await patiently("Redis", lambda: self.ledger.load(partition), (redis.RedisError, OSError))
        await self._seek(TopicPartition(self._name, partition))

    def lose(self, partition: int) -> None:
        """Stop reading a partition that another owner has fenced us from (fixed assignment done twice)."""
        self.owned.discard(partition)
        self.consumer.pause(TopicPartition(self._name, partition))

    async def commit(self, offsets: dict[int, int]) -> None:
        """Commit next offsets to read, by partition. A group in rebalance refuses: the next owner reads again."""
        try:
            await self.consumer.commit({TopicPartition(self._name, p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit refused, records will be read again", error=str(error))
        except KafkaError as error:
            log.warning("commit failed, records will be read again after a restart", error=str(error))

"""Owning partitions: assignment, epochs, where to resume, and a broker that came back as another one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import redis.asyncio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from streamer.errors import AnomalyLLMError
from streamer.kafka.client import fetch, kafka_name, make_consumer
from streamer.kafka.cluster import ClusterCheck
from streamer.metrics import DELAY
from streamer.patience import patiently
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger

POSITION_S = 0.1
log = structlog.get_logger(__name__)


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
        self.cluster = ClusterCheck(settings)
        self.ledger: Ledger
        self._name = settings.topic(topic)
        self._client = client
        self._keys = keys
        self._on_gain = on_gain
        self._on_loss = on_loss
        self._consumer: AIOKafkaConsumer | None = None
        self._failed: AnomalyLLMError | None = None
        self._behind_s = 0.0  # age of the oldest record of the newest batch, when that was done

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The consumer; there is one from `start` on."""
        assert self._consumer is not None, "Ownership.start comes first"
        return self._consumer

    async def start(self) -> None:
        """Connect and join the group, or take the fixed partitions. Waits for servers; raises RefusedError."""
        cluster = await self.cluster.learn()
        self.ledger = Ledger(self._client, self._keys, self._name, cluster, self.settings.partitions)
        self._consumer = await make_consumer(self.settings, self.group)
        fixed = self.settings.fixed_partitions()
        if fixed is None:
            self.consumer.subscribe([self._name], listener=self)
        else:
            self.consumer.assign([TopicPartition(self._name, p) for p in fixed])
            await self._gain(self.consumer.assignment())

    def note_done(self, oldest_ms: float) -> None:
        """A batch is done whose oldest record has this time stamp (Unix ms)."""
        self._behind_s = max(0.0, time.time() - oldest_ms / 1000)
        DELAY.labels(self.group.removeprefix(self.settings.topic_prefix)).observe(self._behind_s)

    async def facts(self) -> dict[str, object]:
        """What others may know: topic, consumer group, the partitions that are read here, and what waits in them."""
        waiting = await backlog(self.consumer)
        return {
            "topic": self._name,
            "group": self.group,
            "partitions": sorted(self.owned),
            "lag": {str(partition): records for partition, records in waiting.items()},
            "lag_s": round(self._behind_s, 3) if any(waiting.values()) else 0.0,
        }

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Claim each partition and stand where both Kafka and Redis have seen everything before."""
        try:
            await self._gain(assigned)
        except AnomalyLLMError as error:  # aiokafka would log it and go on; `fetch` raises it in the worker's own task
            self._failed = error

    async def _gain(self, assigned: set[TopicPartition]) -> None:
        async with self.lock:
            for tp in sorted(assigned):
                await self._ask_redis(partial(self.ledger.claim, tp.partition))
                await self._seek(tp)
                self.owned.add(tp.partition)
                if self._on_gain:
                    self._on_gain(tp.partition)
            log.info("partitions assigned", topic=self._name, partitions=sorted(self.owned))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the present batch finish, then let go."""
        async with self.lock:
            for tp in revoked:
                self.owned.discard(tp.partition)
                self.ledger.release(tp.partition)
                if self._on_loss:
                    self._on_loss(tp.partition)

    async def _seek(self, tp: TopicPartition) -> None:
        committed = await patiently(kafka_name(self.settings), lambda: self.consumer.committed(tp))
        # Notified (committed) and applied (Redis) may differ after a crash either way: the smaller misses nothing.
        self.consumer.seek(tp, min(committed or 0, self.ledger.resume_at(tp.partition)))

    async def _ask_redis(self, call: Callable[[], Awaitable[object]]) -> None:
        await patiently(redis_name(self.settings), call, REDIS_ERRORS)

    async def fetch(self, max_records: int, timeout_ms: int) -> dict[int, list[ConsumerRecord]]:
        """Records of owned partitions, at most `max_records` in all; watches for a replaced broker while idle.

        Raises RefusedError, UnavailableError.
        """
        if self._failed is not None:
            raise self._failed
        batches = await fetch(self.settings, self.consumer, timeout_ms, max_records)
        if not batches and await self.cluster.replaced():
            await self._begin_again()
        return {tp.partition: records for tp, records in batches.items()}

    async def _begin_again(self) -> None:
        """Another cluster, with an empty log: stored offsets of the old one count for nothing."""
        async with self.lock:
            self.ledger.cluster = self.cluster.known
            for partition in sorted(self.owned):
                await self._ask_redis(partial(self.ledger.claim, partition))
                self.consumer.seek(TopicPartition(self._name, partition), self.ledger.resume_at(partition))

    async def recover(self, partition: int) -> None:
        """After a failed batch: read the stored offsets again and go back to where nothing is missed."""
        await self._ask_redis(lambda: self.ledger.load(partition))
        await self._seek(TopicPartition(self._name, partition))

    def lose(self, partition: int) -> None:
        """Stop reading a partition that another owner has fenced us from (fixed assignment done twice)."""
        self.owned.discard(partition)
        self.consumer.pause(TopicPartition(self._name, partition))

    async def commit(self, offsets: dict[int, int]) -> None:
        """Commit next offsets to read, by partition. A group in rebalance refuses: the next owner reads again.

        Raises RefusedError when the group does not let us commit at all.
        """
        await commit(self.settings, self.consumer, {TopicPartition(self._name, p): at for p, at in offsets.items()})


async def backlog(consumer: AIOKafkaConsumer) -> dict[int, int]:
    """Records that wait behind each assigned partition's position, by the newest fetch; {} before the first."""
    waiting = {}
    # A position that is being looked up (an offset out of range, a broker away) is not waited for.
    with suppress(TimeoutError):
        async with asyncio.timeout(POSITION_S):
            for partition in consumer.assignment():
                end = consumer.highwater(partition)
                if end is not None:
                    waiting[partition.partition] = max(0, end - await consumer.position(partition))
    return dict(sorted(waiting.items()))


async def commit(settings: CommonSettings, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Commit next offsets to read. What cannot be committed now is read again, and logged. Raises RefusedError."""
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        log.info("commit refused, records will be read again", error=str(error))
    except KafkaError as error:
        raise_if_refused(kafka_name(settings), error)
        log.warning("commit failed, records will be read again after a restart", error=str(error))

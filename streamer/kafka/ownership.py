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
from streamer.kafka.client import fetch, kafka_name, make_consumer, unread
from streamer.kafka.cluster import ClusterCheck
from streamer.kafka.topics import raise_if_misfit
from streamer.metrics import DELAY
from streamer.patience import patiently
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger, Ops

POSITION_S = 0.1
log = structlog.get_logger(__name__)

# How often a worker looks whether Redis still has what it was told to keep: 256 small hashes, 2 ms.
KEPT_S = 5.0
# A worker that was fenced and is still assigned the partition by its group is the owner after all: a worker that the group
# has given up on knows it after its session timeout of 6 s.
RECLAIM_S = 15.0


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """The partitions of one topic that this worker owns.

    `lock` is held by the worker while it works on a batch: a partition is given away between batches only.

    **Redis that has lost data** (emptied, or restored from an older state) is known by stored offsets that lie behind
    those applied or committed before: `on_state_lost` is called with the partition and the offset known before. With
    `rebuilds` the worker then stands where Redis is, and reads again up to `rebuilt_until`; nothing is committed
    meanwhile, so that a crash begins it anew. Without, it stands where it was, and calls `settle` when it has mended
    what was lost. Decision 022.
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
        on_state_lost: Callable[[int, int], None] | None = None,
        rebuilds: bool = False,
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
        self._on_state_lost = on_state_lost
        self._rebuilds = rebuilds
        self._until: dict[int, int] = {}  # partitions whose state was lost: the offset known before
        self._seeks: dict[int, int] = {}  # times that we have moved in a partition …
        self._fetched_at: dict[int, int] = {}  # … at the newest fetch
        self._fenced: dict[int, float] = {}  # when we were fenced from it (monotonic)
        self._next_look = 0.0
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
        count = max((tp.partition + 1 for tp in assigned), default=0)
        if count > self.settings.partitions:  # added since we started
            raise_if_misfit(self.settings, {self._name: count})
        async with self.lock:
            for tp in sorted(assigned):
                await self._ask_redis(partial(self.ledger.claim, tp.partition))
                self._until.pop(tp.partition, None)
                if self._fenced.pop(tp.partition, None) is not None:
                    self.consumer.resume(tp)
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
                self._fenced.pop(tp.partition, None)
                self.ledger.release(tp.partition)
                if self._on_loss:
                    self._on_loss(tp.partition)

    async def _seek(self, tp: TopicPartition, known: int = 0) -> None:
        """Stand where nothing is missed; `known` is where the stored offsets were when we last saw them."""
        committed = await patiently(kafka_name(self.settings), lambda: self.consumer.committed(tp)) or 0
        kept, until = self.ledger.resume_at(tp.partition), self._until.get(tp.partition)
        # Committed is what has been applied: Redis is behind it only when it has lost something, or is being rebuilt.
        known = max(known, committed if until is None else 0)
        if kept < known:
            self._until[tp.partition] = until = max(known, until or 0)
            if self._on_state_lost:
                self._on_state_lost(tp.partition, until)
        # Notified (committed) and applied (Redis) may differ after a crash: the smaller misses nothing.
        at = min(committed, kept)
        self._move(tp, at if until is None or self._rebuilds else until)

    def _move(self, tp: TopicPartition, offset: int) -> None:
        self._seeks[tp.partition] = self._seeks.get(tp.partition, 0) + 1
        self.consumer.seek(tp, offset)

    def rebuilt_until(self, partition: int) -> int:
        """Records below this offset were applied before Redis lost them; 0 where nothing is being rebuilt."""
        return self._until.get(partition, 0)

    async def settle(self, partition: int) -> None:
        """What was lost of the partition is mended: the offsets are again what they were. Raises as `Ledger.apply`."""
        if partition in self._until:
            await self.ledger.apply(partition, self._until[partition] - 1, Ops())
            del self._until[partition]

    def current(self, batches: dict[int, list[ConsumerRecord]]) -> dict[int, list[ConsumerRecord]]:
        """Those of the newest fetch that are still to be worked on; to be called under `lock`.

        Not those of a partition that was given away, or in which we have moved since they were fetched.
        """
        return {
            p: records
            for p, records in batches.items()
            if p in self.owned and self._seeks.get(p) == self._fetched_at.get(p)
        }

    async def _ask_redis(self, call: Callable[[], Awaitable[object]]) -> None:
        await patiently(redis_name(self.settings), call, REDIS_ERRORS)

    async def fetch(self, max_records: int, timeout_ms: int) -> dict[int, list[ConsumerRecord]]:
        """Records of owned partitions, at most `max_records` in all; watches for a replaced broker while idle, and for a
        Redis that has lost data. To be passed through `current` under `lock`.

        Raises RefusedError.
        """
        if self._failed is not None:
            raise self._failed
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + KEPT_S
            await self._look()
        batches = await self._read(max_records, timeout_ms)
        self._fetched_at = dict(self._seeks)
        if not batches and await self.cluster.replaced():
            await self._begin_again()
        return batches

    async def _read(self, max_records: int, timeout_ms: int) -> dict[int, list[ConsumerRecord]]:
        batches = await fetch(self.settings, self.consumer, timeout_ms, max_records)
        return {tp.partition: records for tp, records in batches.items()}

    async def more(
        self, batches: dict[int, list[ConsumerRecord]], max_records: int, timeout_ms: int
    ) -> dict[int, list[ConsumerRecord]]:
        """Further records, put behind those of the newest fetch; returns them alone. Raises RefusedError.

        What was fetched of a partition before we moved in it is dropped: it is read again from there.
        """
        further = await self._read(max_records, timeout_ms)
        for partition in [p for p in batches if self._seeks.get(p) != self._fetched_at.get(p)]:
            del batches[partition]
        self._fetched_at = dict(self._seeks)
        for partition, records in further.items():
            batches.setdefault(partition, []).extend(records)
        return further

    def unread(self) -> int:
        """Offsets that have not been read, of all owned partitions, as far as their brokers have said."""
        return sum(unread(self.consumer, TopicPartition(self._name, p)) or 0 for p in self.owned)

    async def _look(self) -> None:
        """Whether Redis has lost data while nothing was written; and whether a partition is ours after all."""
        async with self.lock:
            for partition in sorted(self.owned):
                try:
                    kept = await self.ledger.kept(partition)
                except REDIS_ERRORS as error:  # away: whoever writes next waits for it
                    log.debug("Redis not looked at", error=str(error))
                    return
                if not kept:
                    await self.recover(partition)
        if self.settings.fixed_partitions() is None:
            late = time.monotonic() - RECLAIM_S
            late_ones = {TopicPartition(self._name, p) for p, since in self._fenced.items() if since < late}
            if mine := late_ones & self.consumer.assignment():
                await self._gain(mine)

    async def _begin_again(self) -> None:
        """Another cluster, with an empty log: stored offsets of the old one count for nothing."""
        async with self.lock:
            self.ledger.cluster = self.cluster.known
            self._until.clear()
            for partition in sorted(self.owned):
                await self._ask_redis(partial(self.ledger.claim, partition))
                self._move(TopicPartition(self._name, partition), self.ledger.resume_at(partition))

    async def recover(self, partition: int) -> None:
        """After a failed batch: read the stored offsets again and go back to where nothing is missed."""
        known = self.ledger.resume_at(partition)

        async def load() -> None:
            await (self.ledger.load if await self.ledger.kept(partition) else self.ledger.claim)(partition)

        await self._ask_redis(load)
        await self._seek(TopicPartition(self._name, partition), known)

    def lose(self, partition: int) -> None:
        """Stop reading a partition that another owner has fenced us from (fixed assignment done twice)."""
        self.owned.discard(partition)
        self._fenced[partition] = time.monotonic()
        self.consumer.pause(TopicPartition(self._name, partition))

    async def commit(self, offsets: dict[int, int]) -> None:
        """Commit next offsets to read, by partition. A group in rebalance refuses: the next owner reads again.

        Raises RefusedError when the group does not let us commit at all.
        """
        for partition in [p for p, until in self._until.items() if offsets.get(p, 0) >= until]:
            del self._until[partition]
            log.info("what Redis had lost is rebuilt", topic=self._name, partition=partition)
        known = {TopicPartition(self._name, p): at for p, at in offsets.items() if p not in self._until}
        if known:
            await commit(self.settings, self.consumer, known)


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

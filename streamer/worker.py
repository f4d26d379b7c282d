"""The streamer worker: `metrics` → Redis windows → `windows`."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import redis.asyncio
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from streamer.contracts import HEADER_REHOMED
from streamer.deadletters import dead_letter
from streamer.decode import Decoded, Decoder
from streamer.errors import ContractError, FencedError, OffsetConflictError
from streamer.ingest import Ingest, Plan
from streamer.kafka import make_producer, patiently
from streamer.keys import Keys
from streamer.logs import configure_logs
from streamer.partitioning import home_partition, shard_of
from streamer.partitions import Ownership
from streamer.registry import Registry
from streamer.rings import read_headers
from streamer.settings import StreamerSettings
from streamer.sources.bridge import Bridge
from streamer.sources.chosen import parse_sources, refuse_own_topics
from streamer.stats import Stats

log = structlog.get_logger(__name__)

TTL_SWEEP_S = 30.0
REDIS_ERRORS = (redis.RedisError, OSError)


class StreamerWorker:
    """Runs until `stop` is called (or SIGTERM, SIGINT): drains the batch in hand and commits."""

    def __init__(self, settings: StreamerSettings) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self.sources = parse_sources(settings.source, settings.source_name)
        refuse_own_topics(self.sources, settings.topic_prefix)
        self._stopping = asyncio.Event()
        self.bridge: Bridge | None = None
        self._deleted: list[str] = []
        self._bad_settings: list[tuple[ConsumerRecord, ContractError]] = []
        self._next_sweep = time.monotonic() + TTL_SWEEP_S

    def stop(self) -> None:
        """Finish the batch in hand, commit, and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped; waits and retries when Kafka or Redis is away."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        settings = self.settings
        self.redis = redis.asyncio.Redis.from_url(settings.redis_url)
        try:
            await patiently(f"Redis at {settings.redis_url}", self.redis.ping, REDIS_ERRORS)
            self.producer = await make_producer(settings)
            try:
                await self._work()
            finally:
                await self.producer.stop()
        finally:
            await self.redis.aclose()
        log.info("stopped")

    async def _work(self) -> None:
        settings = self.settings
        self.stats = Stats(self.redis, self.keys, settings.worker_name, "streamer")
        self.registry = Registry(
            settings, self._deleted.append, lambda record, error: self._bad_settings.append((record, error))
        )
        self.ingest = Ingest(settings, self.redis, self.keys, self.registry.of)
        self.decoder = Decoder(self.registry.of, settings.partitions, settings.partitioner, settings.max_ahead_s)
        self.owner = Ownership(
            settings, self.redis, self.keys, "metrics", "streamer",
            on_gain=self.ingest.forget_partition, on_loss=self.ingest.forget_partition,
        )  # fmt: skip
        async with self.owner:
            await self.registry.start()
            log.info("streamer ready", bootstrap=settings.bootstrap, partitions=settings.partitions)
            try:
                async with self._reading_sources() as check:
                    while not self._stopping.is_set():
                        await self._turn()
                        check()
            finally:
                await self.registry.stop()

    @asynccontextmanager
    async def _reading_sources(self) -> AsyncIterator[Callable[[], None]]:
        """Runs the bridge beside the worker; the check raises what has ended it."""
        if not self.sources:
            yield lambda: None
            return
        self.bridge = Bridge(
            self.settings, self.sources, self.producer, self.registry.of, self._dead_letter, self.stats.counts
        )
        task = asyncio.create_task(self.bridge.run(self._stopping))
        try:
            yield lambda: task.result() if task.done() else None
        finally:
            if not self._stopping.is_set():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _turn(self) -> None:
        cluster = self.owner.ledger.cluster
        batches = await self.owner.fetch(self.settings.batch_records, self.settings.batch_ms)
        if self.owner.ledger.cluster != cluster:
            self.ingest.live.clear()
            await self.registry.rewind()
            if self.bridge is not None:
                self.bridge.rewind()
        await self.registry.poll()
        await self._delete()
        if batches:
            async with self.owner.lock:
                done = await asyncio.gather(*(self._batch(p, records) for p, records in batches.items()))
                offsets = {p: offset for p, offset in done if offset is not None}
                if offsets:
                    await self.owner.commit(offsets)
        await self._sweep()
        self.stats.counts["streams"] = len(self.ingest.live)
        try:
            await self.stats.publish()
        except REDIS_ERRORS as error:
            log.debug("stats not written", error=str(error))

    async def _batch(self, partition: int, records: Sequence[ConsumerRecord]) -> tuple[int, int | None]:
        """One batch of one partition; returns the offset to commit, None when it must be read again."""
        if partition not in self.owner.owned:
            return partition, None
        batch = self.decoder.decode(records)
        try:
            plan = await self.ingest.plan(batch, records, lambda s: self.owner.ledger.applied(partition, s))
            await self.owner.ledger.apply(partition, records[-1].offset, plan.ops)
            await self.ingest.reread(plan)
            await self._send(partition, batch, records, plan)
        except FencedError as error:
            log.warning("partition taken over by another worker", partition=partition, error=str(error))
            self.ingest.forget_partition(partition)
            self.owner.lose(partition)
            return partition, None
        except (OffsetConflictError, KafkaError, *REDIS_ERRORS) as error:
            log.warning("batch not finished, reading it again", partition=partition, error=str(error))
            self.ingest.forget_partition(partition)
            await self.owner.recover(partition)
            return partition, None
        self._count(batch, records, plan)
        return partition, records[-1].offset + 1

    def _count(self, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan) -> None:
        counts = self.stats.counts
        counts["records_in"] += len(records)
        counts["points_in"] += plan.points
        counts["late"] += sum(plan.late.values())
        counts["rehomed"] += len(batch.rehome)
        counts["dead_letters"] += len(batch.dead) + len(plan.late) + len(plan.refused)

    async def _send(self, partition: int, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan) -> None:
        """Everything a batch says to Kafka; returns when all of it is acknowledged."""
        settings = self.settings
        flying = [
            await self.producer.send(settings.topic("windows"), value=value, partition=partition)
            for value in plan.notices.messages()
        ]
        dead = list(batch.dead)
        for index, cells in plan.late.items():
            message = f"{cells} points lie before the stream's window; older than its capacity they cannot be placed"
            dead.append((records[index], "late", message))
        dead += [(records[index], "refused", why) for index, why in plan.refused.items()]
        for record, reason, message in dead:
            flying.append(await self._dead_letter(record, reason, message))
        for record, stream in batch.rehome:
            home = home_partition(stream, settings.partitions, settings.partitioner)
            came = (HEADER_REHOMED, f"{record.partition}/{record.offset}".encode())
            flying.append(
                await self.producer.send(
                    record.topic, value=record.value, key=stream.encode(), partition=home,
                    timestamp_ms=max(record.timestamp, 0) or None, headers=[*record.headers, came],
                )
            )  # fmt: skip
        await asyncio.gather(*flying)

    async def _dead_letter(self, record: ConsumerRecord, reason: str, message: str) -> "asyncio.Future[object]":
        try:
            return await dead_letter(self.producer, self.settings, record, reason, message)
        except MessageSizeTooLargeError:
            # the broker took it once under a larger limit than ours: keep what fits, say so
            cut = record.value[: self.settings.dead_letter_bytes] if record.value else None
            shorter = _with_value(record, cut)
            return await dead_letter(self.producer, self.settings, shorter, reason, f"{message} (value truncated)")

    async def _delete(self) -> None:
        """Tombstones on `streams`: remove all that this room keeps of those streams."""
        deleted = [self._deleted.pop() for _ in range(len(self._deleted))]
        for stream in deleted:
            self.ingest.forget([stream])
            shard = shard_of(stream, self.settings.partitioner)
            if home_partition(stream, self.settings.partitions, self.settings.partitioner) not in self.owner.owned:
                continue
            names = [getattr(self.keys, kind)(shard, stream) for kind in ("header", "ring", "recent", "waiting")]

            async def remove(names: list[str] = names, shard: int = shard, stream: str = stream) -> None:
                await self.redis.delete(*names)
                await self.redis.srem(self.keys.names(shard), stream)

            await patiently("Redis", remove, REDIS_ERRORS)
            log.info("stream deleted", stream=stream)
        for record, error in [self._bad_settings.pop() for _ in range(len(self._bad_settings))]:
            if 0 in self.owner.owned:  # every worker reads `streams`; the owner of partition 0 speaks for all
                await (await self._dead_letter(record, error.reason, str(error)))

    async def _sweep(self) -> None:
        """Streams past their time to live get a tombstone; everybody deletes them on reading it."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + TTL_SWEEP_S
        settings = self.settings
        mine = [
            stream
            for stream, own in self.registry.of.items()
            if own.ttl_s and home_partition(stream, settings.partitions, settings.partitioner) in self.owner.owned
        ]
        headers = await patiently(
            "Redis", lambda: read_headers(self.redis, self.keys, mine, settings.partitioner), REDIS_ERRORS
        )
        for stream, header in headers.items():
            if header.last_seen_ms / 1000 + (self.registry.of[stream].ttl_s or 0) < time.time():
                log.info("stream past its time to live", stream=stream)
                await self.producer.send_and_wait(settings.topic("streams"), key=stream.encode(), value=None)


def _with_value(record: ConsumerRecord, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord(**{**{f: getattr(record, f) for f in record.__dataclass_fields__}, "value": value})


def run(settings: StreamerSettings) -> None:
    """Run one streamer worker until it is told to stop."""
    configure_logs(settings.log_format, settings.log_level, settings.worker_name)
    asyncio.run(StreamerWorker(settings).run())

"""The streamer worker: `metrics` → Redis windows → `windows`."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import structlog
from aiokafka import ConsumerRecord

from streamer.contracts import HEADER_REHOMED
from streamer.errors import FencedError, OffsetConflictError, UnavailableError, UnsendableError
from streamer.host.worker import Servers, run_process, run_worker
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import Ownership
from streamer.kafka.sending import Outgoing, send, send_patiently
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.patience import patiently
from streamer.placement import home_partition, shard_of
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.settings import StreamerSettings
from streamer.sources.bridge import Bridge
from streamer.sources.chosen import parse_sources, refuse_own_topics
from streamer.sources.recognise import advise
from streamer.stopping import Stop
from streamer.tracing import batch_span, carried
from streamer.windows.decode import Decoded, Decoder
from streamer.windows.ingest import Ingest, Plan
from streamer.windows.ring import read_headers

log = structlog.get_logger(__name__)

TTL_SWEEP_S = 30.0
FETCH_RECORDS = 5000  # of one partition in one call: 60 ms of work where 81 000 single points a second are taken in
FETCH_MS = 25  # from produced to consumed in 5 ms; the client's own 500 make it 127


class StreamerWorker:
    """Runs until `stop` is called: finishes the batch it is at, commits, and ends."""

    def __init__(self, settings: StreamerSettings) -> None:
        """Raises ConfigError where `source` or `source_name` cannot be."""
        self.settings = settings
        self.stopping = Stop()
        self.sources = parse_sources(settings.source, settings.source_name)
        refuse_own_topics(self.sources, settings.topic_prefix)
        self.bridge: Bridge | None = None
        self._bridging: asyncio.Task[None] | None = None
        self._deleted: list[str] = []
        self._bad_settings: list[DeadLetter] = []
        self._next_sweep = time.monotonic() + TTL_SWEEP_S

    def stop(self) -> None:
        """Finish the batch, commit, and end."""
        self.stopping.request()

    async def run(self) -> None:
        """Work until stopped; waits and retries when Kafka or Redis is away. Raises RefusedError."""
        await run_worker(self.settings, "streamer", self.stopping, self._boot, self._turn, self._drain)

    async def _boot(self, servers: Servers) -> None:
        settings = self.settings
        self.redis, self.producer = servers.redis, servers.producer
        self.keys, self.stats = servers.keys, servers.stats
        self.stream_settings = StreamSettingsTable(
            settings,
            self._deleted.append,
            lambda record, error: self._bad_settings.append(DeadLetter(record, error.reason, str(error))),
        )
        self.ingest = Ingest(settings, self.redis, self.keys, self.stream_settings.of)
        self.decoder = Decoder(
            self.stream_settings.of, settings.partitions, settings.partitioner, settings.max_ahead_s, advise
        )
        self.owner = Ownership(
            settings, self.redis, self.keys, "metrics", "streamer",
            on_gain=self.ingest.forget_partition, on_loss=self.ingest.forget_partition,
        )  # fmt: skip
        servers.closes(self.owner.stop, self.stream_settings.stop, self._end_bridge)
        await self.owner.start()
        await self.stream_settings.start()
        if self.sources:
            self.bridge = Bridge(settings, self.sources, self.producer, self.stream_settings.of, self.stats.counts)
            self._bridging = asyncio.create_task(self.bridge.run(self.stopping.requested))

    async def _drain(self) -> None:
        if self._bridging is not None:
            await self._bridging

    async def _end_bridge(self) -> None:
        if self._bridging is not None:
            self._bridging.cancel()
            await asyncio.gather(self._bridging, return_exceptions=True)

    async def _turn(self) -> None:
        if self._bridging is not None and self._bridging.done():
            self._bridging.result()  # raises what has ended it
        cluster = self.owner.ledger.cluster
        batches = await self.owner.fetch(FETCH_RECORDS, FETCH_MS)
        if self.owner.ledger.cluster != cluster:
            self.ingest.windows.clear()
            await self.stream_settings.rewind()
            if self.bridge is not None:
                self.bridge.rewind()
        await self.stream_settings.poll()
        await self._delete()
        if batches:
            async with self.owner.lock:
                done = await asyncio.gather(*(self._batch(p, records) for p, records in batches.items()))
                offsets = {p: offset for p, offset in done if offset is not None}
                if offsets:
                    await self.owner.commit(offsets)
        await self._sweep()
        self.stats.counts["streams"] = len(self.ingest.windows)
        if self.stats.due:
            self.stats.facts.update(await self.owner.facts())
        await self.stats.publish()

    async def _batch(self, partition: int, records: Sequence[ConsumerRecord]) -> tuple[int, int | None]:
        """One batch of one partition: returns the offset to commit, None when it must be read again. Raises RefusedError."""
        if partition not in self.owner.owned:
            return partition, None
        with batch_span("streamer.batch", records, partition):
            return await self._take_in(partition, records)

    async def _take_in(self, partition: int, records: Sequence[ConsumerRecord]) -> tuple[int, int | None]:
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
        except (OffsetConflictError, UnavailableError, *REDIS_ERRORS) as error:
            raise_if_refused(redis_name(self.settings), error)
            log.warning("batch not finished, reading it again", partition=partition, error=str(error))
            self.ingest.forget_partition(partition)
            await self.owner.recover(partition)
            return partition, None
        self._count(batch, records, plan)
        self.owner.note_done(records[0].timestamp)
        return partition, records[-1].offset + 1

    def _count(self, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan) -> None:
        counts = self.stats.counts
        counts["records_in"] += len(records)
        counts["points_in"] += plan.points
        counts["late"] += sum(plan.late.values())
        counts["rehomed"] += len(batch.rehome)
        counts["dead_letters"] += len(batch.dead) + len(plan.late) + len(plan.refused)

    async def _send(self, partition: int, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan) -> None:
        """Everything a batch sends to Kafka; returns when all of it is acknowledged.

        One try: whoever waits here holds the partition's lock, and another worker may be waiting for the partition.
        """
        settings = self.settings
        topic = settings.topic("windows")
        context = carried()
        notices = [Outgoing(topic, value, partition=partition, headers=context) for value in plan.notices.messages()]
        homeward = [self._homeward(record, stream) for record, stream in batch.rehome]
        dead = [DeadLetter(*bad) for bad in batch.dead]
        for index, cells in plan.late.items():
            message = f"{cells} points lie before the stream's window; older than its capacity they cannot be placed"
            dead.append(DeadLetter(records[index], "late", message))
        dead += [DeadLetter(records[index], "refused", why) for index, why in plan.refused.items()]
        await send(settings, self.producer, notices)
        try:
            await send(settings, self.producer, homeward)
        except UnsendableError:  # a header more than when it came: find out which do not fit any more
            dead += [
                DeadLetter(record, "too_large", "too large to be sent to its home partition: publish it with its key")
                for (record, _), outgoing in zip(batch.rehome, homeward, strict=True)
                if not await self._fits(outgoing)
            ]
        await bury(settings, self.producer, dead, send)

    def _homeward(self, record: ConsumerRecord, stream: str) -> Outgoing:
        """A record that came to another partition than its stream's, as it is sent home."""
        settings = self.settings
        home = home_partition(stream, settings.partitions, settings.partitioner)
        came = (HEADER_REHOMED, f"{record.partition}/{record.offset}".encode())
        stamp = max(record.timestamp, 0) or None
        return Outgoing(record.topic, record.value, stream.encode(), home, [*record.headers, came], stamp)

    async def _fits(self, outgoing: Outgoing) -> bool:
        try:
            await send(self.settings, self.producer, [outgoing])
        except UnsendableError:
            return False
        return True

    async def _delete(self) -> None:
        """Tombstones on `streams`: remove all that this room keeps of those streams."""
        deleted = [self._deleted.pop() for _ in range(len(self._deleted))]
        for stream in deleted:
            self.ingest.forget([stream])
            shard = shard_of(stream, self.settings.partitioner)
            if home_partition(stream, self.settings.partitions, self.settings.partitioner) not in self.owner.owned:
                continue
            names = [
                getattr(self.keys, kind)(shard, stream) for kind in ("header", "ring", "coarse", "recent", "waiting")
            ]

            remove = partial(self._remove, names, shard, stream)
            await patiently(redis_name(self.settings), remove, REDIS_ERRORS)
            log.info("stream deleted", stream=stream)
        bad, self._bad_settings = self._bad_settings, []
        if 0 in self.owner.owned:  # every worker reads `streams`; the owner of partition 0 writes for all
            await bury(self.settings, self.producer, bad)

    async def _remove(self, names: list[str], shard: int, stream: str) -> None:
        await self.redis.delete(*names)
        await self.redis.srem(self.keys.names(shard), stream)

    async def _sweep(self) -> None:
        """Streams past their time to live get a tombstone; everybody deletes them on reading it."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + TTL_SWEEP_S
        settings = self.settings
        mine = [
            stream
            for stream, own in self.stream_settings.of.items()
            if own.ttl_s and home_partition(stream, settings.partitions, settings.partitioner) in self.owner.owned
        ]
        headers = await patiently(
            redis_name(settings), lambda: read_headers(self.redis, self.keys, mine, settings.partitioner), REDIS_ERRORS
        )
        for stream, header in headers.items():
            if header.last_seen_ms / 1000 + (self.stream_settings.of[stream].ttl_s or 0) < time.time():
                log.info("stream past its time to live", stream=stream)
                tombstone = Outgoing(settings.topic("streams"), None, stream.encode())
                await send_patiently(settings, self.producer, [tombstone])


def run(settings: StreamerSettings) -> None:
    """Run one streamer worker as this process until it is asked to end."""
    worker = StreamerWorker(settings)
    run_process(settings, "streamer", worker.run, worker.stopping)

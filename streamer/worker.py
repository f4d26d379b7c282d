"""The streamer worker: `metrics` → Redis windows → `windows`.

Shapes: R records
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import structlog
from aiokafka import ConsumerRecord

from streamer.errors import AnomalyLLMError, FencedError, OffsetConflictError, UnavailableError, UnsendableError
from streamer.forgetting import Forgetting
from streamer.host.losses import Losses
from streamer.host.worker import Servers, run_process, run_worker
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import Ownership
from streamer.kafka.sending import Outgoing, send, send_patiently
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.patience import patiently
from streamer.placement import home_partition, shard_of
from streamer.received import Received
from streamer.record_headers import HEADER_REHOMED, header_text
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

log = structlog.get_logger(__name__)

FETCH_RECORDS = 5000  # of one partition in one call: 60 ms of work where 81 000 single points a second are taken in
WARNED_KEYS = (
    100  # streams with records of a wrong key that get a line in the log; a publisher without keys has them all
)
FETCH_MS = 100  # ends with the first record: this is how long a turn without any lasts


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
        self._warned_keys: set[str] = set()
        self._bad_settings: list[DeadLetter] = []

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
        self.received = Received()
        self.ingest = Ingest(settings, self.redis, self.keys, self.stream_settings.of)
        self.forgetting = Forgetting(settings, self.redis, self.keys, self.stream_settings.of)
        self.decoder = Decoder(
            self.stream_settings.of, settings.partitions, settings.partitioner, settings.max_ahead_s, advise
        )
        self.losses = Losses(settings, self.redis, self.producer, self.keys, self.stats)
        self.owner = Ownership(
            settings, self.redis, self.keys, "metrics", "streamer",
            on_gain=self.ingest.forget_partition, on_loss=self.ingest.forget_partition,
            on_state_lost=self._state_lost, rebuilds=True,
        )  # fmt: skip
        servers.closes(self.owner.stop, self.stream_settings.stop, self._end_bridge)
        await self.owner.start()
        await self.stream_settings.start()
        if self.sources:
            self.bridge = Bridge(settings, self.sources, self.producer, self.stream_settings.of, self.stats.counts)
            self._bridging = asyncio.create_task(self.bridge.run(self.stopping.requested))

    def _state_lost(self, partition: int, known: int) -> None:
        self.ingest.restore_partition(partition)
        self.losses.note(self.settings.topic("metrics"), partition, known)

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
        self.received.fetching()
        batches = await self.owner.fetch(FETCH_RECORDS, FETCH_MS)
        if self.owner.ledger.cluster != cluster:
            self.ingest.windows.clear()
            await self.stream_settings.rewind()
            if self.bridge is not None:
                self.bridge.rewind()
        await self.stream_settings.poll()
        await self._delete()
        await self.losses.report()
        if batches:
            async with self.owner.lock:
                current = self.owner.current(batches)
                done = await asyncio.gather(*(self._batch(p, records) for p, records in current.items()))
                offsets = {p: offset for p, offset in done if offset is not None}
                if offsets:
                    await self.owner.commit(offsets)
        if self.settings.marks:
            await self._mark()
        await self._sweep()
        self.stats.counts["streams"] = len(self.ingest.windows)
        if self.stats.due:
            self.stats.facts.update(await self.owner.facts())
        await self.stats.publish()

    async def _batch(self, partition: int, records: Sequence[ConsumerRecord]) -> tuple[int, int | None]:
        """One batch of one partition: returns the offset to commit, None when it must be read again.

        A record that no rule has foreseen halts nobody: a batch that fails for no reason of the servers' is halved until
        the record that fails stands alone, and that is dead-lettered. Raises RefusedError.
        """
        try:
            return await self._whole(partition, records)
        except (AnomalyLLMError, MemoryError):
            raise
        except Exception as error:
            self.ingest.forget_partition(partition)
            if len(records) == 1:
                return await self._set_aside(partition, records[0], error)
            log.warning("batch failed, halving it", partition=partition, records=len(records), error=repr(error))
        middle, offset = len(records) // 2, None
        for half in (records[:middle], records[middle:]):
            _, done = await self._batch(partition, half)
            if done is None:
                break
            offset = done
        return partition, offset

    async def _set_aside(self, partition: int, record: ConsumerRecord, error: Exception) -> tuple[int, int | None]:
        """A record that raises what nobody has foreseen: dead-lettered, and done with."""
        log.exception("record set aside", partition=partition, offset=record.offset)
        why = f"{type(error).__name__}: {str(error)[:200]}. This is a fault of the streamer: please report it with the record"

        def nothing_but_a_dead_letter(_: Sequence[ConsumerRecord]) -> Decoded:
            return Decoded(dead=[(record, "internal", why)], history_R=np.zeros(1, bool))

        return await self._whole(partition, [record], nothing_but_a_dead_letter)

    async def _whole(
        self, partition: int, records: Sequence[ConsumerRecord],
        decode: Callable[[Sequence[ConsumerRecord]], Decoded] | None = None,
    ) -> tuple[int, int | None]:  # fmt: skip
        if partition not in self.owner.owned:
            return partition, None
        with batch_span("streamer.batch", records, partition):
            return await self._take_in(partition, records, decode or self.decoder.decode)

    async def _take_in(
        self, partition: int, records: Sequence[ConsumerRecord], decode: Callable[[Sequence[ConsumerRecord]], Decoded]
    ) -> tuple[int, int | None]:
        batch = decode(records)
        old_until = self.owner.rebuilt_until(partition)
        try:
            plan = await self.ingest.plan(batch, records, lambda s: self.owner.ledger.applied(partition, s), old_until)
            await self.owner.ledger.apply(partition, records[-1].offset, plan.ops)
            await self.ingest.reread(plan)
            await self._send(partition, batch, records, plan, old_until)
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
        self.received.refused(partition, batch.refused | plan.spoilt)
        self.owner.note_done(records[0].timestamp)
        return partition, records[-1].offset + 1

    def _count(self, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan) -> None:
        counts = self.stats.counts
        counts["records_in"] += len(records)
        counts["points_in"] += plan.points
        counts["late"] += sum(plan.late.values())
        counts["regridded"] += plan.regrids
        counts["rehomed"] += len(batch.rehome)
        counts["dead_letters"] += len(batch.dead) + len(plan.late) + len(plan.refused)

    async def _send(
        self, partition: int, batch: Decoded, records: Sequence[ConsumerRecord], plan: Plan, old_until: int
    ) -> None:
        """Everything a batch sends to Kafka; returns when all of it is acknowledged. Records below `old_until` are read
        again to rebuild windows: they have been sent home or dead-lettered before.

        One try: whoever waits here holds the partition's lock, and another worker may be waiting for the partition.
        """
        settings = self.settings
        topic = settings.topic("windows")
        context = carried()
        notices = [Outgoing(topic, value, partition=partition, headers=context) for value in plan.notices.messages()]
        rehome = [(record, stream) for record, stream in batch.rehome if record.offset >= old_until]
        homeward = [self._homeward(record, stream) for record, stream in rehome]
        self._warn_of_keys(rehome)
        dead = [DeadLetter(*bad) for bad in batch.dead]
        for index, cells in plan.late.items():
            message = f"{cells} points lie before the stream's window; older than its capacity they cannot be placed"
            if (came := header_text(records[index].headers, HEADER_REHOMED)) is not None:
                message += (
                    f"; it came through {came}, and order holds within a partition only: publish with key = stream"
                )
            dead.append(DeadLetter(records[index], "late", message))
        dead += [DeadLetter(records[index], "refused", why) for index, why in plan.refused.items()]
        await send(settings, self.producer, notices)
        try:
            await send(settings, self.producer, homeward)
        except UnsendableError:  # a header more than when it came, or a time stamp too old: find out which
            for (record, _), outgoing in zip(rehome, homeward, strict=True):
                why = await self._refused(outgoing)
                if why is not None:
                    message = f"cannot be sent to its home partition, publish it with its key: {why}"
                    dead.append(DeadLetter(record, "homeless", message))
        await bury(settings, self.producer, [letter for letter in dead if letter.record.offset >= old_until], send)

    def _warn_of_keys(self, rehomed: Sequence[tuple[ConsumerRecord, str]]) -> None:
        """One line for a stream whose records come to other partitions than its own, and why they do."""
        for record, stream in rehomed:
            if stream in self._warned_keys or len(self._warned_keys) >= WARNED_KEYS:
                continue
            self._warned_keys.add(stream)
            key = "no key" if record.key is None else f"key {record.key[:40].decode(errors='replace')!r}"
            log.warning(
                f"records have {key} and are sent on to the stream's partition, out of order: publish with key = stream",
                stream=stream, partition=record.partition,
            )  # fmt: skip

    def _homeward(self, record: ConsumerRecord, stream: str) -> Outgoing:
        """A record that came to another partition than its stream's, as it is sent home."""
        settings = self.settings
        home = home_partition(stream, settings.partitions, settings.partitioner)
        came = (HEADER_REHOMED, f"{record.partition}/{record.offset}".encode())
        stamp = max(record.timestamp, 0) or None
        return Outgoing(record.topic, record.value, stream.encode(), home, [*record.headers, came], stamp)

    async def _refused(self, outgoing: Outgoing) -> str | None:
        """Send one record; why it can never be sent, None when it has been."""
        try:
            await send(self.settings, self.producer, [outgoing])
        except UnsendableError as error:
            return str(error)
        return None

    async def _mark(self) -> None:
        """Say of partitions that are read to their end that they are. One try: the next mark says the same."""
        topic = self.settings.topic("windows")
        async with self.owner.lock:
            marks = self.received.marks(self.owner.consumer, self.settings.topic("metrics"), sorted(self.owner.owned))
            try:
                await send(self.settings, self.producer, [Outgoing(topic, raw, partition=p) for p, raw in marks])
            except UnavailableError as error:
                log.debug("mark not sent", error=str(error))

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
        for stream, since_s in (await self.forgetting.due(self.owner.owned)).items():
            log.info("stream past its time to live: deleted everywhere", stream=stream, days=round(since_s / 86_400, 2))
            tombstone = Outgoing(self.settings.topic("streams"), None, stream.encode())
            await send_patiently(self.settings, self.producer, [tombstone])
            self.stats.counts["forgotten"] += 1


def run(settings: StreamerSettings) -> None:
    """Run one streamer worker as this process until it is asked to end."""
    worker = StreamerWorker(settings)
    run_process(settings, "streamer", worker.run, worker.stopping)

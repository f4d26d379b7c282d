"""Reads the users' own topics and publishes what is in them to `metrics`, beside the streamer worker.

A foreign record holds points of many streams, whose homes are many partitions: they go through `metrics`, as a record with
the wrong key does. Offsets are committed after everything a batch says is acknowledged, so that a crash repeats
points, never loses them; a repeated point falls into its own slot with its own value.

Shapes: M cells of a payload
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from streamer.contracts import StreamSettings
from streamer.errors import ContractError, UnavailableError
from streamer.kafka.client import fetch, header, make_consumer, raise_if_hidden
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import commit
from streamer.kafka.sending import Outgoing, send
from streamer.kafka.topics import partitions_of
from streamer.patience import patiently
from streamer.placement import home_partition
from streamer.record_headers import HEADER_MODE
from streamer.refusals import KAFKA_ERRORS
from streamer.settings import CommonSettings
from streamer.sources.announcing import Announcer
from streamer.sources.batching import Batch, Message
from streamer.sources.chosen import Source
from streamer.sources.formats import FORMATS, decoder_of
from streamer.sources.merging import Merge
from streamer.sources.points import Bad, Decoded
from streamer.sources.recognise import recognise

T = TypeVar("T")
log = structlog.get_logger(__name__)

# Of a turn: decoding does not give way to the worker's other work, and a point takes 15 bytes and more (remote write).
RECORDS_A_TURN = 200
BYTES_A_TURN = 1 << 20
POLL_MS = 100
AGAIN_AFTER_S = 1.0
# A partition that should have more and gives nothing (its leader is away) is waited for this long.
WAIT_FOR_OLDER_S = 1.0
_NAMED = 5  # bad parts named in a dead letter; the raw record is there for the rest
_MAX_REPORTED = 100_000


class Bridge:
    """One worker's share of all source topics (a consumer group of its own, or the partitions of a fixed assignment).

    Args:
        sources: what to read.
        of: settings of all streams, followed by the worker.
        counts: the worker's counters; keys begin with `source_`.

    Raises:
        ConfigError: a package that a format needs is not installed.
    """

    def __init__(
        self,
        settings: CommonSettings,
        sources: Sequence[Source],
        producer: AIOKafkaProducer,
        of: Mapping[str, StreamSettings],
        counts: defaultdict[str, float],
    ) -> None:
        self._settings = settings
        self._decoders = {source.topic: decoder_of(source.form, source.template) for source in sources}
        self._forms = {source.topic: source.form for source in sources}
        self._producer = producer
        self._of = of
        self._counts = counts
        self._announcer = Announcer(of)
        self._reported: set[str] = set()
        self._rewind = False

    def rewind(self) -> None:
        """The broker behind the address is a new one: begin at the beginning, at the next turn."""
        self._rewind = True

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; waits and retries when Kafka is away. Raises RefusedError."""
        consumer = await _unless(stopping, self._start())
        if consumer is None:
            return
        log.info("sources", **self._forms)
        try:
            merge, waiting_since = Merge(), time.monotonic()
            while not stopping.is_set():
                if self._rewind:
                    self._rewind = False
                    self._announcer.forget()
                    merge = Merge()
                    await consumer.seek_to_beginning(*consumer.assignment())
                lagging = await self._fetch(consumer, merge)
                if time.monotonic() - waiting_since > WAIT_FOR_OLDER_S:
                    lagging = set()
                records = merge.take(lagging, RECORDS_A_TURN, BYTES_A_TURN)
                if records or not lagging:
                    waiting_since = time.monotonic()
                if records:
                    await self._turn(consumer, merge, records)
        finally:
            await consumer.stop()

    async def _fetch(self, consumer: AIOKafkaConsumer, merge: Merge) -> set[TopicPartition]:
        """Fetch what there is; returns the partitions of which there is more."""
        mine = consumer.assignment()
        merge.drop(merge.partitions() - mine)
        full = merge.full() & mine
        consumer.pause(*full)
        consumer.resume(*(consumer.paused() - full))
        batches = await fetch(self._settings, consumer, 0 if merge.holds() else POLL_MS)
        merge.put(batches)
        if not batches:  # a topic that may not be described is never assigned by the group
            raise_if_hidden(self._settings, consumer, set(self._decoders))
        lagging = set()
        try:
            for tp in consumer.assignment():
                end = consumer.highwater(tp)
                if end is None or await consumer.position(tp) < end:
                    lagging.add(tp)
        except (IllegalStateError, KafkaError) as error:  # a rebalance in between; the next turn knows more
            log.debug("positions of source topics not known", error=str(error))
        return lagging

    async def _start(self) -> AIOKafkaConsumer:
        settings = self._settings
        consumer = await make_consumer(settings, settings.topic_prefix + "sources")
        fixed = settings.fixed_partitions()
        try:
            if fixed is None:
                consumer.subscribe(list(self._decoders))
                return consumer
            mine = {partition % settings.partitions for partition in fixed}
            found = await patiently(
                f"topics {', '.join(self._decoders)}",
                lambda: partitions_of(consumer, *self._decoders),
                (*KAFKA_ERRORS, UnavailableError),
            )
            consumer.assign([tp for tp in found if tp.partition % settings.partitions in mine])
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _turn(self, consumer: AIOKafkaConsumer, merge: Merge, records: Sequence[ConsumerRecord]) -> None:
        reported = set(self._reported)
        first: dict[TopicPartition, int] = {}
        after: dict[TopicPartition, int] = {}
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            first.setdefault(tp, record.offset)
            after[tp] = record.offset + 1
        try:
            await self._publish(records)
        except UnavailableError as error:
            log.warning("source records not passed on, reading them again", error=str(error))
            self._announcer.forget()
            self._reported = reported
            merge.drop(first)
            for tp, offset in first.items():
                if tp in consumer.assignment():
                    consumer.seek(tp, offset)
            await asyncio.sleep(AGAIN_AFTER_S)
            return
        await commit(self._settings, consumer, {tp: at for tp, at in after.items() if tp in consumer.assignment()})

    async def _publish(self, records: Sequence[ConsumerRecord]) -> None:
        """Everything that is in records, sent and acknowledged. One try: raises UnavailableError, RefusedError."""
        settings, batch = self._settings, Batch()
        dead: list[DeadLetter] = []
        for record in records:
            try:
                history = _is_history(record)
                decoded = self._decoders[record.topic](record.value or b"", max(record.timestamp, 0) * 1_000_000)
            except ContractError as error:
                dead.append(DeadLetter(record, error.reason, self._whole(record, error)))
                self._counts["source_refused"] += 1
                continue
            batch.add(decoded, history, max(record.timestamp, 0))
            self._announcer.learn(decoded.families)
            dead += [DeadLetter(record, *letter) for letter in self._letters(decoded)]
        await bury(settings, self._producer, dead, send)
        topic = settings.topic("streams")
        made = [
            Outgoing(topic, own.model_dump_json(exclude_unset=True).encode(), stream.encode())
            for stream, own in self._announcer.new(batch.series.values())
        ]
        await send(settings, self._producer, made)  # settings first: they are there when the stream's grid is made
        with_unit = frozenset(stream for stream in batch.series if (own := self._of.get(stream)) and own.unit)
        messages = list(batch.messages(with_unit))
        await send(settings, self._producer, [self._homeward(message) for message in messages])
        self._counts["source_points"] += sum(message.cells for message in messages)
        self._counts["source_records"] += len(records)

    def _homeward(self, message: Message) -> Outgoing:
        """A message as it is sent to its stream's home partition."""
        settings = self._settings
        home = home_partition(message.stream, settings.partitions, settings.partitioner)
        headers = [(HEADER_MODE, b"history")] if message.history else []
        topic, stamp = settings.topic("metrics"), message.stamp_ms or None
        return Outgoing(topic, message.value, message.stream.encode(), home, headers, stamp)

    def _letters(self, decoded: Decoded) -> list[tuple[str, str]]:
        """(reason, message) of a dead letter for the bad parts of a payload, if any is news."""
        news = []
        for bad in decoded.bad:
            self._counts["source_bad_parts"] += 1
            if bad.standing and bad.standing in self._reported:
                continue
            if bad.standing and len(self._reported) < _MAX_REPORTED:
                self._reported.add(bad.standing)
            news.append(bad)
        if not news:
            return []
        return [(news[0].reason, f"{len(news)} parts refused, {len(decoded.ts_M)} numbers processed: {_named(news)}")]

    def _whole(self, record: ConsumerRecord, error: ContractError) -> str:
        form = self._forms[record.topic]
        seen = recognise(record.value or b"")
        if seen in FORMATS and seen != form:
            return f"{error}. It looks like {FORMATS[seen][0]}: --source {record.topic}={seen}"
        return f"{error} (read as {form})"


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result, or None when it is to stop before there is one (a topic may never come to be)."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopped.cancel()
        working.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


def _named(bad: Sequence[Bad]) -> str:
    rest = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return "; ".join(str(one) for one in bad[:_NAMED]) + rest


def _is_history(record: ConsumerRecord) -> bool:
    mode = header(record, HEADER_MODE)
    if mode not in (None, "history", "live"):
        raise ContractError("contract", f"header mode={mode[:40]!r} is neither history nor live")
    return mode == "history"

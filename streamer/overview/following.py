"""Topics of events, followed from a moment on: `anomalies` and `dead-letters`."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from streamer.contracts import AnomalyEvent
from streamer.errors import ConfigError
from streamer.kafka.client import fetch, header, make_consumer
from streamer.kafka.topics import at_end, partitions_of
from streamer.settings import CommonSettings

# A batch has one time stamp in the broker's index: begin a little early and leave out by the record's own.
SEEK_MARGIN_MS = 60_000
# Revisions of incidents kept in memory: 4 KB each.
KEPT_INCIDENTS = 20_000
KEPT_LETTERS = 200


class EventReader:
    """Records of a topic from a moment on, over all partitions."""

    def __init__(self, settings: CommonSettings, topic: str) -> None:
        self.partitions: list[TopicPartition] = []
        self._settings = settings
        self._topic = settings.topic(topic)
        self._consumer: AIOKafkaConsumer | None = None
        self._since_ms = 0

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """There is one from `start` on."""
        assert self._consumer is not None, "start comes first"
        return self._consumer

    async def start(self, since_ms: int, give_up_after_s: float | None = None) -> None:
        """Stand at the first record of that moment (Unix ms). Raises UnavailableError, RefusedError."""
        await self.stop()  # of a start that did not come to its end
        self._since_ms = since_ms
        consumer = self._consumer = await make_consumer(self._settings, None, give_up_after_s=give_up_after_s)
        partitions = self.partitions = await partitions_of(consumer, self._topic)
        consumer.assign(partitions)
        if since_ms <= 0:
            await consumer.seek_to_beginning(*partitions)
            return
        ends = await consumer.end_offsets(partitions)  # first: what comes between the two calls lies behind them
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, max(0, since_ms - SEEK_MARGIN_MS)))
        for partition in partitions:
            at = found.get(partition)
            # Nothing that young: None on Kafka, the time stamp -1 on the embedded broker.
            consumer.seek(partition, ends[partition] if at is None or at.timestamp < 0 else at.offset)

    async def poll(self, timeout_ms: int = 0) -> list[ConsumerRecord]:
        """New records, in order of each partition. Raises RefusedError, UnavailableError."""
        batches = await fetch(self._settings, self.consumer, timeout_ms)
        return [r for records in batches.values() for r in records if r.timestamp >= self._since_ms]

    async def catch_up(self, take: Callable[[list[ConsumerRecord]], object]) -> None:
        """Take everything up to the present end; also where records go on coming."""
        ends = 0
        while ends < 2:
            take(await self.poll(150))
            ends = ends + 1 if await self.at_end() else 0

    async def at_end(self) -> bool:
        """Whether everything has been read that was there at the newest fetch."""
        return await at_end(self.consumer, self.partitions)

    async def ask(self) -> None:
        """Whether the brokers are there: `poll` does not tell. Raises UnavailableError, KafkaError, or waits for them."""
        await partitions_of(self.consumer, self._topic)

    async def rewind(self) -> None:
        """From the beginning: the broker is a new one."""
        await self.consumer.seek_to_beginning(*self.partitions)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None


class IncidentLog:
    """Incidents by id, each with its events in the order of revisions; the oldest are forgotten."""

    def __init__(self, settings: CommonSettings) -> None:
        self.events: dict[str, dict[int, AnomalyEvent]] = {}
        self.bad = 0  # records that are no incident
        self._reader = EventReader(settings, "anomalies")

    async def start(self, since_ms: int, give_up_after_s: float | None = None) -> None:
        """Read what has been said since then (Unix ms). Raises UnavailableError, RefusedError."""
        await self._reader.start(since_ms, give_up_after_s)
        await self._reader.catch_up(self._take)

    async def poll(self, timeout_ms: int = 0) -> list[AnomalyEvent]:
        """News; revisions heard before are left out."""
        return self._take(await self._reader.poll(timeout_ms))

    def _take(self, records: list[ConsumerRecord]) -> list[AnomalyEvent]:
        news = []
        for record in records:
            try:
                event = AnomalyEvent.model_validate_json(record.value or b"")
            except ValidationError:
                self.bad += 1
                continue
            revisions = self.events.pop(event.data.incident_id, {})
            if event.data.revision not in revisions:
                revisions[event.data.revision] = event
                news.append(event)
            self.events[event.data.incident_id] = revisions  # the newest last
        while len(self.events) > KEPT_INCIDENTS:
            del self.events[next(iter(self.events))]
        return news

    def newest(self) -> list[AnomalyEvent]:
        """The newest revision of each incident, by the time of its slot, the newest last."""
        found = [revisions[max(revisions)] for revisions in self.events.values()]
        return sorted(found, key=lambda event: (event.data.updated_at, event.id))

    def only(self, beginning: str, stream: str | None = None) -> str | None:
        """The id that begins so (of a stream), None where there is none. Raises ConfigError: there are several."""
        found = [
            incident_id
            for incident_id, revisions in self.events.items()
            if incident_id.startswith(beginning) and stream in (None, next(iter(revisions.values())).data.stream)
        ]
        if len(found) > 1:
            raise ConfigError(f"{beginning} is the beginning of {len(found)} incidents: {', '.join(sorted(found)[:5])}")
        return found[0] if found else None

    def story(self, incident_id: str) -> list[AnomalyEvent]:
        """All revisions of one incident that were heard, in order; empty where it is not known."""
        revisions = self.events.get(incident_id, {})
        return [revisions[revision] for revision in sorted(revisions)]

    async def rewind(self) -> None:
        """The broker is a new one."""
        self.events.clear()
        await self._reader.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, without its value."""

    at: float  # Unix seconds
    reason: str
    message: str
    topic: str
    partition: str
    offset: str
    key: str


class DeadLetterLog:
    """Dead letters by reason, and the newest of them."""

    def __init__(self, settings: CommonSettings) -> None:
        self.by_reason: Counter[str] = Counter()
        self.newest: deque[Letter] = deque(maxlen=KEPT_LETTERS)
        self._reader = EventReader(settings, "dead-letters")

    async def start(self, since_ms: int, give_up_after_s: float | None = None) -> None:
        """Read what has been buried since then (Unix ms). Raises UnavailableError, RefusedError."""
        await self._reader.start(since_ms, give_up_after_s)
        await self._reader.catch_up(self._take)

    async def poll(self) -> None:
        """Apply what is new; does not wait."""
        self._take(await self._reader.poll())

    def _take(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            reason, topic, partition, offset, message = (
                header(record, name) or "" for name in ("error", "topic", "partition", "offset", "message")
            )
            self.by_reason[reason or "unknown"] += 1
            key = (record.key or b"").decode(errors="replace")
            letter = Letter(record.timestamp / 1000, reason or "unknown", message, topic, partition, offset, key)
            self.newest.append(letter)

    async def rewind(self) -> None:
        """The broker is a new one."""
        self.by_reason.clear()
        self.newest.clear()
        await self._reader.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

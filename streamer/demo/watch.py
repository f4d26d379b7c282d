"""The demo as a subscriber: what the topics and the workers' statistics say, and how it is judged."""

import time
from collections import Counter
from dataclasses import dataclass, field

import redis.asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from pydantic import ValidationError

from streamer.contracts import OVER, AnomalyEvent, Incident, ModelRecord
from streamer.host.stats import read_stats
from streamer.kafka.client import header, make_consumer
from streamer.kafka.topics import partitions_of
from streamer.settings import CommonSettings
from streamer.timestamps import NS, parse_timestamp
from streamer.windows.keys import Keys

TOPICS = ("anomalies", "models", "dead-letters")


@dataclass(frozen=True)
class Opening:
    """An incident's opening: on which stream, at which event time, and when it was heard of (both epoch s).

    `live`: an anomaly of the present. Silences and findings in history are told, but judged as nothing.
    """

    stream: str
    at: float
    received: float
    live: bool = True


@dataclass
class Record:
    """Everything heard so far. Times are epoch seconds."""

    openings: dict[str, Opening] = field(default_factory=dict)  # incident id -> its opening
    open_now: dict[str, str] = field(default_factory=dict)  # incident id -> stream
    last_received: dict[str, float] = field(default_factory=dict)  # stream -> newest word of an incident
    models: dict[str, int] = field(default_factory=dict)  # stream -> points the promoted student has seen
    tried: set[str] = field(default_factory=set)  # streams with a student, be it one that has to stay a shadow
    dead_letters: Counter[str] = field(default_factory=Counter)  # error class -> count
    stats: dict[str, dict[str, float]] = field(default_factory=dict)  # room -> counters
    _seen: set[str] = field(default_factory=set)

    def receive(self, event: AnomalyEvent, now: float) -> bool:
        """Take in one event; False for a replay of one that was heard before."""
        if event.id in self._seen:
            return False
        self._seen.add(event.id)
        incident = event.data
        self.last_received[incident.stream] = now
        if incident.state == "open":
            at = parse_timestamp(incident.updated_at) / NS
            live = incident.kind == "anomaly" and not incident.historic
            self.openings.setdefault(incident.incident_id, Opening(incident.stream, at, now, live))
        if incident.state in OVER:
            self.open_now.pop(incident.incident_id, None)
        else:
            self.open_now[incident.incident_id] = incident.stream
        return True

    def quiet(self, stream: str, now: float, seconds: float) -> bool:
        """No open incident, and no word of any, for so long."""
        return stream not in self.open_now.values() and now - self.last_received.get(stream, 0.0) >= seconds

    def opened(self, streams: set[str], since: float) -> list[Opening]:
        """Anomalies on these streams that opened after `since`, by the stream's clock and by ours."""
        return [o for o in self.openings.values() if o.live and o.stream in streams and min(o.at, o.received) >= since]

    def false_alerts(self, provoked_at: float | None, untouched: str) -> int:
        """Anomalies that opened before the provocation, or on the untouched control at any time."""
        return sum(
            opening.live and (provoked_at is None or opening.at < provoked_at or opening.stream == untouched)
            for opening in self.openings.values()
        )

    def count(self, room: str, name: str) -> int:
        """A counter of a room, summed over its workers."""
        return int(self.stats.get(room, {}).get(name, 0))


class Watch:
    """Follows the topics from their beginning, and the workers' statistics, into `record`."""

    def __init__(self, settings: CommonSettings, client: redis.asyncio.Redis) -> None:
        self._settings = settings
        self._client = client
        self._keys = Keys(settings.namespace)
        self._consumer: AIOKafkaConsumer | None = None
        self.record = Record()

    async def start(self) -> None:
        """Connect; the topics must exist."""
        consumer = self._consumer = await make_consumer(self._settings, None)
        partitions = await partitions_of(consumer, *map(self._settings.topic, TOPICS))
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def poll(self, timeout_ms: int = 50) -> list[Incident]:
        """Take in what is new; returns the new incident revisions in order."""
        assert self._consumer is not None
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        received = []
        for record in (record for records in batches.values() for record in records):
            incident = self._take(record)
            if incident is not None:
                received.append(incident)
        return received

    async def read_stats(self) -> None:
        """Sum up the statistics of the living workers, room by room."""
        rooms: dict[str, dict[str, float]] = {}
        for row in await read_stats(self._client, self._keys):
            room = rooms.setdefault(str(row["room"]), {})
            for name, value in row.items():
                if isinstance(value, int | float):
                    room[name] = room.get(name, 0) + value
        self.record.stats = rooms

    def _take(self, record: ConsumerRecord) -> Incident | None:
        topic = record.topic.removeprefix(self._settings.topic_prefix)
        if topic == "dead-letters":
            self.record.dead_letters[header(record, "error") or "unknown"] += 1
            return None
        if topic == "models":
            if record.value is not None:
                self._take_model(ModelRecord.model_validate_json(record.value))
            return None
        try:
            event = AnomalyEvent.model_validate_json(record.value)
        except ValidationError as error:
            self.record.dead_letters[f"anomalies contract: {error.error_count()} errors"] += 1
            return None
        return event.data if self.record.receive(event, time.time()) else None

    def _take_model(self, model: ModelRecord) -> None:
        self.record.tried.add(model.stream)
        if model.promoted is not None:
            self.record.models[model.stream] = model.promoted.points

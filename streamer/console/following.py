"""Keeps the picture up to date: tables and `anomalies` from Kafka, headers and workers from Redis.

Each is followed by a task of its own. What is away is said on the pages and tried again; the pages stay.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from streamer.console.hub import Hub
from streamer.console.picture import Picture
from streamer.contracts import AnomalyEvent, DeadLetterHeaders, Feedback, ModelRecord, StreamSettings
from streamer.errors import AnomalyLLMError, ContractError, UnavailableError
from streamer.host.stats import read_stats
from streamer.kafka.client import fetch, make_consumer
from streamer.kafka.cluster import ClusterCheck
from streamer.kafka.tables import TableReader
from streamer.kafka.topics import at_end, partitions_of
from streamer.masking import masked
from streamer.parsing import parse
from streamer.refusals import KAFKA_ERRORS, REDIS_ERRORS
from streamer.settings import ConsoleSettings
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import all_streams, read_headers

log = structlog.get_logger(__name__)

HISTORY_S = 7 * 86_400  # incidents of a week are shown
LETTERS = 500  # records of each partition of `dead-letters` that are looked back at
TICK_S = 1.0
AGAIN_S = 2.0  # after something was away
CHUNK = 500  # headers read and parsed at a time: 5 ms, then whoever waits for a page is served
HEADERS_S = 2.0  # between two rounds over all headers, or longer …
SHARE = 0.1  # … so that rounds take no more than this share of the time
POLL_MS = 200
# A batch has one time stamp in the broker's index: begin a little early.
SEEK_MARGIN_MS = 60_000


class Following:
    """Tasks that fill a picture and tell the pages."""

    def __init__(self, settings: ConsoleSettings, client: redis.asyncio.Redis, picture: Picture, hub: Hub) -> None:
        self.settings = settings
        self.picture = picture
        self.workers: list[dict[str, Any]] = []
        self.rates: dict[str, float] = {}
        self._client = client
        self._keys = Keys(settings.namespace)
        self._hub = hub
        self._cluster = ClusterCheck(settings)
        self._before: dict[str, tuple[float, dict[str, float]]] = {}
        self.ready: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "anomalies": self._anomalies,
            "models": lambda: self._table("models", self._model),
            "streams": lambda: self._table("streams", self._settings),
            "feedback": lambda: self._table("feedback", self._feedback),
            "dead-letters": self._letters,
            "Redis": self._headers,
            "workers": self._tick,
        }
        self.ready = {name: asyncio.Event() for name in work}
        async with asyncio.TaskGroup() as group:
            for name, follow in work.items():
                group.create_task(self._keep(name, follow))

    async def _keep(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        """What is followed begins anew after an error, which the pages show as long as it lasts."""
        while True:
            try:
                await follow()
            except (AnomalyLLMError, *REDIS_ERRORS, *KAFKA_ERRORS) as error:
                told = masked(f"{type(error).__name__}: {error}")
                if self.picture.trouble.get(name) != told:
                    log.warning("not followed just now", what=name, error=told)
                self.picture.trouble[name] = told
            except Exception as error:  # a mistake of ours in one of them concerns no other
                log.exception("not followed just now", what=name)
                self.picture.trouble[name] = f"{type(error).__name__}: {error}"
            await asyncio.sleep(AGAIN_S)

    def _well(self, name: str) -> None:
        self.picture.trouble.pop(name, None)
        self.ready[name].set()

    # Kafka -----------------------------------------------------------------------------------------------------------

    async def _table(self, topic: str, apply: Callable[[ConsumerRecord], None]) -> None:
        """Follow a topic from its beginning, and once more from there when the broker is another one."""
        reader, cluster = TableReader(self.settings, topic), ClusterCheck(self.settings)
        try:
            await cluster.learn()
            await reader.start()
            for record in await reader.catch_up():
                apply(record)
            while True:
                self._well(topic)
                records = await reader.poll(POLL_MS)
                for record in records:
                    apply(record)
                if not records and await cluster.replaced():
                    await reader.rewind()
        finally:
            await reader.stop()

    def _model(self, record: ConsumerRecord) -> None:
        stream = (record.key or b"").decode(errors="replace")
        try:
            self.picture.put_model(
                stream, None if record.value is None else parse(ModelRecord, record.value, "a model record")
            )
        except ContractError:
            return  # the workers dead-letter it, and go on with what they had
        self._hub.say("model", {"stream": stream})

    def _settings(self, record: ConsumerRecord) -> None:
        stream = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self.picture.settings.pop(stream, None)
        else:
            try:
                self.picture.settings[stream] = parse(StreamSettings, record.value, "stream settings")
            except ContractError:
                return
        self._hub.say("settings", {"stream": stream})

    def _feedback(self, record: ConsumerRecord) -> None:
        try:
            said = Feedback.model_validate_json(record.value or b"")
        except ValidationError:
            return
        self.picture.put_verdict(said)
        self._hub.say("verdict", said.model_dump(mode="json"))

    async def _from(self, topic: str, seek: Callable[[AIOKafkaConsumer, list[TopicPartition]], Awaitable[None]],
                    apply: Callable[[ConsumerRecord], None]) -> None:  # fmt: skip
        """Follow a topic from where `seek` sets the consumer."""
        cluster = ClusterCheck(self.settings)
        await cluster.learn()
        consumer = await make_consumer(self.settings, None)
        try:
            partitions = await partitions_of(consumer, self.settings.topic(topic))
            consumer.assign(partitions)
            await seek(consumer, partitions)
            while True:
                batches = await fetch(self.settings, consumer, POLL_MS)
                for records in batches.values():
                    for record in records:
                        apply(record)
                if not batches:
                    if topic in self.picture.trouble or (
                        not self.ready[topic].is_set() and await at_end(consumer, partitions)
                    ):
                        self._well(topic)
                    if await cluster.replaced():
                        raise UnavailableError("the broker is a new one: reading it from its beginning")
        finally:
            await consumer.stop()

    async def _anomalies(self) -> None:
        await self._from("anomalies", self._week_ago, self._event)

    async def _week_ago(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        since_ms = int((time.time() - HISTORY_S) * 1000) - SEEK_MARGIN_MS
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        begins = await consumer.beginning_offsets(partitions)
        for partition in partitions:
            at = found.get(partition)
            # Nothing that young: None on Kafka, the time stamp -1 on the embedded broker; then there is little to read.
            consumer.seek(partition, begins[partition] if at is None or at.timestamp < 0 else at.offset)

    def _event(self, record: ConsumerRecord) -> None:
        try:
            event = AnomalyEvent.model_validate_json(record.value or b"")
        except ValidationError as error:
            log.warning("not an alert", partition=record.partition, offset=record.offset, error=str(error))
            return
        if self.picture.put_event(event, record.timestamp):
            story = self.picture.stories.get(event.data.incident_id)
            if story is not None:
                self._hub.say("incident", self.picture.incident_row(story))

    async def _letters(self) -> None:
        self.picture.letters.clear()
        self.picture.letter_counts.clear()
        await self._from("dead-letters", self._newest, self._letter)

    async def _newest(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        ends, begins = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(begins[partition], ends[partition] - LETTERS))

    def _letter(self, record: ConsumerRecord) -> None:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        try:
            letter = DeadLetterHeaders.model_validate({k: headers.get(k) for k in DeadLetterHeaders.model_fields})
        except ValidationError:
            return
        sample = (record.value or b"")[:300].decode(errors="replace")
        self.picture.put_letter({**letter.model_dump(), "at_ms": record.timestamp, "sample": sample})

    # Redis -----------------------------------------------------------------------------------------------------------

    async def _headers(self) -> None:
        while True:
            begun = time.monotonic()
            names = await all_streams(self._client, self._keys)
            headers: dict[str, StreamHeader] = {}
            for at in range(0, len(names), CHUNK):
                part = names[at : at + CHUNK]
                headers |= await read_headers(self._client, self._keys, part, self.settings.partitioner)
            self.picture.put_headers(headers)
            self._well("Redis")
            took = time.monotonic() - begun
            await asyncio.sleep(max(HEADERS_S, took / SHARE))

    async def _tick(self) -> None:
        while True:
            self.workers = sorted(await read_stats(self._client, self._keys), key=lambda w: (w["room"], w["worker"]))
            self._rate()
            self._well("workers")
            self._hub.say("tick", self.summary())
            await asyncio.sleep(TICK_S)

    def _rate(self) -> None:
        """Counts a second, by name over all workers, from two reports of each."""
        sums: dict[str, float] = {}
        for worker in self.workers:
            name, at = f"{worker['room']}:{worker['worker']}", float(worker["at"])
            counts = {key: float(value) for key, value in worker.items() if isinstance(value, int | float)}
            before = self._before.get(name)
            if before is not None and at > before[0]:
                gained = {key: (value - before[1].get(key, 0.0)) / (at - before[0]) for key, value in counts.items()}
                worker["rates"] = {key: round(value, 2) for key, value in gained.items() if key != "at" and value > 0}
                self._before[name] = (at, {**counts, **{f"~{k}": v for k, v in worker["rates"].items()}})
            elif before is not None:
                worker["rates"] = {key[1:]: value for key, value in before[1].items() if key.startswith("~")}
            else:
                worker["rates"] = {}
                self._before[name] = (at, counts)
            for key, value in worker["rates"].items():
                sums[key] = sums.get(key, 0.0) + value
        alive = {f"{worker['room']}:{worker['worker']}" for worker in self.workers}
        self._before = {name: told for name, told in self._before.items() if name in alive}
        self.rates = sums

    def summary(self) -> dict[str, Any]:
        """What the first page shows."""
        rooms: dict[str, int] = {"streamer": 0, "detector": 0, "trainer": 0}
        for worker in self.workers:
            rooms[worker["room"]] = rooms.get(worker["room"], 0) + 1
        lag_ms = max((float(worker["lag_ms"]) for worker in self.workers if "lag_ms" in worker), default=None)
        return {
            **self.picture.summary(),
            "points_per_s": round(self.rates.get("points_in", 0.0), 1),
            "windows_per_s": round(self.rates.get("windows_scored", 0.0), 1),
            "workers": rooms,
            "lag_ms": lag_ms,
            "pages": self._hub.pages,
        }

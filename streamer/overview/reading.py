"""How everything stands, in one reading: what `anomalyllm status` and the console show.

An `Overview` is plain data. Servers that are away are part of the picture: a reading never fails because of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamer.contracts import TOPICS, ModelRecord
from streamer.errors import AnomalyLLMError
from streamer.kafka.client import kafka_name, make_admin
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.masking import masked
from streamer.overview.cluster import ADMIN_TIMEOUT_MS, Broker, Topic, read_cluster
from streamer.overview.following import DeadLetterLog, IncidentLog
from streamer.overview.lag import LagReader, StageLag
from streamer.overview.models import ModelTable
from streamer.overview.query import StreamQuery
from streamer.overview.rows import StreamRow, Tally, tally
from streamer.overview.streams import read_names, read_rows
from streamer.overview.workers import READS, Worker, read_workers, unread
from streamer.redis_client import make_redis, redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys

T = TypeVar("T")
NEWEST_MODELS = 5
# How long a part of a picture may take before it is said to be missing. Topics are read to their ends once.
STEP_S, FOLLOW_S = 15.0, 120.0
# Counting 100 000 streams takes some seconds: in a picture that is drawn again and again, no more than this share of time.
TALLY_SHARE = 0.1
_TROUBLE = (KafkaError, AnomalyLLMError, *REDIS_ERRORS, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """The Redis or Valkey behind the URL."""

    version: str
    used_bytes: int
    max_bytes: int  # 0: no limit of its own
    clients: int
    up_s: int
    persistent: bool  # it writes an append-only file or snapshots


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a line tells it."""

    stream: str
    announced_at: str
    version: str | None  # in force
    shadow: str | None
    refused: str | None
    slots: int


@dataclass(slots=True)
class Overview:
    """How everything stands at one moment."""

    at: float
    kafka: str
    redis: str
    cluster_id: str | None = None
    brokers: list[Broker] = field(default_factory=list)
    topics: dict[str, Topic] = field(default_factory=dict)
    missing_topics: list[str] = field(default_factory=list)
    redis_facts: RedisFacts | None = None
    workers: list[Worker] = field(default_factory=list)
    unread: dict[str, list[int]] = field(default_factory=dict)  # room → partitions without a reader
    lags: list[StageLag] = field(default_factory=list)
    streams: Tally | None = None
    streams_at: float | None = None  # when they were counted
    dead_letters: dict[str, int] = field(default_factory=dict)  # by reason, since `dead_since`
    dead_since: float | None = None
    models: list[Model] = field(default_factory=list)  # the newest first
    troubles: list[str] = field(default_factory=list)  # what could not be read, each with its reason

    def rate(self, room: str) -> float:
        """What all workers of a room do a second."""
        return sum(worker.per_s for worker in self.workers if worker.room == room)

    @property
    def answers(self) -> bool:
        """Kafka and Redis do."""
        return self.cluster_id is not None and self.redis_facts is not None

    @property
    def well(self) -> bool:
        """Everything answers, all workers are there and no partition is without a reader."""
        return not self.troubles and not self.missing_topics and not any(self.unread.values())


class OverviewReader:
    """Reads overviews over connections that stay open; opened by `reading`."""

    def __init__(self, settings: CommonSettings, since_s: float, step_s: float = STEP_S) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self.client: redis.asyncio.Redis = make_redis(settings)
        self.stream_settings = StreamSettingsTable(settings, lambda stream: None)
        self.models = ModelTable(settings)
        self.incidents = IncidentLog(settings)
        self.dead_letters = DeadLetterLog(settings)
        self.since = time.time() - since_s
        self._step_s = step_s
        self._lags = LagReader(settings)
        self._admin: AIOKafkaAdminClient | None = None
        self._cluster: str | None = None
        self._started: set[str] = set()
        self._tally: tuple[float, float, Tally] | None = None  # when, what it took, what it was

    async def stop(self) -> None:
        """Disconnect."""
        stops: list[Callable[[], Awaitable[object]]] = [
            self.client.aclose, self._lags.stop, self.stream_settings.stop, self.models.stop,
            self.incidents.stop, self.dead_letters.stop,
        ]  # fmt: skip
        if self._admin is not None:
            stops.append(self._admin.close)
        await asyncio.gather(*(stop() for stop in stops), return_exceptions=True)

    async def follow(self, *names: str) -> None:
        """Bring followed topics up to date: `streams`, `models`, `anomalies`, `dead-letters`; none named: all of them.

        The first call reads them up to their ends. Raises KafkaError, RefusedError, UnavailableError.
        """
        since_ms = int(self.since * 1000)
        parts: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]] = {
            "streams": (self.stream_settings.start, self.stream_settings.poll),
            "models": (self.models.start, self.models.poll),
            "anomalies": (lambda: self.incidents.start(since_ms), self.incidents.poll),
            "dead-letters": (lambda: self.dead_letters.start(since_ms), self.dead_letters.poll),
        }

        async def bring(name: str) -> None:
            start, poll = parts[name]
            await (poll() if name in self._started else start())
            self._started.add(name)

        # Each to its own end: one that goes on beside the next reading, or after `stop`, leaves a connection behind.
        for error in await asyncio.gather(*(bring(name) for name in names or parts), return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    async def streams(self, query: StreamQuery) -> tuple[list[StreamRow], int]:
        """A page of streams, and how many there are. `follow` comes before. Raises redis.RedisError."""
        known = self.stream_settings.of
        names = query.names(await read_names(self.client, self.keys, known), known)
        if query.by_name:
            ordered = names[::-1] if query.reverse else names
            return await self.rows(query.cut(ordered)), len(names)
        return query.page(await self.rows(names))

    async def rows(self, names: list[str]) -> list[StreamRow]:
        """How these streams stand. `follow` comes before. Raises redis.RedisError."""
        return await read_rows(self.settings, self.client, self.keys, names, self.stream_settings.of, self.models.of)

    async def read(self, count_streams: bool = True) -> Overview:
        """How everything stands now; what does not answer is named under `troubles`."""
        made = Overview(time.time(), kafka_name(self.settings), redis_name(self.settings))
        made.redis_facts = await self._tried(made, self._redis_facts())
        if made.redis_facts is not None:
            made.workers = await self._tried(made, read_workers(self.client, self.keys)) or []
        if await self._tried(made, self._describe(made)):
            made.lags = await self._tried(made, self._read_lags(made)) or []
            if not made.missing_topics:
                await self._tried(made, self.follow("streams", "models", "dead-letters"), FOLLOW_S)
        partitions = {room: made.topics.get(topic) for room, topic in READS.items()}
        if made.redis_facts is not None:
            made.unread = {
                room: unread(made.workers, room, topic.partitions if topic else self.settings.partitions)
                for room, topic in partitions.items()
            }
            if count_streams:
                counted = await self._tried(made, self._count(), FOLLOW_S)
                if counted is not None:
                    made.streams_at, made.streams = counted
        made.dead_letters = dict(self.dead_letters.by_reason.most_common())
        made.dead_since = self.since
        made.models = [_model(record) for record in self.models.newest(NEWEST_MODELS)]
        return made

    async def _tried(self, made: Overview, call: Awaitable[T], limit_s: float | None = None) -> T | None:
        limit_s = limit_s or self._step_s
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except _TROUBLE as error:
            text = masked(f"{type(error).__name__}: {error}") if str(error) else f"no answer within {limit_s:g} s"
            if text not in made.troubles:
                made.troubles.append(text)
            return None

    async def _describe(self, made: Overview) -> bool:
        if self._admin is None:
            self._admin = await make_admin(self.settings, ADMIN_TIMEOUT_MS)
        try:
            answer = await read_cluster(self.settings, self._admin, TOPICS)
        except KafkaError:
            admin, self._admin = self._admin, None  # another connection the next time
            await admin.close()
            raise
        made.cluster_id, made.brokers, made.topics = answer.cluster_id, answer.brokers, answer.topics
        made.missing_topics = [name for name in TOPICS if name not in answer.topics]
        if self._cluster not in (None, answer.cluster_id):
            await self._begin_again()
        self._cluster = answer.cluster_id
        return True

    async def _begin_again(self) -> None:
        """Another cluster, with an empty log."""
        rewinds = {
            "streams": self.stream_settings.rewind,
            "models": self.models.rewind,
            "anomalies": self.incidents.rewind,
            "dead-letters": self.dead_letters.rewind,
        }
        for name in self._started:
            await rewinds[name]()

    async def _read_lags(self, made: Overview) -> list[StageLag]:
        settings, admin = self.settings, self._admin
        assert admin is not None
        if "lags" not in self._started:
            await self._lags.start()
            self._started.add("lags")
        stages = {room: (topic, settings.topic_prefix + room) for room, topic in READS.items()}
        for worker in made.workers:
            if worker.room == "sink" and worker.group:
                stages[worker.group.removeprefix(settings.topic_prefix)] = ("anomalies", worker.group)
        return [
            await self._lags.read(admin, stage, settings.topic(topic), group, range(made.topics[topic].partitions))
            for stage, (topic, group) in stages.items()
            if topic in made.topics
        ]

    async def _count(self) -> tuple[float, Tally]:
        begin = time.monotonic()
        if self._tally is None or begin - self._tally[0] > self._tally[1] / TALLY_SHARE:
            rows, _ = await self.streams(StreamQuery(sort="state", limit=None))
            self._tally = (begin, time.monotonic() - begin, tally(rows))
        return time.time() - (time.monotonic() - self._tally[0]), self._tally[2]

    async def _redis_facts(self) -> RedisFacts:
        answer = await self.client.info()
        version = answer.get("valkey_version") or answer["redis_version"]
        return RedisFacts(
            str(version),
            int(answer["used_memory"]),
            int(answer.get("maxmemory", 0)),
            int(answer["connected_clients"]),
            int(answer["uptime_in_seconds"]),
            bool(answer.get("aof_enabled")) or int(answer.get("rdb_last_save_time", 0)) > 0,
        )


def _model(record: ModelRecord) -> Model:
    promoted, shadow = record.promoted, record.shadow
    return Model(
        record.stream,
        record.announced_at,
        promoted.version if promoted else None,
        shadow.version if shadow else None,
        shadow.refused if shadow else None,
        (promoted or shadow).points if promoted or shadow else 0,  # type: ignore[union-attr]
    )


@asynccontextmanager
async def reading(
    settings: CommonSettings, since_s: float = 86_400.0, step_s: float = STEP_S
) -> AsyncIterator[OverviewReader]:
    """A reader of overviews; incidents and dead letters are followed from `since_s` seconds ago on.

    A server that does not answer within `step_s` is away.
    """
    reader = OverviewReader(settings, since_s, step_s)
    try:
        yield reader
    finally:
        await reader.stop()

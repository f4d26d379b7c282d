"""Kafka clients as this project uses them: patient at the start, explicit about topics, partitions and offsets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    stop_never,
    wait_exponential,
)

from streamer.contracts import COMPACTED, PARTITIONED, TOPICS
from streamer.errors import UnavailableError
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")

# A windows message or an artefact announcement stays far below; users' batches of points may be large.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A quick restart in the same group waits half of it for the dead member.
SESSION_TIMEOUT_MS = 6_000
# A worker that died is known by its missing heartbeats. One that is at work, on 512 fits or a long backlog, must not be
# thrown out of its group for not asking for more, as it would after the default of 5 minutes: its batch would be done
# again, and again.
MAX_IDLE_MS = 24 * 3_600_000
FETCH_MAX_WAIT_MS = 25  # 5 ms from produce to consume; the default 500 gives 127 ms
RETRIABLE = (KafkaError, OSError, asyncio.TimeoutError)


async def patiently(
    what: str,
    call: Callable[[], Awaitable[T]],
    errors: tuple[type[BaseException], ...] = RETRIABLE,
    give_up_after_s: float | None = None,
) -> T:
    """Repeat `call` until it works, saying once that `what` is away and once that it is back.

    Raises:
        UnavailableError: after `give_up_after_s` seconds; without it the wait has no end.
    """
    said = False

    def say_once(state: RetryCallState) -> None:
        nonlocal said
        error = state.outcome.exception() if state.outcome else None
        if not said:
            log.warning("waiting", on=what, error=f"{type(error).__name__}: {error}")
        said = True

    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(errors),
            wait=wait_exponential(0.1, max=2.0),
            before_sleep=say_once,
            reraise=True,
            stop=stop_never if give_up_after_s is None else stop_after_delay(give_up_after_s),
        ):
            with attempt:
                result = await call()
    except errors as error:
        raise UnavailableError(f"{what} does not answer: {type(error).__name__}: {error}. Is it running?") from error
    if said:
        log.info("back", what=what)
    return result


async def make_producer(settings: CommonSettings, give_up_after_s: float | None = None) -> AIOKafkaProducer:
    """A started producer: acknowledged by all replicas, short linger, lz4."""

    async def start() -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            acks="all",
            linger_ms=2,
            compression_type="lz4",
            max_batch_size=512 * 1024,
            max_request_size=MAX_MESSAGE_BYTES,
            request_timeout_ms=20_000,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    return await patiently(f"Kafka at {settings.bootstrap}", start, give_up_after_s=give_up_after_s)


async def make_consumer(
    settings: CommonSettings, group: str | None, *topics: str, give_up_after_s: float | None = None
) -> AIOKafkaConsumer:
    """A started consumer that commits by hand and begins at the earliest record.

    Without `topics` the caller assigns partitions itself.
    """

    async def start() -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            *topics,
            bootstrap_servers=settings.bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            max_partition_fetch_bytes=2 * MAX_MESSAGE_BYTES,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=SESSION_TIMEOUT_MS // 4,
            max_poll_interval_ms=MAX_IDLE_MS,
            metadata_max_age_ms=30_000,
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    return await patiently(f"Kafka at {settings.bootstrap}", start, give_up_after_s=give_up_after_s)


async def cluster_id(settings: CommonSettings) -> str:
    """Identity of the cluster behind the bootstrap address; an embedded broker gets a new one at each start."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, request_timeout_ms=5_000)
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


def topic_config(topic: str) -> dict[str, str]:
    """Broker-side configuration of a topic of the contract."""
    config = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if topic in COMPACTED:
        config["cleanup.policy"] = "compact"
    return config


async def provision(settings: CommonSettings, give_up_after_s: float | None = None) -> list[str]:
    """Create the topics that are missing; returns their full names.

    metrics, windows, anomalies and training get `settings.partitions` partitions, all others one.
    """

    async def create() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, request_timeout_ms=10_000)
        try:
            await admin.start()
            existing = set(await admin.list_topics())
            created = []
            for topic in TOPICS:
                name = settings.topic(topic)
                if name in existing:
                    continue
                count = settings.partitions if topic in PARTITIONED else 1
                new = NewTopic(name, count, settings.replication, topic_configs=topic_config(topic))
                try:
                    await admin.create_topics([new])
                except TopicAlreadyExistsError:  # another worker was faster
                    continue
                created.append(name)
            return created
        finally:
            await admin.close()

    return await patiently(f"Kafka at {settings.bootstrap}", create, give_up_after_s=give_up_after_s)


async def partitions_of(consumer: AIOKafkaConsumer, *names: str) -> list[TopicPartition]:
    """All partitions of topics, by full name, as the brokers know them now.

    `consumer.partitions_for_topic` knows only topics that the consumer has subscribed to or been assigned.

    Raises:
        UnavailableError: a topic does not exist.
    """
    cluster = await consumer._client.fetch_all_metadata()
    partitions = []
    for name in names:
        found = cluster.partitions_for_topic(name)
        if not found:
            raise UnavailableError(f"topic {name} does not exist: run `anomalyllm topics provision`")
        partitions += [TopicPartition(name, p) for p in sorted(found)]
    return partitions


async def at_end(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> bool:
    """Whether everything has been read that was there at the newest fetch.

    A partition of which no fetch has come back yet has no known end: a slow broker is not an empty topic.
    """
    for partition in partitions:
        end = consumer.highwater(partition)
        if end is None or await consumer.position(partition) < end:
            return False
    return True


class TableReader:
    """A whole topic from its beginning, without a group: how workers follow `streams` and `models`."""

    def __init__(self, settings: CommonSettings, topic: str) -> None:
        self.settings = settings
        self.topic = settings.topic(topic)
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def start(self) -> None:
        """Connect and stand at the beginning."""
        consumer = await make_consumer(self.settings, None)

        async def find() -> set[int]:
            await consumer._client.force_metadata_update()
            found = consumer.partitions_for_topic(self.topic)
            if not found:
                raise UnavailableError(f"topic {self.topic} does not exist: run `anomalyllm topics provision`")
            return set(found)

        consumer._client.add_topic(self.topic)
        partitions = await patiently(f"topic {self.topic}", find, (*RETRIABLE, UnavailableError))
        self._partitions = [TopicPartition(self.topic, p) for p in sorted(partitions)]
        consumer.assign(self._partitions)
        await consumer.seek_to_beginning(*self._partitions)
        self._consumer = consumer

    async def catch_up(self) -> list[ConsumerRecord]:
        """Everything up to the present end. The end is what fetches report (tansu's end_offsets are wrong)."""
        assert self._consumer is not None
        records: list[ConsumerRecord] = []
        quiet = 0
        while quiet < 2:
            new = await self.poll(150)
            records += new
            quiet = quiet + 1 if not new and await at_end(self._consumer, self._partitions) else 0
        return records

    async def poll(self, timeout_ms: int = 0) -> list[ConsumerRecord]:
        """New records, in order of each partition; an empty list when there are none within the time."""
        assert self._consumer is not None
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        return [record for records in batches.values() for record in records]

    async def rewind(self) -> None:
        """Back to the beginning: the broker behind the address is a new one."""
        assert self._consumer is not None
        await self._consumer.seek_to_beginning(*self._partitions)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None


def header(record: ConsumerRecord, name: str) -> str | None:
    """Text of a record header, None when absent."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    for key, value in headers:
        if key == name:
            return value.decode(errors="replace")
    return None

"""Kafka clients as this project uses them: patient at the start, explicit about topics, partitions and offsets."""

import asyncio
import ssl
import traceback
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from streamer.kafka.login import login
from streamer.patience import patiently, uninterrupted
from streamer.record_headers import header_text
from streamer.refusals import KAFKA_ERRORS, raise_if_refused
from streamer.settings import CommonSettings

CANCELLED_S = 1.0  # a broker that answers has answered by then, and the start ends in order; a worker ends within 5
# A windows message or an artefact announcement stays far below; users' batches of points may be large.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A quick restart in the same group waits half of it for the dead member.
SESSION_TIMEOUT_MS = 6_000
# A worker that died is known by its missing heartbeats. One that is at work, on 512 fits or a long backlog, must not be
# thrown out of its group for not asking for more, as it would after the default of 5 minutes: its batch would be done
# again, and again.
MAX_IDLE_MS = 24 * 3_600_000
# How long the embedded broker holds an answer that has nothing: it looks again when that is over. 25 make it 5 ms from
# produced to consumed, the client's own 500 make it 127.
FETCH_MAX_WAIT_MS = 25
# Of topics that are followed for ever and seldom have anything new: 25 took a fifth of a core in workers without work.
FOLLOW_MAX_WAIT_MS = 200
# What flushing and leaving a group may take at the end: milliseconds with a broker, for ever without one. What is not
# flushed by then was never acknowledged, and whoever sent it knows.
CLOSE_S = 1.0
ALERT_S = 2.0  # from the handshake to the alert it is a round trip


def kafka_name(settings: CommonSettings) -> str:
    """The cluster as logs and errors name it."""
    return f"Kafka at {settings.bootstrap}"


def connection(settings: CommonSettings) -> dict[str, Any]:
    """What every client needs to connect. Raises ConfigError: a file of a secret or certificate that cannot be read."""
    return {"bootstrap_servers": settings.bootstrap, **login(settings)}


def _tasks_of(parts: Sequence[object]) -> set[asyncio.Task[Any]]:
    """What a client's parts have running beside us: each of their tasks is one of their methods."""
    frames = {task: getattr(task.get_coro(), "cr_frame", None) for task in asyncio.all_tasks()}
    return {
        task for task, frame in frames.items() if frame and any(frame.f_locals.get("self", frame) is p for p in parts)
    }


async def _stopped(stop: Callable[[], Awaitable[None]], *parts: object, client: Any) -> None:
    """A client's own orderly end within `CLOSE_S`; after it, or when cancelled, its tasks and connections are dropped.

    An end that is cut off in the first of its parts leaves the others at work: they would connect again.
    """
    ending = asyncio.ensure_future(stop())
    try:
        await asyncio.wait({ending}, timeout=CLOSE_S)
    finally:
        left = set() if ending.done() else {ending}
        if running := left | _tasks_of((*parts, client)):
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCELLED_S)
        await client.close()  # once more: a connection that was being made when it closed them all has come since
    if not ending.cancelled() and ending.done():
        ending.result()


class Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """aiokafka's producer, whose end does not wait for a broker that is away."""

    async def stop(self) -> None:
        """Flush and disconnect, within `CLOSE_S`."""
        await _stopped(super().stop, self._sender, self._message_accumulator, client=self.client)


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is untyped
    """aiokafka's consumer, whose end does not wait for a broker that is away."""

    async def stop(self) -> None:
        """Leave the group and disconnect, within `CLOSE_S`."""
        await _stopped(super().stop, self._coordinator, self._fetcher, client=self._client)


async def _raise_tls_alert(settings: CommonSettings, host: str, port: int, context: ssl.SSLContext) -> None:
    """With TLS 1.3 a server says only after the handshake that it does not accept our certificate; aiokafka drops it."""
    try:
        async with asyncio.timeout(ALERT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                await reader.read(1)  # an alert, or nothing: Kafka does not speak first
            finally:
                writer.transport.abort()
    except KAFKA_ERRORS as error:
        raise_if_refused(kafka_name(settings), error)


async def _raise_why(settings: CommonSettings) -> None:
    """aiokafka says only that it could not connect, whatever the reason: ask the bootstrap servers once ourselves.

    Raises RefusedError when one of them refuses the login.
    """
    given = connection(settings)
    hosts = collect_hosts(given.pop("bootstrap_servers"))
    for host, port, _ in hosts:
        try:
            conn = await create_conn(host, port, request_timeout_ms=5_000, **given)
        except KAFKA_ERRORS as error:
            raise_if_refused(kafka_name(settings), error)
            if "ssl_context" in given:
                await _raise_tls_alert(settings, host, port, given["ssl_context"])
            continue
        conn.close()


async def _start(client: Any) -> None:
    """Start a client; one that is cancelled while a broker is slow to name the brokers leaves no connection to nobody."""
    try:
        await client.start()
    except asyncio.CancelledError as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):  # aiokafka holds it in a local alone
            opened = frame.f_locals.get("bootstrap_conn")
            if isinstance(opened, AIOKafkaConnection):
                opened.close()
        raise


async def _given_up(starting: asyncio.Future[None], client: Any) -> None:
    """End a start that is not waited for any longer, and close what it has opened."""
    await asyncio.wait([starting], timeout=CANCELLED_S)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())


async def started(settings: CommonSettings, client: Any) -> None:
    """Start a producer, consumer or admin client; one that does not start is closed. Raises KafkaError, RefusedError."""
    starting = asyncio.ensure_future(_start(client))
    try:
        await asyncio.shield(starting)
    except BaseException as error:
        await uninterrupted(_given_up(starting, client))
        if isinstance(error, KafkaConnectionError):
            await _raise_why(settings)
        raise


async def make_producer(
    settings: CommonSettings, give_up_after_s: float | None = None, request_timeout_s: float = 20.0
) -> AIOKafkaProducer:
    """A started producer: acknowledged by all replicas, short linger, lz4.

    A record that is not acknowledged within `request_timeout_s` has failed. Raises RefusedError, and UnavailableError after `give_up_after_s` seconds.
    """

    async def start() -> AIOKafkaProducer:
        producer = Producer(
            **connection(settings),
            acks="all",
            linger_ms=2,
            compression_type="lz4",
            max_batch_size=512 * 1024,
            max_request_size=MAX_MESSAGE_BYTES,
            request_timeout_ms=int(request_timeout_s * 1000),
        )
        await started(settings, producer)
        return producer

    return await patiently(kafka_name(settings), start, give_up_after_s=give_up_after_s)


async def make_consumer(
    settings: CommonSettings,
    group: str | None,
    *topics: str,
    give_up_after_s: float | None = None,
    fetch_bytes: int = 50 * 1024 * 1024,
    wait_ms: int = FETCH_MAX_WAIT_MS,
) -> AIOKafkaConsumer:
    """A started consumer that commits by hand and begins at the earliest record.

    Without `topics` the caller assigns partitions itself; `fetch_bytes` bounds an answer of the broker, `wait_ms` is how
    long it may hold one that has nothing. Raises RefusedError, and UnavailableError after `give_up_after_s` seconds.
    """

    async def start() -> AIOKafkaConsumer:
        consumer = Consumer(
            *topics,
            **connection(settings),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=2 * MAX_MESSAGE_BYTES,
            fetch_max_bytes=fetch_bytes,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=SESSION_TIMEOUT_MS // 4,
            max_poll_interval_ms=MAX_IDLE_MS,
            metadata_max_age_ms=30_000,
        )
        await started(settings, consumer)
        return consumer

    return await patiently(kafka_name(settings), start, give_up_after_s=give_up_after_s)


async def make_admin(settings: CommonSettings, request_timeout_ms: int) -> AIOKafkaAdminClient:
    """A started admin client, to be closed by the caller. One try: raises KafkaError, RefusedError."""
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=request_timeout_ms)
    await started(settings, admin)
    return admin


async def fetch(
    settings: CommonSettings, consumer: AIOKafkaConsumer, timeout_ms: int = 0, max_records: int | None = None
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """New records by partition, none when there are none within the time or the broker is away.

    An error that aiokafka does not mend by itself is waited out: what has been fetched stands where it stood. Raises
    RefusedError when reading a topic is not allowed.
    """

    async def once() -> dict[TopicPartition, list[ConsumerRecord]]:
        found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
            timeout_ms=timeout_ms, max_records=max_records
        )
        return found

    batches = await patiently(f"reading from {kafka_name(settings)}", once, (KafkaError,))
    if not batches:
        raise_if_hidden(settings, consumer, {partition.topic for partition in consumer.assignment()})
    return {partition: records for partition, records in batches.items() if records}


def unread(consumer: AIOKafkaConsumer, at: TopicPartition) -> int | None:
    """Offsets between where we read and the end of a partition in its broker's newest answer; None when not known."""
    if at not in consumer.assignment():
        return None
    state = consumer._subscription.subscription.assignment.state_value(at)
    if not state.has_valid_position or state.highwater is None:
        return None
    return max(int(state.highwater) - int(state.position), 0)


def raise_if_hidden(settings: CommonSettings, consumer: AIOKafkaConsumer, topics: Set[str]) -> None:
    """Raises RefusedError when the broker does not even describe one of these topics to us.

    aiokafka logs it, and waits for the topic for ever.
    """
    hidden = consumer._client.cluster.unauthorized_topics & topics
    if hidden:
        raise_if_refused(kafka_name(settings), TopicAuthorizationFailedError(hidden))


def header(record: ConsumerRecord, name: str) -> str | None:
    """Text of a record header, None when absent."""
    return header_text(record.headers, name)

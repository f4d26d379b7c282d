"""Kafka clients as this project uses them: patient at the start, explicit about topics, partitions and offsets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    stop_never,
    wait_exponential,
)

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


def header(record: ConsumerRecord, name: str) -> str | None:
    """Text of a record header, None when absent."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    for key, value in headers:
        if key == name:
            return value.decode(errors="replace")
    return None

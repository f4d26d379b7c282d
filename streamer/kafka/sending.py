"""Sending records: one path, whose errors say whether trying again can help."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from streamer.errors import UnavailableError, UnsendableError
from streamer.kafka.client import kafka_name
from streamer.patience import patiently
from streamer.refusals import raise_if_refused
from streamer.settings import CommonSettings

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# Answers to the record or the topic as they are. aiokafka calls many more not retriable, among them such as a broker
# that is away or a leader that has changed.
_NEVER = (
    kafka.InvalidTimestampError,  # message.timestamp.before.max.ms and its like
    kafka.PolicyViolationError,
    kafka.UnsupportedForMessageFormatError,
    kafka.UnsupportedVersionError,
    kafka.InvalidRequiredAcksError,
)


class Outgoing(NamedTuple):
    """One record to be sent; without `partition` its key decides where, without `timestamp_ms` it is stamped now."""

    topic: str  # full name
    value: bytes | None  # None: a tombstone
    key: bytes | None = None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


async def send(settings: CommonSettings, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
    """Send in order; returns when every record is acknowledged. Sending them all again does no harm.

    Raises:
        RefusedError: writing to a topic is not allowed.
        UnsendableError: a record is too large for its topic, or refused by it; the others may have been written.
        UnavailableError: Kafka is away; some may have been written.
    """
    flying: list[asyncio.Future[object]] = []
    failed: BaseException | None = None
    try:
        for record in records:
            flying.append(  # noqa: PERF401  # what was sent before one fails is awaited, too
                await producer.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp_ms,
                )
            )
    except (KafkaError, OSError) as error:
        failed = error
    # All are awaited, also when one has failed: nobody else would fetch the errors of the others.
    for result in await asyncio.gather(*flying, return_exceptions=True):
        if isinstance(result, BaseException):
            failed = failed or result
    if failed is None:
        return
    name = kafka_name(settings)
    raise_if_refused(name, failed)
    if isinstance(failed, TOO_LARGE):
        size, topic = max((len(record.value or b""), record.topic) for record in records)
        raise UnsendableError(
            f"{name} takes no record of this size ({size} bytes to {topic}): raise max.message.bytes of the topic "
            f"(`anomalyllm topics provision` makes topics with what is needed)"
        ) from failed
    if isinstance(failed, InvalidTopicError):
        raise UnsendableError(f"{name} does not allow a topic's name: {failed}. Change --topic-prefix") from failed
    if isinstance(failed, _NEVER):
        topics = ", ".join(sorted({record.topic for record in records}))
        why = str(failed).partition("\n")[0]
        raise UnsendableError(
            f"{name} will not take a record of {topics}: {type(failed).__name__}: {why}. Check the settings of the topic"
        ) from failed
    if isinstance(failed, KafkaError | OSError):
        raise UnavailableError(f"{name} did not take the records: {type(failed).__name__}: {failed}") from failed
    raise failed


async def send_patiently(settings: CommonSettings, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
    """The same, however long Kafka is away. Raises RefusedError, UnsendableError."""
    if records:
        await patiently(kafka_name(settings), lambda: send(settings, producer, records), (UnavailableError,))

"""Dead letters: the raw bytes untouched, and headers that say what was wrong and where it came from."""

import asyncio

from aiokafka import AIOKafkaProducer, ConsumerRecord

from streamer.contracts import DeadLetterHeaders
from streamer.settings import CommonSettings


async def dead_letter(
    producer: AIOKafkaProducer, settings: CommonSettings, record: ConsumerRecord, reason: str, message: str
) -> "asyncio.Future[object]":
    """Send one record to `dead-letters`; returns the future of its acknowledgement."""
    headers = DeadLetterHeaders(
        topic=record.topic,
        partition=str(record.partition),
        offset=str(record.offset),
        timestamp=str(record.timestamp),
        error=reason,
        message=message,
    )
    future: asyncio.Future[object] = await producer.send(
        settings.topic("dead-letters"),
        # aiokafka sends no record that has neither key nor value; other clients do
        value=b"" if record.value is None and record.key is None else record.value,
        key=record.key,
        headers=[(name, text.encode()) for name, text in headers.model_dump().items()],
    )
    return future

"""What a consumer group makes of a worker that is busy for long."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator

from streamer.kafka import client as kafka
from streamer.kafka.client import make_consumer, make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings

pytestmark = pytest.mark.kafka


async def _one(consumer: AIOKafkaConsumer) -> None:
    """Read until there is a record."""
    async with asyncio.timeout(30):
        while not await consumer.getmany(timeout_ms=100):
            pass


@pytest.mark.parametrize("patient", [True, False])
async def test_a_busy_worker_stays_in_its_group(
    settings: CommonSettings, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    await provision(settings)
    topic, group = settings.topic("training"), f"{settings.topic_prefix}busy-{patient}"
    producer = await make_producer(settings)
    await producer.send_and_wait(topic, b"{}", key=b"a")
    await producer.stop()
    if not patient:
        monkeypatch.setattr(kafka, "MAX_IDLE_MS", 500)
    consumer = await make_consumer(settings, group, topic)
    try:
        await _one(consumer)
        await asyncio.sleep(3.0)  # at work, asking for nothing
        coordinator = consumer._coordinator
        assert isinstance(coordinator, GroupCoordinator)
        assert (coordinator.generation >= 0) is patient
    finally:
        await consumer.stop()

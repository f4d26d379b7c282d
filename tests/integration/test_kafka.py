"""What a consumer group makes of a worker that is busy for long, and what clients leave when they end."""

import asyncio
import gc

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator

from streamer.kafka import client as kafka
from streamer.kafka.client import make_consumer, make_producer
from streamer.settings import CommonSettings
from testkit.serving import PATIENCE_S, until

pytestmark = pytest.mark.kafka


async def _one(consumer: AIOKafkaConsumer) -> None:
    """Read until there is a record."""
    async with asyncio.timeout(PATIENCE_S):
        while not await consumer.getmany(timeout_ms=100):
            pass


def _in_group(consumer: AIOKafkaConsumer) -> bool:
    coordinator = consumer._coordinator
    assert isinstance(coordinator, GroupCoordinator)
    return bool(coordinator.generation >= 0)


async def test_a_busy_worker_stays_in_its_group(settings: CommonSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one that began later, may be idle for half a second only, and is out."""
    topic = settings.topic("training")
    producer = await make_producer(settings)
    await producer.send_and_wait(topic, b"{}", key=b"a")
    await producer.stop()
    patient = await make_consumer(settings, f"{settings.topic_prefix}patient", topic)
    try:
        await _one(patient)  # from here on at work, asking for nothing
        monkeypatch.setattr(kafka, "MAX_IDLE_MS", 500)
        other = await make_consumer(settings, f"{settings.topic_prefix}other", topic)
        try:
            await _one(other)

            async def out() -> bool:
                return not _in_group(other)

            await until(out)
            assert _in_group(patient)
        finally:
            await other.stop()
    finally:
        await patient.stop()


async def test_a_start_that_is_cancelled_leaves_no_connection(settings: CommonSettings) -> None:
    for turns in range(0, 40, 2):  # of the loop, in which the client comes a little further each time
        starting = asyncio.create_task(make_producer(settings))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not starting.cancel():  # it had come to its end
            await starting.result().stop()
        await asyncio.gather(starting, return_exceptions=True)
    gc.collect()  # what is left behind warns now, and a warning is an error


async def test_an_end_that_is_cut_off_leaves_nothing_at_work(
    settings: CommonSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer whose broker was slow when it left its group went on fetching, over connections that nobody closed."""
    before = asyncio.all_tasks()
    producer = await make_producer(settings)
    await producer.send_and_wait(settings.topic("training"), b"{}", key=b"a")
    consumer = await make_consumer(settings, f"{settings.topic_prefix}cut", settings.topic("training"))
    await _one(consumer)
    await producer.send(settings.topic("training"), b"{}", key=b"a")
    monkeypatch.setattr(kafka, "CLOSE_S", 0.0)
    await consumer.stop()
    await producer.stop()
    assert asyncio.all_tasks() == before

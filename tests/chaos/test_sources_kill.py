"""kill -9 of a streamer that reads another tool's topic, and a broker that refuses: nothing is lost, nothing is doubled."""

import asyncio
import os
import signal
import sys
import uuid

import numpy as np
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaTimeoutError

from streamer.host.fleet import worker_env
from streamer.kafka.client import make_consumer
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from testkit.serving import producing, running, until
from tests.streamer.sources.payloads import NOW_MS, series, write_v1

pytestmark = pytest.mark.kafka
PODS, STEPS = 10, 1200
NAMES = [f"x_total{{pod=p{pod}}}" for pod in range(PODS)]


async def read_up_to(settings: CommonSettings, topic: str) -> int:
    consumer: AIOKafkaConsumer = await make_consumer(settings, settings.topic_prefix + "sources")
    offsets = [await consumer.committed(TopicPartition(topic, partition)) for partition in range(2)]
    await consumer.stop()
    return sum(offset or 0 for offset in offsets)


async def create(settings: CommonSettings, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()


async def test_kill_9_in_mid_load_loses_and_doubles_nothing(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    topic = f"scrapes-{uuid.uuid4().hex[:12]}"
    await create(settings, topic)
    steps = np.random.default_rng(0).integers(1, 1000, (PODS, STEPS))
    totals = steps.cumsum(1)
    async with producing(settings) as producer:
        for step in range(STEPS):
            at = NOW_MS + step * 15_000
            of = [
                series({"__name__": "x_total", "pod": f"p{pod}"}, (at, float(totals[pod, step]))) for pod in range(PODS)
            ]
            await producer.send(topic, write_v1(*of), partition=step % 2, timestamp_ms=at)
        await producer.flush()

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamer.cli", "streamer", "--source", f"{topic}=remote-write",
            env={**os.environ, **worker_env(settings)}, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    worker = await start()
    for _ in range(3):
        before = await read_up_to(settings, topic)

        async def moved(before: int = before) -> bool:
            return await read_up_to(settings, topic) > before or before == STEPS

        await until(moved)
        worker.kill()
        await worker.wait()
        worker = await start()

    async def all_in() -> bool:
        headers = await read_headers(redis_client, Keys(settings.namespace), NAMES, settings.partitioner)
        return len(headers) == PODS and all(h.hi - h.lo == STEPS - 1 for h in headers.values())

    await until(all_in)
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() in (0, -signal.SIGTERM)  # it may still have been starting, with nothing left to do
    windows = await read_windows(redis_client, Keys(settings.namespace), NAMES)
    for pod, stream in enumerate(NAMES):
        expected = np.array([np.nan, *steps[pod, 1:]], np.float32)
        np.testing.assert_array_equal(windows[stream].values_SC[:, 0], expected, err_msg=stream)


class Refusing:
    """A real producer that refuses the first points it is given."""

    def __init__(self, producer: object, topic: str, times: int) -> None:
        self._producer = producer
        self._topic = topic
        self.left = times

    async def send(self, topic: str, *args: object, **kwargs: object) -> object:
        if topic == self._topic and self.left:
            self.left -= 1
            raise KafkaTimeoutError
        return await self._producer.send(topic, *args, **kwargs)  # type: ignore[attr-defined]


async def test_points_that_the_broker_refuses_are_sent_again(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    topic = f"scrapes-{uuid.uuid4().hex[:12]}"
    await create(settings, topic)
    async with running(settings, source=f"{topic}=graphite") as worker, producing(settings) as producer:

        async def started() -> bool:
            return worker.bridge is not None

        await until(started)
        assert worker.bridge is not None
        refusing = Refusing(worker.producer, settings.topic("metrics"), 2)
        worker.bridge._producer = refusing
        for step in range(60):
            at = NOW_MS + step * 10_000
            await producer.send_and_wait(topic, f"load {step} {at // 1000}".encode(), partition=0, timestamp_ms=at)

        async def all_in() -> bool:
            header = (await read_headers(redis_client, Keys(settings.namespace), ["load"])).get("load")
            return header is not None and header.hi - header.lo == 59

        await until(all_in)
        assert refusing.left == 0
    window = (await read_windows(redis_client, Keys(settings.namespace), ["load"]))["load"]
    assert window.values_SC[:, 0].tolist() == list(range(60))

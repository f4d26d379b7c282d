"""Topics whose partitions do not fit the settings: said in one line with its cure, and mended where Kafka can."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamer.errors import ConfigError
from streamer.host.fleet import WORKERS
from streamer.kafka.topics import provision
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.processes import command
from testkit.serving import NOW_MS, producing, publish, running, until

pytestmark = pytest.mark.kafka
PARTITIONED = ("metrics", "windows", "anomalies", "training")
REAL_KAFKA = os.environ.get("ANOMALYLLM_TEST_KAFKA") == "1"


@pytest.fixture
async def bare(settings: CommonSettings) -> AsyncIterator[tuple[CommonSettings, AIOKafkaAdminClient]]:
    """Settings under which there is no topic yet, and an admin client."""
    made = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "x."})
    admin = AIOKafkaAdminClient(bootstrap_servers=made.bootstrap)
    await admin.start()
    yield made, admin
    await admin.delete_topics([made.topic(topic) for topic in PARTITIONED])
    await admin.close()


async def with_partitions(made: CommonSettings, admin: AIOKafkaAdminClient, count: int) -> None:
    await admin.create_topics([NewTopic(made.topic(topic), count, 1) for topic in PARTITIONED])


@pytest.mark.parametrize(("count", "cure"), [(8, "--partitions 8"), (2, "provision --fix")])
async def test_workers_and_commands_say_it_and_end(
    bare: tuple[CommonSettings, AIOKafkaAdminClient], tmp_path: Path, count: int, cure: str
) -> None:
    made, admin = bare
    await with_partitions(made, admin, count)
    await provision(made.model_copy(update={"partitions": count}))  # makes the others
    with pytest.raises(ConfigError, match=rf"with {count} partitions.*--partitions is 4\. .*{cure}"):
        await provision(made)
    for arguments in [(WORKERS[0],), ("topics", "provision")] if count == 8 else [(WORKERS[1],)]:
        async with command(tmp_path / "run", made, *arguments) as process:
            assert await process.process.wait() == 1
        assert cure in process.output.replace("\n", " ")
        assert "Traceback" not in process.output


@pytest.mark.skipif(not REAL_KAFKA, reason="the embedded broker adds no partitions")
async def test_fix_adds_partitions_and_streams_go_on(
    bare: tuple[CommonSettings, AIOKafkaAdminClient], redis_client: redis.asyncio.Redis
) -> None:
    made, admin = bare
    few = made.model_copy(update={"partitions": 2})
    await with_partitions(few, admin, 2)
    await provision(few)
    streams = [f"s{i}" for i in range(8)]
    keys = Keys(made.namespace)

    async def slots(count: int) -> bool:
        windows = await read_windows(redis_client, keys, streams)
        return len(windows) == 8 and all(len(window.values_SC) == count for window in windows.values())

    async with producing(made) as producer:

        async def send(first: int, count: int) -> None:
            for name in streams:
                rows = [[NOW_MS + k * 1000, float(k)] for k in range(first, first + count)]
                home = home_partition(name, 2)  # also later: this publisher has not heard of the new partitions
                await publish(producer, few, {"stream": name, "points": rows}, key=name.encode(), partition=home)

        await send(0, 40)
        async with running(few):
            await until(lambda: slots(40))
        await send(40, 10)  # waits in the old partitions
        assert len(await provision(made, fix=True)) == 4
        assert await provision(made) == []
        async with running(made):
            await send(50, 10)
            await until(lambda: slots(60))


@pytest.mark.skipif(REAL_KAFKA, reason="Apache Kafka adds them")
async def test_a_broker_that_adds_none_is_heard(bare: tuple[CommonSettings, AIOKafkaAdminClient]) -> None:
    made, admin = bare
    await with_partitions(made, admin, 2)
    with pytest.raises(ConfigError, match=r"does not add partitions to .*--partitions 2"):
        await provision(made, fix=True)


@pytest.mark.skipif(not REAL_KAFKA, reason="the embedded broker has no replicas")
async def test_a_refused_topic_is_heard(
    bare: tuple[CommonSettings, AIOKafkaAdminClient],
) -> None:
    made, _ = bare
    with pytest.raises(ConfigError, match=r"does not create the topic .*InvalidReplicationFactor.*--replication"):
        await provision(made.model_copy(update={"replication": 3}))

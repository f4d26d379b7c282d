"""Topics of other tools, read by the streamer worker between real Kafka and real Redis."""

import uuid
from collections.abc import AsyncIterator

import numpy as np
import orjson
import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamer.contracts import StreamSettings
from streamer.errors import ConfigError
from streamer.kafka.client import header
from streamer.settings import CommonSettings, StreamerSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from streamer.worker import StreamerWorker
from testkit.serving import producing, read_all, running, until
from tests.streamer.sources.payloads import NOW_MS, NOW_S, series, write_v1

pytestmark = pytest.mark.kafka


@pytest.fixture
async def topic(settings: CommonSettings) -> AsyncIterator[str]:
    """A topic of the user's own, with another partition count than `metrics`."""
    name = f"scrapes-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1)])
    yield name
    await admin.delete_topics([name])
    await admin.close()


def labels(pod: int, name: str = "requests") -> dict[str, str]:
    return {"__name__": name, "job": "shop", "pod": f"p{pod}"}


async def test_remote_write_reaches_the_windows_of_its_streams(
    settings: CommonSettings, topic: str, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    names = [f"requests{{job=shop,pod=p{pod}}}" for pod in range(8)]
    async with producing(settings) as producer:  # a backlog, over three partitions by turns
        await producer.send_and_wait(topic, write_v1(metadata={"requests": 1}), partition=1, timestamp_ms=NOW_MS)
        for step in range(60):
            of = [series(labels(pod), (NOW_MS + step * 15_000, float(pod * 1000 + step * step))) for pod in range(8)]
            await producer.send_and_wait(topic, write_v1(*of), partition=step % 3, timestamp_ms=NOW_MS + step * 15_000)
    async with running(settings, source=f"{topic}=remote-write"):

        async def all_in() -> bool:
            headers = await read_headers(redis_client, keys, names, settings.partitioner)
            return sum(header.points for header in headers.values()) == 8 * 60

        await until(all_in)
    windows = await read_windows(redis_client, keys, names, settings.partitioner)
    assert [window.header.counters for window in windows.values()] == [[True]] * 8
    for window in windows.values():
        assert window.header.interval_ns == 15 * 10**9
        increases = window.values_SC[:, 0]
        assert np.array_equal(increases[1:], np.arange(1, 60) * 2.0 - 1)
    told = {r.key.decode(): orjson.loads(r.value) for r in await read_all(settings, "streams") if r.value}
    assert told[names[0]] == {"labels": {"job": "shop", "pod": "p0"}, "kind": "counter"}
    assert await read_all(settings, "dead-letters") == []


async def test_bad_parts_become_one_dead_letter_a_record_and_text_fields_are_told_once(
    settings: CommonSettings, topic: str
) -> None:
    def metric(step: int) -> dict[str, object]:
        return {"name": "cpu", "tags": {"host": "a"}, "fields": {"idle": step, "os": "x"}, "timestamp": NOW_S + step}

    async with running(settings, source=f"{topic}=telegraf") as worker, producing(settings) as producer:
        for step in range(5):
            await producer.send_and_wait(topic, orjson.dumps(metric(step)), partition=0, timestamp_ms=NOW_MS)
        batch = {"metrics": [metric(6), {"name": "", "fields": {"x": 1}}, {"no": "metric"}]}
        await producer.send_and_wait(topic, orjson.dumps(batch), partition=0, timestamp_ms=NOW_MS)
        await producer.send_and_wait(topic, b"cpu,host=a idle=1 1790000000", partition=0, timestamp_ms=NOW_MS)
        await producer.send_and_wait(topic, None, key=b"k", partition=0, timestamp_ms=NOW_MS)

        async def all_read() -> bool:
            return worker.bridge is not None and worker.stats.counts["source_records"] == 8

        await until(all_read)
    dead = await read_all(settings, "dead-letters")
    assert [(header(r, "topic"), header(r, "error")) for r in dead] == [
        (topic, "text"), (topic, "telegraf"), (topic, "json"), (topic, "empty"),
    ]  # fmt: skip
    messages = [header(r, "message") or "" for r in dead]
    assert "2 parts refused, 1 numbers processed: metrics[1]" in messages[1]
    assert f"It looks like InfluxDB line protocol: --source {topic}=influx" in messages[2]
    assert dead[1].value == orjson.dumps(batch)
    points = [orjson.loads(r.value) for r in await read_all(settings, "metrics")]
    assert sorted(row[1] for body in points for row in body["points"]) == [0, 1, 2, 3, 4, 6]


async def test_a_users_settings_stay_and_a_history_header_is_passed_on(settings: CommonSettings, topic: str) -> None:
    async with producing(settings) as producer:
        mine = StreamSettings(direction="up", unit="s")
        await producer.send_and_wait(
            settings.topic("streams"), mine.model_dump_json(exclude_unset=True).encode(), key=b"load{host=a}"
        )
        line = f"load;host=a 1.5 {NOW_S}\nother;host=b 2 {NOW_S}\n".encode()
        await producer.send_and_wait(topic, line, partition=2, headers=[("mode", b"history")], timestamp_ms=NOW_MS)
        async with running(settings, source=f"{topic}=graphite") as worker:

            async def passed_on() -> bool:
                return worker.bridge is not None and worker.stats.counts["points_in"] == 2

            await until(passed_on)
    told = [(r.key, r.value) for r in await read_all(settings, "streams")]
    assert [key for key, _ in told] == [b"load{host=a}", b"other{host=b}"]
    records = {r.key: r for r in await read_all(settings, "metrics")}
    assert all(header(r, "mode") == "history" for r in records.values())
    # the settings give a unit, so the time stamp is one that needs none
    assert orjson.loads(records[b"load{host=a}"].value)["points"] == [["2026-09-21T14:13:20.000000000Z", 1.5]]


async def test_what_was_read_is_not_read_again_after_a_restart(settings: CommonSettings, topic: str) -> None:
    async with producing(settings) as producer:
        for part in range(3):
            async with running(settings, source=f"{topic}=graphite", source_name=f"{topic}=g.{{name}}") as worker:
                line = f"load {part} {NOW_S + part}".encode()
                await producer.send_and_wait(topic, line, partition=0, timestamp_ms=NOW_MS)

                async def one_more(worker: StreamerWorker = worker) -> bool:
                    return worker.bridge is not None and worker.stats.counts["source_records"] >= 1

                await until(one_more)
                assert worker.stats.counts["source_records"] == 1
    bodies = [orjson.loads(r.value) for r in await read_all(settings, "metrics")]
    assert [(body["stream"], body["points"][0][1]) for body in bodies] == [
        ("g.load", 0.0),
        ("g.load", 1.0),
        ("g.load", 2.0),
    ]


async def test_partitions_are_shared_out_by_the_group(settings: CommonSettings, topic: str) -> None:
    async with (
        running(settings, assignment="group", source=f"{topic}=graphite") as worker,
        producing(settings) as producer,
    ):
        for partition in range(3):
            line = f"load{partition} 1.5 {NOW_S}".encode()
            await producer.send_and_wait(topic, line, partition=partition, timestamp_ms=NOW_MS)

        async def applied() -> bool:
            return hasattr(worker, "stats") and worker.stats.counts["points_in"] == 3

        await until(applied)


async def test_a_worker_whose_source_does_not_exist_works_and_stops(settings: CommonSettings) -> None:
    async with running(settings, source="not-there=influx") as worker, producing(settings) as producer:
        await producer.send_and_wait(settings.topic("metrics"), b'{"stream":"a","value":1}')

        async def read() -> bool:
            return hasattr(worker, "stats") and worker.stats.counts["records_in"] >= 1

        await until(read)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"source": "metrics=influx"}, "own topic"),
        ({"source": "x=carbon"}, "known are telegraf"),
        ({"source": "x"}, "expected TOPIC=VALUE"),
        ({"source": "x=influx,x=graphite"}, "twice"),
        ({"source": "a b=influx"}, "no name of a Kafka topic"),
        ({"source": "x=influx", "source_name": "y={name}"}, "no topic of --source"),
        ({"source": "x=influx", "source_name": "x=all"}, "would be one"),
        ({"source": "x=influx", "source_name": "x={nam}"}, "unknown part"),
    ],
)
def test_sources_that_cannot_be_are_refused_with_the_reason(own: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        StreamerWorker(StreamerSettings.model_validate(own))

"""Records and keys that used to halt a partition for ever are answered, and their neighbours go on."""

import asyncio
import os
from collections.abc import Sequence

import orjson
import pytest
import redis.asyncio
from aiokafka import ConsumerRecord

from streamer.contracts import MAX_RING, channels_of
from streamer.kafka.client import header
from streamer.placement import home_partition, shard_of
from streamer.settings import CommonSettings, StreamerSettings
from streamer.windows.decode import Decoded, Decoder
from streamer.windows.ingest import Ingest, Plan
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.serving import NOW_MS, committed, producing, publish, read_all, running, until

pytestmark = pytest.mark.kafka


def rows(first: int, count: int, channels: int = 1) -> list[list[float]]:
    return [[NOW_MS + (first + k) * 1000, *(float(k + c) for c in range(channels))] for k in range(count)]


@pytest.mark.skipif(
    "ANOMALYLLM_TEST_KAFKA" in os.environ, reason="Kafka 4 itself refuses a record time stamp so far off"
)
async def test_a_window_too_large_for_redis_is_refused_and_its_neighbours_go_on(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    names = [f"c{k}" for k in range(256)]
    async with producing(settings) as producer:
        topic = settings.topic("streams")
        whole = orjson.dumps({"capacity": 1 << 20, "interval_s": 1, "channels": names})
        await producer.send_and_wait(topic, whole, key=b"named")
        await producer.send_and_wait(topic, orjson.dumps({"capacity": 1 << 20, "interval_s": 1}), key=b"wide")
        async with running(settings):
            wide = {"stream": "wide", "channels": names, "points": rows(0, 3, 256)}
            await publish(producer, settings, wide, key=b"wide")
            # a jump in time writes the whole ring
            later = {"stream": "wide", "channels": names[:2], "points": rows(1 << 20, 3, 2)}
            await publish(producer, settings, later, key=b"wide", timestamp_ms=NOW_MS + 10**12)
            await publish(producer, settings, {"stream": "b", "points": rows(0, 50)}, key=b"b")

            async def done() -> bool:
                return await committed(settings) == 3

            await until(done)
    windows = await read_windows(redis_client, Keys(settings.namespace), ["wide", "b"])
    assert len(windows["wide"].header.channels) == channels_of(1 << 20) == MAX_RING >> 20
    assert windows["wide"].values_SC[-3:, 1].tolist() == [1.0, 2.0, 3.0]
    assert len(windows["b"].values_SC) == 50
    dead = {
        (header(r, "topic"), header(r, "error")): header(r, "message") for r in await read_all(settings, "dead-letters")
    }
    assert "lower capacity to 8192" in str(dead[topic, "contract"])
    assert "smaller capacity" in str(dead[settings.topic("metrics"), "refused"])


async def test_keys_of_another_kind_are_replaced_before_anything_is_written(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys, shard = Keys(settings.namespace), shard_of("a")
    for key in (keys.ring(shard, "a"), keys.names(shard)):
        await redis_client.hset(key, "foreign", "1")
    await redis_client.hset(keys.waiting(shard, "a"), "foreign", "1")
    async with producing(settings) as producer, running(settings):
        await publish(producer, settings, {"stream": "a", "points": rows(0, 20)}, key=b"a")
        await publish(producer, settings, {"stream": "a", "points": rows(20, 30)}, key=b"a")

        async def done() -> bool:
            return await committed(settings) == 2

        await until(done)
    windows = await read_windows(redis_client, keys, ["a"])
    assert len(windows["a"].values_SC) == 50
    assert windows["a"].header.points == 50


async def test_a_record_that_no_rule_has_foreseen_is_set_aside_alone(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Decoder.decode

    def decode(self: Decoder, records: Sequence[ConsumerRecord]) -> Decoded:
        if any(b"unforeseen" in (record.value or b"") for record in records):
            raise ZeroDivisionError("nobody has thought of this")
        return whole(self, records)

    monkeypatch.setattr(Decoder, "decode", decode)
    async with producing(settings) as producer:
        for k in range(40):
            await publish(producer, settings, {"stream": "a", "points": rows(k, 1)}, key=b"a")
            if k % 15 == 7:
                await publish(producer, settings, {"stream": "a", "unforeseen": k}, key=b"a")
        async with running(settings) as worker:

            async def done() -> bool:
                return await committed(settings) == 42 + 1

            await until(done)
            assert worker.stats.counts["dead_letters"] == 3
    windows = await read_windows(redis_client, Keys(settings.namespace), ["a"])
    assert windows["a"].values_SC[:, 0].tolist() == [0.0] * 40
    dead = await read_all(settings, "dead-letters")
    assert [header(r, "error") for r in dead] == ["internal"] * 3
    assert all("ZeroDivisionError" in str(header(r, "message")) for r in dead)


async def test_one_partition_s_batch_leaves_another_s_streams_in_memory(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.windows.ingest.MAX_LIVE", 20)
    own = StreamerSettings.model_validate(settings.model_dump())
    ingest = Ingest(own, redis_client, Keys(settings.namespace), {})
    decoder = Decoder({}, settings.partitions, "murmur2", 300.0)
    of_partition: dict[int, list[str]] = {}
    for name in (f"s{k}" for k in range(200)):
        of_partition.setdefault(home_partition(name, settings.partitions), []).append(name)

    async def plan(partition: int, names: Sequence[str]) -> Plan:
        records = [
            ConsumerRecord(
                "metrics", partition, at, NOW_MS + 10**9, 0, None,
                orjson.dumps({"stream": name, "points": rows(0, 40)}), None, 0, 0, (),
            )
            for at, name in enumerate(names)
        ]  # fmt: skip
        return await ingest.plan(decoder.decode(records), records, lambda shard: -1)

    first, second = of_partition[0], of_partition[1]
    await plan(0, first[:15])
    # One is waiting for Redis to tell it of its last stream when the other needs room.
    plans = await asyncio.gather(plan(0, first[5:16]), plan(1, second[:15]))
    assert [made.points for made in plans] == [11 * 40, 15 * 40]
    assert set(first[5:16]) | set(second[:15]) <= set(ingest.windows)
    await plan(2, of_partition[2][:3])
    assert len(ingest.windows) <= 20

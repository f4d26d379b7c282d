"""The streamer worker between real Kafka and real Redis."""

import time

import numpy as np
import orjson
import pytest
import redis.asyncio
import structlog.testing

from streamer.kafka.client import header
from streamer.placement import home_partition, shard_of
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import all_streams, read_headers, read_windows
from streamer.windows.wire import FLAG_HISTORY, FLAG_LATE, WindowBatch, decode
from testkit.serving import NOW_MS, committed, producing, publish, read_all, running, until

pytestmark = pytest.mark.kafka


async def test_points_become_windows_and_notifications(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    async with producing(settings) as producer:
        own = {"stream": "a", "points": [[NOW_MS + i * 1000, float(i)] for i in range(50)]}
        await publish(producer, settings, own, key=b"a")
        wide = {"stream": "b", "channels": ["x", "y"], "points": [[NOW_MS + i * 500, i, -i] for i in range(60)]}
        # wrong key, so almost surely the wrong partition: it goes home by itself
        await publish(
            producer, settings, wide, partition=(home_partition("b", 4) + 1) % 4, headers=[("mode", b"history")]
        )
        await publish(producer, settings, {"stream": "a", "ts": NOW_MS - 6 * 10**9, "value": 1}, key=b"a")
        await producer.send_and_wait(settings.topic("metrics"), b"not json", key=b"junk")
        async with running(settings):

            async def done() -> bool:
                return await committed(settings) == 5

            await until(done)
    windows = await read_windows(redis_client, keys, ["a", "b"])
    assert windows["a"].values_SC[:, 0].tolist() == [float(i) for i in range(50)]
    assert windows["b"].header.channels == ["x", "y"]
    assert windows["b"].header.interval_ns == 500_000_000
    np.testing.assert_array_equal(windows["b"].values_SC[:, 1], -np.arange(60, dtype=np.float32))
    assert windows["b"].header.history_hi == windows["b"].header.hi
    assert await all_streams(redis_client, keys) == ["a", "b"]
    batches: list[WindowBatch] = [decode(r.value) for r in await read_all(settings, "windows")]
    seen = {s: (b, i) for b in batches for i, s in enumerate(b.streams)}
    batch, i = seen["b"]
    assert batch.columns["flags"][i] & FLAG_HISTORY
    assert not seen["a"][0].columns["flags"][seen["a"][1]] & (FLAG_HISTORY | FLAG_LATE)
    dead = await read_all(settings, "dead-letters")
    assert {header(r, "error"): r.value for r in dead} == {
        "late": orjson.dumps({"stream": "a", "ts": NOW_MS - 6 * 10**9, "value": 1}),
        "json": b"not json",
    }
    assert {header(r, "topic") for r in dead} == {settings.topic("metrics")}


async def test_settings_of_a_stream_apply_and_a_tombstone_deletes_it(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    async with producing(settings) as producer, running(settings) as worker:

        async def knows() -> bool:
            return hasattr(worker, "stream_settings") and "c" in worker.stream_settings.of

        await producer.send_and_wait(
            settings.topic("streams"), orjson.dumps({"interval_s": 2.0, "kind": "counter", "capacity": 100}), key=b"c"
        )
        await producer.send_and_wait(settings.topic("streams"), b'{"intervall": 1}', key=b"typo")
        await until(knows)
        for i, raw in enumerate([5, 10, 2**40, 2**40 + 3, 7]):
            await publish(producer, settings, {"stream": "c", "ts": NOW_MS + 2000 * i, "value": raw}, key=b"c")

        async def arrived() -> bool:
            window = (await read_windows(redis_client, keys, ["c"])).get("c")
            return window is not None and len(window.values_SC) == 5

        await until(arrived)
        window = (await read_windows(redis_client, keys, ["c"]))["c"]
        assert window.header.capacity == 100
        np.testing.assert_array_equal(window.values_SC[:, 0], np.array([np.nan, 5, 2**40 - 10, 3, np.nan], np.float32))
        # another interval: a new grid version, the window starts anew
        await producer.send_and_wait(settings.topic("streams"), orjson.dumps({"interval_s": 1.0}), key=b"c")

        async def knows_better() -> bool:
            return worker.stream_settings.of["c"].interval_s == 1.0

        await until(knows_better)
        await publish(producer, settings, {"stream": "c", "ts": NOW_MS + 20_000, "value": 1.5}, key=b"c")

        async def anew() -> bool:
            header = (await read_windows(redis_client, keys, ["c"]))["c"].header
            return (header.interval_ns, header.lo) == (10**9, header.hi)

        await until(anew)
        await producer.send_and_wait(settings.topic("streams"), None, key=b"c")

        async def gone() -> bool:
            return not await redis_client.exists(*(getattr(keys, k)(shard_of("c"), "c") for k in ("header", "ring")))

        await until(gone)
        assert await all_streams(redis_client, keys) == []
    dead = await read_all(settings, "dead-letters")
    assert [(header(r, "error"), r.key) for r in dead] == [("contract", b"typo")]


async def test_a_new_channel_widens_the_window_and_keeps_its_history(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    async with producing(settings) as producer, running(settings):
        rows = [[NOW_MS + i * 1000, float(i)] for i in range(40)]
        await publish(producer, settings, {"stream": "w", "channels": ["x"], "points": rows}, key=b"w")

        async def wide(slots: int) -> bool:
            window = (await read_windows(redis_client, keys, ["w"])).get("w")
            return window is not None and len(window.values_SC) == slots

        await until(lambda: wide(40))
        await publish(producer, settings, {"stream": "w", "ts": NOW_MS + 40_000, "values": {"y": 5}}, key=b"w")
        await until(lambda: wide(41))
        window = (await read_windows(redis_client, keys, ["w"]))["w"]
    assert window.header.channels == ["x", "y"]
    np.testing.assert_array_equal(window.values_SC[:, 0], np.array([*range(40), np.nan], np.float32))
    np.testing.assert_array_equal(window.values_SC[:, 1], np.array([np.nan] * 40 + [5], np.float32))


async def test_group_assignment_hands_partitions_over(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    async with producing(settings) as producer:
        for i in range(20):
            rows = [[NOW_MS + k * 1000, float(k)] for k in range(40)]
            await publish(producer, settings, {"stream": f"g{i}", "points": rows}, key=f"g{i}".encode())
        async with running(settings, assignment="group"):

            async def done() -> bool:
                return len(await all_streams(redis_client, keys)) == 20

            await until(done)
    windows = await read_windows(redis_client, keys, [f"g{i}" for i in range(20)])
    assert {len(w.values_SC) for w in windows.values()} == {40}


async def test_a_stream_that_nobody_publishes_any_more_is_deleted_everywhere(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PERIOD_S": 0.0, "UNCHANGED_S": 0.0, "SHARDS_A_TIME": 256}.items():
        monkeypatch.setattr(f"streamer.forgetting.{name}", value)
    async with producing(settings) as producer, running(settings) as worker:
        month = 31 * 86_400_000
        for stream, at in (("old", round(time.time() * 1000) - month), ("young", round(time.time() * 1000))):
            body = {"stream": stream, "points": [[at + k * 1000, 1.0] for k in range(-40, 0)]}
            await publish(producer, settings, body, key=stream.encode(), timestamp_ms=at)

        async def forgotten() -> bool:
            return hasattr(worker, "stats") and worker.stats.counts["forgotten"] > 0

        await until(forgotten)

        async def deleted() -> bool:
            names = await read_headers(redis_client, Keys(settings.namespace), ["old", "young"])
            return set(names) == {"young"}

        await until(deleted)
    assert {(r.key, r.value) for r in await read_all(settings, "streams")} == {(b"old", None)}


async def test_a_record_without_a_key_is_heard_as_what_it_is(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    away = (home_partition("nokey", 4) + 1) % 4
    async with producing(settings) as producer:
        for ts in (NOW_MS, NOW_MS - 10**10):
            body = {"stream": "nokey", "points": [[ts + i * 1000, float(i)] for i in range(40)]}
            await publish(producer, settings, body, partition=away)
        with structlog.testing.capture_logs() as lines:
            async with running(settings):

                async def done() -> bool:
                    return await committed(settings) == 4  # each once where it came, once at home

                await until(done)
    told = [line["event"] for line in lines if line.get("stream") == "nokey"]
    assert ["no key" in event and "key = stream" in event for event in told] == [True]
    (late,) = await read_all(settings, "dead-letters")
    assert (header(late, "error"), "publish with key = stream" in (header(late, "message") or "")) == ("late", True)

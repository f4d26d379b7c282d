"""kill -9 of the streamer in mid-load, and of the broker: nothing is lost, nothing is doubled."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from streamer.windows.wire import decode
from testkit.serving import committed, producing, publish, read_all, running, until

T0_MS = 1_790_000_000_000
STREAMS = [f"s{i}" for i in range(20)]
ROUNDS = 400
POINTS = 5  # a record


# Small batches, so that kills fall into the middle of the load.
SMALL_BATCHES = "import streamer.worker as w; w.FETCH_RECORDS = 97; from streamer.cli import main; main()"


async def start(settings: CommonSettings) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", SMALL_BATCHES, "streamer",
        env={**os.environ, **worker_env(settings)}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.kafka
async def test_kill_9_in_mid_load_loses_and_doubles_nothing(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    """Counters are the sharpest witness: a record applied twice or left out changes an increment."""
    for stream in STREAMS:
        async with producing(settings) as producer:
            own = {"interval_s": 1.0, "kind": "counter" if stream in STREAMS[:10] else "gauge"}
            await producer.send_and_wait(settings.topic("streams"), orjson.dumps(own), key=stream.encode())
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 1000, (len(STREAMS), ROUNDS * POINTS))
    totals = steps.cumsum(1)

    async def load() -> None:
        async with producing(settings) as producer:
            for r in range(ROUNDS):
                for i, stream in enumerate(STREAMS):
                    rows = [[T0_MS + k * 1000, int(totals[i, k])] for k in range(r * POINTS, (r + 1) * POINTS)]
                    await producer.send(
                        settings.topic("metrics"), orjson.dumps({"stream": stream, "points": rows}),
                        key=stream.encode(), timestamp_ms=T0_MS + 10**9,
                    )  # fmt: skip
                await asyncio.sleep(0.005)
            await producer.flush()

    loading = asyncio.create_task(load())
    worker = await start(settings)
    kills = 0
    while kills < 5:
        before = await committed(settings)

        async def moved(before: int = before) -> bool:
            return await committed(settings) > before or loading.done()

        await until(moved)
        worker.kill()
        await worker.wait()
        kills += 1
        worker = await start(settings)
    await loading

    async def all_done() -> bool:
        return await committed(settings) == ROUNDS * len(STREAMS)

    await until(all_done)
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
    windows = await read_windows(redis_client, Keys(settings.namespace), STREAMS)
    for i, stream in enumerate(STREAMS):
        expected = totals[i].astype(np.float32) if i >= 10 else np.array([np.nan, *steps[i, 1:]], np.float32)
        np.testing.assert_array_equal(windows[stream].values_SC[:, 0], expected, err_msg=stream)
    # every slot was notified; numbers never fall, and a gap in them (which means: read Redis) covers every crash
    notified = {stream: np.zeros(ROUNDS * POINTS, bool) for stream in STREAMS}
    newest = dict.fromkeys(STREAMS, 0)
    first_slot = {stream: windows[stream].header.lo for stream in STREAMS}
    for record in await read_all(settings, "windows"):
        batch = decode(record.value)
        for at, stream in enumerate(batch.streams):
            seq = int(batch.columns["seq"][at])
            assert seq > newest[stream]
            begin = int(batch.columns["first_slot"][at]) - first_slot[stream]
            if seq != newest[stream] + 1:
                notified[stream][:begin] = True
            newest[stream] = seq
            notified[stream][begin : begin + int(batch.columns["slots"][at])] = True
    assert all(covered.all() for covered in notified.values())


async def test_a_broker_that_comes_back_empty_is_noticed_and_read_from_its_beginning(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    try:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path / "state"
        )
        await provision(settings)
        async with redis.asyncio.Redis.from_url(stack.redis_url) as client, running(settings):

            async def slots(count: int) -> bool:
                window = (await read_windows(client, Keys(settings.namespace), ["a"])).get("a")
                return window is not None and len(window.values_SC) == count

            async def send(first: int, count: int) -> None:
                producer = await make_producer(settings)
                rows = [[T0_MS + k * 1000, float(k % 7)] for k in range(first, first + count)]
                await publish(producer, settings, {"stream": "a", "points": rows}, key=b"a")
                await producer.stop()

            await send(0, 40)
            await until(lambda: slots(40))
            stack.kill_broker()
            await stack.start_broker()
            await provision(settings)
            await send(40, 10)
            await until(lambda: slots(50))
    finally:
        await stack.stop()

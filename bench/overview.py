"""What it costs to look at many streams: `python -m bench.overview --streams 100000`.

Headers and states as the workers write them, in an embedded Valkey; then a page by name, a page by score, and the count
of all by state.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from detector.incidents.record import StreamState
from streamer.host.embedded import EmbeddedStack
from streamer.kafka.topics import provision
from streamer.overview.query import StreamQuery
from streamer.overview.reading import reading
from streamer.placement import shard_of
from streamer.settings import CommonSettings
from streamer.windows.coarse import CoarseHead
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys

MINUTE_NS = 60 * 10**9


async def _fill(reader_settings: CommonSettings, streams: int) -> None:
    from streamer.redis_client import make_redis

    client, keys = make_redis(reader_settings), Keys(reader_settings.namespace)
    now = time.time_ns() // MINUTE_NS
    for at in range(0, streams, 5_000):
        pipe = client.pipeline(transaction=False)
        for number in range(at, min(at + 5_000, streams)):
            name = f"host{number // 10:05}.metric{number % 10}"
            shard = shard_of(name)
            coarse = CoarseHead.of_channels(5 * MINUTE_NS, ["value"])
            header = StreamHeader("grid", 1, MINUTE_NS, 0, 8192, ["value"], [False], now - 8191, now, coarse=coarse)
            state = StreamState(1, MINUTE_NS, 0, now, warming=True)
            state.standing.score = number % 977 / 100
            pipe.set(keys.header(shard, name), header.to_json())
            pipe.set(keys.stream_state(shard, name), state.to_json())
            pipe.sadd(keys.names(shard), name)
        await pipe.execute()
    await client.aclose()


async def _timed(what: str, call: Awaitable[object]) -> None:
    begin, cpu = time.perf_counter(), time.process_time()
    await call
    print(f"{what}: {time.perf_counter() - begin:.2f} s, {time.process_time() - cpu:.2f} s of CPU here")


async def run(streams: int) -> None:
    """Fill and look."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedStack(Path(folder)) as stack:
            settings = CommonSettings(bootstrap=stack.bootstrap, redis_url=stack.redis_url, state_dir=Path(folder))
            await provision(settings)
            await _fill(settings, streams)
            async with reading(settings) as reader:
                await reader.follow()
                await _timed("a page by name", reader.streams(StreamQuery()))
                await _timed("a page by pattern", reader.streams(StreamQuery(glob="host0004*")))
                await _timed("a page by score", reader.streams(StreamQuery(sort="score")))
                await _timed("a whole overview", reader.read())
                await _timed("the same again", reader.read())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100_000)
    asyncio.run(run(parser.parse_args().streams))

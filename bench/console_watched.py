"""What it costs the detector that somebody looks at streams: python -m bench.console_watched"""

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.kafka.topics import provision
from streamer.placement import shard_of
from streamer.settings import CommonSettings
from streamer.windows.judged import watch
from streamer.windows.keys import Keys
from testkit.detecting import PAST, normal, ready

TRIES = 20


async def measured(folder: Path) -> None:
    """Nobody, the first look, and a look that goes on, each as one turn of the worker."""
    async with EmbeddedStack(folder) as stack:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, state_dir=folder / "state", assignment="all"
        )
        await provision(settings)
        client, keys = redis.asyncio.Redis.from_url(stack.redis_url), Keys(settings.namespace)
        async with ready(settings, client, ["a"]) as run:
            await run.live("a", PAST, normal(PAST, 500), piece=50)
            await asyncio.sleep(3)
            watched = run.detector.watched
            took: dict[str, list[float]] = {
                "nobody looks": [],
                "first look": [],
                "one more slot": [],
                "nothing new": [],
            }

            async def turn(what: str) -> None:
                async with run.detector.owner.lock:
                    watched._next = 0.0
                    begin = time.perf_counter()
                    await watched.refresh()
                    took[what].append((time.perf_counter() - begin) * 1000)

            for _ in range(TRIES):
                await turn("nobody looks")
            for _ in range(TRIES):
                await watch(client, keys, ["a"])
                watched._shown.clear()
                await turn("first look")
                await turn("nothing new")
                watched._shown["a"].last -= 1
                await turn("one more slot")
            sizes = [
                await client.strlen(key) for key in (keys.judged(shard_of("a"), "a"), keys.usual(shard_of("a"), "a"))
            ]
        await client.aclose()
    for what, each in took.items():
        print(f"{what}: median {np.median(each):.2f} ms a second, longest {max(each):.1f} ms")
    print(f"{PAST + 500} slots of one channel: {sizes[0]} bytes of scores and band, {sizes[1]} of a season")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measured(Path(made)))

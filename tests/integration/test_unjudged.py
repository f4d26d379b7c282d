"""Streams that are not judged say so, between real servers."""

import time
from collections.abc import Sequence

import numpy as np
import orjson
import redis.asyncio

from streamer.host.stats import read_stats
from streamer.overview.query import StreamQuery
from streamer.overview.reading import reading
from streamer.settings import CommonSettings
from streamer.unjudged import why_not
from streamer.windows.keys import Keys
from testkit.detecting import detecting, detector_settings, events
from testkit.serving import producing, running, until


async def _told(settings: CommonSettings, stream: str) -> list[tuple[str, str]]:
    """State and reason of a stream's `unjudged` events."""
    return [(e.data.state, e.data.reason) for e in await events(settings, stream) if e.data.kind == "unjudged"]


async def _listed(settings: CommonSettings) -> dict[str, str | None]:
    """Why streams are not judged, as `anomalyllm streams list` has it."""
    async with reading(settings) as reader:
        await reader.follow("streams", "models")
        rows, _ = await reader.streams(StreamQuery(limit=None))
        return {row.name: row.why if row.state in ("irregular", "unjudged") else None for row in rows}


async def test_a_stream_that_is_not_judged_says_so_once_and_why(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    rng, now = np.random.default_rng(5), time.time()
    own = detector_settings(settings)
    async with producing(settings) as producer, running(settings) as streamer, detecting(own):

        async def points(stream: str, seconds: Sequence[float] | np.ndarray, piece: int = 20) -> None:
            for at in range(0, len(seconds), piece):
                rows = [[now - 9000 + float(s), float(rng.normal(10, 1))] for s in seconds[at : at + piece]]
                body = orjson.dumps({"stream": stream, "points": rows})
                await producer.send_and_wait(settings.topic("metrics"), body, key=stream.encode())

        await producer.send_and_wait(settings.topic("streams"), orjson.dumps({"interval_s": 1}), key=b"sparse")

        async def knows() -> bool:
            return hasattr(streamer, "stream_settings") and "sparse" in streamer.stream_settings.of

        await until(knows)
        await points("onchange", np.cumsum(rng.exponential(20, 60)))
        await points("sparse", np.arange(100) * 40.0)  # set to 1 s, and comes every 40 s
        await points("good", np.arange(200) * 10.0)

        async def told(stream: str, count: int) -> bool:
            return len(await _told(settings, stream)) == count

        await until(lambda: told("onchange", 1))
        await until(lambda: told("sparse", 1))
        assert await _listed(settings) == {"onchange": why_not("irregular"), "sparse": why_not("gaps"), "good": None}
        await points("onchange", 2000 + np.cumsum(rng.exponential(20, 60)))
        await points("onchange", 4000 + np.arange(300) * 10.0)  # it follows an interval from now on
        await until(lambda: told("onchange", 2))
        assert (await _told(settings, "onchange"))[1][0] == "resolved"
        assert "follow no interval" in (await _told(settings, "onchange"))[0][1]
        assert "gaps longer than can be bridged" in (await _told(settings, "sparse"))[0][1]
        assert await _told(settings, "good") == []

        async def counted() -> bool:
            rows = await read_stats(redis_client, Keys(settings.namespace))
            return [r.get("streams_unjudged_gaps") for r in rows if r["room"] == "detector"] == [1]

        await until(counted)

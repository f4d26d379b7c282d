"""What a stream is judged by is stored while somebody looks, and only then."""

import numpy as np
import pytest
import redis.asyncio

from streamer.placement import shard_of
from streamer.settings import CommonSettings
from streamer.windows.judged import Judged, read_judged, watch
from streamer.windows.keys import Keys
from testkit.detecting import PAST, STEP_MS, normal, ready
from testkit.serving import until

pytestmark = pytest.mark.slow(8)


async def test_a_watched_stream_shows_scores_and_band_of_all_its_slots_and_follows(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    found: list[Judged] = []

    async def shown(count: int) -> bool:
        await watch(redis_client, keys, ["a", "nobody-has-this"])
        judged, _ = await read_judged(redis_client, keys, shard_of("a"), "a")
        found[:] = [] if judged is None else [judged]
        return judged is not None and judged.first + len(judged.score_K) - 1 == run.start_ms // STEP_MS + count - 1

    async with ready(settings, redis_client, ["a", "b"]) as run:
        values = normal(PAST, 60)
        values[50:] += 30.0
        for stream in "ab":
            await run.live(stream, PAST, values[:40], piece=20)
        await until(lambda: shown(PAST + 40))
        judged = found[0]
        assert judged.model == run.version
        assert not judged.warming
        assert len(judged.score_K) == PAST + 40
        width = judged.high_KC[-40:] - judged.low_KC[-40:]
        assert (width > 0).all()
        inside = (values[:40] >= judged.low_KC[-40:, 0]) & (values[:40] <= judged.high_KC[-40:, 0])
        assert inside.mean() > 0.8
        await run.live("a", PAST + 40, values[40:], piece=20)
        await until(lambda: shown(PAST + 60))
        assert np.nanmax(found[0].score_K[-20:]) > 1.0 > np.nanmax(found[0].score_K[-60:-20])
        assert await read_judged(redis_client, keys, shard_of("b"), "b") == (None, None)
        assert 0 < await redis_client.ttl(keys.judged(shard_of("a"), "a")) <= 60

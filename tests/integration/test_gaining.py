"""What a detector reads when it is given a partition: in few round trips, for a slow or broken Redis makes it begin again."""

import pytest
import redis.asyncio
from redis.asyncio.client import Pipeline

from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from streamer.placement import shard_of, shards_of_partition
from streamer.settings import CommonSettings
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys


async def test_headers_of_a_partition_come_in_two_round_trips(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, streams = Keys(settings.namespace), [f"s{i}" for i in range(40)]
    for number, stream in enumerate(streams):
        header = StreamHeader("grid", 1, 10**9, 0, 64, ["value"], lo=0, hi=number - 1, seq=1)  # the first has no slot
        await redis_client.set(keys.header(shard_of(stream), stream), header.to_json())
        await redis_client.sadd(keys.names(shard_of(stream)), stream)
    calls = 0
    whole = Pipeline.execute

    async def execute(self: Pipeline, *given: bool) -> list[object]:
        nonlocal calls
        calls += 1
        return await whole(self, *given)

    monkeypatch.setattr(Pipeline, "execute", execute)
    own = WorkerSettings.model_validate(settings.model_dump())
    found = await OwnedStreams(own, redis_client, keys, 1).headers(shards_of_partition(0, 4))
    assert set(found) == {stream for stream in streams[1:] if shard_of(stream) % 4 == 0}
    assert calls == 2

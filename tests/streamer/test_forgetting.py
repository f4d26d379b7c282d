"""Streams that nobody publishes any more."""

import uuid
from collections.abc import Sequence

import pytest
import redis.asyncio

from streamer import forgetting
from streamer.contracts import StreamSettings
from streamer.forgetting import UNCHANGED_S, Forgetting
from streamer.placement import home_partition, shard_of
from streamer.settings import StreamerSettings
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys

DAY = 86_400
NOW = 1_790_000_000


class Clock:
    """Wall clock and monotonic clock, in the test's hands."""

    def __init__(self) -> None:
        self.passed = 0.0

    def time(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(forgetting, "time", made)
    monkeypatch.setattr(forgetting, "SHARDS_A_TIME", 256)
    return made


class Known:
    """Streams in Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client, self.keys = client, Keys(f"n{uuid.uuid4().hex}")

    async def stream(self, name: str, days_ago: float, points: int = 1) -> None:
        shard, seen_ms = shard_of(name), round((NOW - days_ago * DAY) * 1000)
        await self.client.sadd(self.keys.names(shard), name)
        await self.client.set(
            self.keys.header(shard, name), StreamHeader(last_seen_ms=seen_ms, points=points).to_json()
        )


async def look(found: Forgetting, clock: Clock, owned: Sequence[int] = range(4)) -> dict[str, float]:
    clock.passed += 60
    return await found.due(owned)


async def test_streams_without_a_time_of_their_own(redis_client: redis.asyncio.Redis, clock: Clock) -> None:
    known = Known(redis_client)
    for name, days in {"old": 31, "young": 29, "skewed": 400, "kept": 400, "short": 2}.items():
        await known.stream(name, days)
    of = {"kept": StreamSettings(ttl_s=1000 * DAY), "short": StreamSettings(ttl_s=DAY), "old": StreamSettings()}
    found = Forgetting(StreamerSettings(), redis_client, known.keys, of)
    assert set(await look(found, clock)) == {"short"}  # who looks old may have a publisher whose clock is wrong
    clock.passed += UNCHANGED_S
    await known.stream("skewed", 400, points=2)
    gone = await look(found, clock)
    assert set(gone) == {"old", "short"}
    assert round(gone["old"] / DAY) == 31
    assert await found.due(range(4)) == {}  # not yet time to look


async def test_only_of_owned_partitions_and_not_at_all(redis_client: redis.asyncio.Redis, clock: Clock) -> None:
    known = Known(redis_client)
    names = [f"s{number}" for number in range(12)]
    for name in names:
        await known.stream(name, 31)
    mine, never = (
        Forgetting(s, redis_client, known.keys, {}) for s in (StreamerSettings(), StreamerSettings(default_ttl_s=0))
    )
    for each in (mine, never):
        assert await look(each, clock, [1]) == {}
    clock.passed += UNCHANGED_S
    assert set(await look(mine, clock, [1])) == {name for name in names if home_partition(name, 4) == 1}
    assert await look(never, clock, [1]) == {}


async def test_shards_take_turns(
    redis_client: redis.asyncio.Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "SHARDS_A_TIME", 100)
    known = Known(redis_client)
    for number in range(300):
        await known.stream(f"s{number}", 31)
    found = Forgetting(StreamerSettings(), redis_client, known.keys, {})
    gone: set[str] = set()
    for _ in range(3):
        assert await look(found, clock) == {}
    clock.passed += UNCHANGED_S
    for _ in range(3):
        gone |= set(await look(found, clock))
    assert len(gone) == 300

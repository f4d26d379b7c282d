"""Values as charts get them.

Shapes: S slots, C channels
"""

import numpy as np
import pytest
import redis.asyncio

from streamer.console import series
from streamer.placement import shard_of
from streamer.windows.header import StreamHeader
from streamer.windows.judged import Judged, Usual, read_judged, watch, watched
from streamer.windows.keys import Keys


def test_thinning_keeps_every_extreme() -> None:
    values_S = np.random.default_rng(0).normal(size=100_000)
    values_S[5], values_S[77_777], values_S[100:20_000] = 99.0, -99.0, np.nan
    slots, low, high = series.thinned(7, values_S)
    assert len(slots) == len(low) == len(high) <= series.MOST_POINTS
    assert np.nanmax(high) == 99.0
    assert np.nanmin(low) == -99.0
    assert np.isnan(high).any()
    assert slots[0] == 7


@pytest.mark.parametrize(("lo", "hi"), [(0, 9), (0, 63), (40, 103), (100, 163), (60, 70)])
async def test_a_tail_is_the_newest_part_of_a_ring_wherever_it_begins(
    redis_client: redis.asyncio.Redis, lo: int, hi: int
) -> None:
    keys, capacity = Keys(f"series-{lo}-{hi}"), 64
    header = StreamHeader("grid", 1, 10**9, 0, capacity, ["a", "b"], lo=lo, hi=hi)
    ring = np.full((capacity, 2), np.nan, np.float32)
    for slot in range(max(lo, hi - capacity + 1), hi + 1):
        ring[slot % capacity] = slot, -slot
    await redis_client.set(keys.ring(shard_of("s"), "s"), ring.tobytes())
    found = await series.read_tails(redis_client, keys, {"s": header}, "murmur2", 20)
    first, values_SC = found["s"]
    assert first == max(lo, hi - 19)
    assert values_SC[:, 0].tolist() == list(range(first, hi + 1))
    assert values_SC[:, 1].tolist() == [-slot for slot in range(first, hi + 1)]


async def test_what_lies_on_a_scale_is_shown_in_the_unit_of_the_data(redis_client: redis.asyncio.Redis) -> None:
    keys, level = Keys("series-scale"), 1.7e9
    header = StreamHeader("grid", 1, 10**9, 0, 64, ["a"], lo=0, hi=2, scale=[(level, 1.0)])
    ring_SC = np.array([[-10], [0], [10]], np.float32)
    await redis_client.set(keys.header(shard_of("s"), "s"), header.to_json())
    await redis_client.set(keys.ring(shard_of("s"), "s"), ring_SC.tobytes())
    shown = [level - 10, level, level + 10]
    tails = await series.read_tails(redis_client, keys, {"s": header}, "murmur2", 20)
    assert series.numbers(tails["s"][1][:, 0]) == shown
    assert (await series.window(redis_client, keys, "s", 0, 20, "murmur2"))["values"] == shown
    calm_K = np.zeros(3, np.float32)
    judged = Judged(1, 0, "v1", False, 4.0, 5.0, "usual", calm_K, calm_K, ring_SC - 1, ring_SC, ring_SC + 1)
    band = series.band(judged, 0, header)
    assert (band["expected"], band["high"]) == (shown, [value + 1 for value in shown])


async def test_a_ring_that_is_not_written_yet_is_a_gap(redis_client: redis.asyncio.Redis) -> None:
    header = StreamHeader("grid", 1, 10**9, 0, 64, ["a"], lo=0, hi=3)
    found = await series.read_tails(redis_client, Keys("series-none"), {"s": header}, "murmur2", 20)
    assert series.numbers(found["s"][1][:, 0]) == [None] * 4


async def test_what_is_judged_is_stored_and_read_and_who_looks_is_forgotten(redis_client: redis.asyncio.Redis) -> None:
    keys, shard = Keys("series-judged"), shard_of("s")
    band_KC = np.array([[1, 2], [3, np.nan]], np.float32)
    judged = Judged(
        3, 7, "v1", False, 4.0, 5.0, "usual", np.array([2, np.nan], np.float32), np.array([10, np.nan], np.float32),
        band_KC, band_KC + 1, band_KC + 2,
    )  # fmt: skip
    usual = Usual("v1", "Europe/Berlin", band_KC, band_KC + 1, band_KC + 2)
    assert await read_judged(redis_client, keys, shard, "s") == (None, None)
    await redis_client.set(keys.judged(shard, "s"), judged.to_bytes())
    await redis_client.set(keys.usual(shard, "s"), usual.to_bytes())
    found, week = await read_judged(redis_client, keys, shard, "s")
    assert found is not None
    assert week is not None
    assert np.array_equal(found.high_KC, judged.high_KC, equal_nan=True)
    assert np.array_equal(week.expected_WC, usual.expected_WC, equal_nan=True)
    assert series.numbers(found.score_K) == [2.0, None]  # ten of five; no value
    header = StreamHeader("grid", 3, 10**9, 0, 64, ["a", "b"], lo=0, hi=8)
    told = series.band(found, 1, header)
    assert told["low"] == [2.0, None]
    assert told["times"] == [7.0, 8.0]

    await watch(redis_client, keys, ["s", "t"])
    assert set(await watched(redis_client, keys)) == {"s", "t"}
    await redis_client.zadd(keys.watched(), {"t": 1.0})
    assert await watched(redis_client, keys) == ["s"]
    await watch(redis_client, keys, ["s"])
    assert await redis_client.zcard(keys.watched()) == 1

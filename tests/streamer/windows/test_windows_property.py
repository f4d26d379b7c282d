"""Any cut into batches, any order within the lateness bound and any repeat of a suffix give the same windows."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import orjson
import pytest
import redis.asyncio
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.contracts import StreamSettings
from streamer.host.embedded import EmbeddedStack
from streamer.windows.ring import StreamWindow, read_windows
from testkit.rig import LATENESS, T0_MS, Rig, numbered, record


async def result(
    url: str, of: dict[str, StreamSettings], batches: Sequence[Sequence[ConsumerRecord]], repeats: Sequence[int] = ()
) -> dict[str, tuple[object, bytes]]:
    async with redis.asyncio.Redis.from_url(url) as client:
        return await _result(Rig(client, of), batches, repeats)


async def _result(
    rig: "Rig", batches: Sequence[Sequence[ConsumerRecord]], repeats: Sequence[int]
) -> dict[str, tuple[object, bytes]]:
    await rig.ledger.claim(0)
    done: list[ConsumerRecord] = []
    for i, batch in enumerate(batches):
        if not batch:
            continue
        await rig.feed(batch, restart=i in repeats)
        done += batch
        if i in repeats:  # the process died before it committed: Kafka hands out a suffix once more
            await rig.feed(done[-min(len(done), 7) :], restart=True)
    return await rig.state()


def cut(records: Sequence[ConsumerRecord], places: Sequence[int]) -> list[Sequence[ConsumerRecord]]:
    edges = [0, *sorted(p % (len(records) + 1) for p in places), len(records)]
    return [records[a:b] for a, b in pairwise(edges)]


KINDS = {
    "gauge": StreamSettings(interval_s=1.0),
    "wide": StreamSettings(interval_s=1.0, channels=["a", "b", "c"]),
    "counter": StreamSettings(interval_s=1.0, kind="counter"),
    "inferred": StreamSettings(),
}


def arrivals(seed: int, n: int) -> list[ConsumerRecord]:
    """Points of four streams with jitter, gaps, two points a slot, partial rows."""
    rng = np.random.default_rng(seed)
    slots = np.cumsum(rng.choice([0, 1, 1, 1, 2, 5, 40], n, p=[0.15, 0.4, 0.2, 0.1, 0.1, 0.03, 0.02]))
    points: list[tuple[int, dict[str, object]]] = []
    counter = 0
    for i, slot in enumerate(slots):
        stream = list(KINDS)[int(rng.integers(len(KINDS)))]
        ts = T0_MS + int(slot) * 1000 + int(rng.integers(-400, 400)) + 1
        body: dict[str, object] = {"stream": stream, "ts": ts + i * 1e-3}
        if stream == "wide":
            names = [c for c in "abc" if rng.random() < 0.6] or ["a"]
            body["values"] = {c: float(rng.normal()) for c in names}
        elif stream == "counter":
            counter = 0 if rng.random() < 0.05 else counter + int(rng.integers(1, 1 << 26))
            body["value"] = counter
        else:
            body["value"] = None if rng.random() < 0.05 else float(rng.normal())
        points.append((int(slot), body))
    return [record(i * 3, body) for i, (_, body) in enumerate(points)]


def shuffled(records: Sequence[ConsumerRecord], seed: int) -> list[ConsumerRecord]:
    """Another order in which no point is overtaken by one that is `LATENESS` or more slots newer.

    Each stream's first point stays first: it sets the grid of a stream whose interval is given.
    """
    rng = np.random.default_rng(seed)
    bodies = [orjson.loads(r.value) for r in records]
    seconds = np.array([b["ts"] / 1000 for b in bodies])
    first = {b["stream"]: i for i, b in reversed(list(enumerate(bodies)))}
    rank = seconds + rng.uniform(0, LATENESS - 2, len(seconds))
    for stream, i in first.items():
        rank[i] = min(s for s, b in zip(seconds, bodies, strict=True) if b["stream"] == stream) - 1
    order = np.argsort(rank, kind="stable")
    return [record(at * 3, bodies[i]) for at, i in enumerate(order)]


slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 150)


@pytest.mark.slow(4)
@slow
@given(seeds, counts, seeds, st.lists(st.integers(0, 1000), max_size=8), st.sets(st.integers(0, 8)))
def test_any_cut_and_any_repeat_give_the_same_windows(
    stack: EmbeddedStack, seed: int, n: int, order: int, places: list[int], repeats: set[int]
) -> None:
    records = shuffled(arrivals(seed, n), order)
    whole = asyncio.run(result(stack.redis_url, KINDS, [records]))
    pieces = asyncio.run(result(stack.redis_url, KINDS, cut(records, places), sorted(repeats)))
    assert pieces == whole


@pytest.mark.slow(4)
@slow
@given(seeds, counts, seeds, st.lists(st.integers(0, 1000), max_size=4))
def test_any_order_within_the_lateness_bound_gives_the_same_windows(
    stack: EmbeddedStack, seed: int, n: int, order: int, places: list[int]
) -> None:
    fixed = {name: own for name, own in KINDS.items() if name != "inferred"}
    records = [r for r in arrivals(seed, n) if orjson.loads(r.value)["stream"] in fixed]
    one = asyncio.run(result(stack.redis_url, fixed, [shuffled(records, 0)]))
    two = asyncio.run(result(stack.redis_url, fixed, cut(shuffled(records, order), places)))
    assert two == one


def changing(seed: int) -> list[ConsumerRecord]:
    """Points of streams whose interval changes, of two channels or counting up; some come late, some not at all."""
    rng = np.random.default_rng(seed)
    bodies: list[dict[str, object]] = []
    steps = np.concatenate([np.full(70, 2000), np.full(60, 10_000), np.full(60, 5000), rng.exponential(9000, 70)])
    ts_M = T0_MS + np.cumsum(steps).astype(np.int64)
    total = np.cumsum(rng.integers(1, 90, len(ts_M))) + 5000
    for ts, count in zip(ts_M.tolist(), total.tolist(), strict=True):
        bodies.append({"stream": "one", "ts": ts, "value": float(rng.normal())})
        bodies.append(
            {"stream": "two", "ts": ts, "values": {c: float(rng.normal()) for c in "ab" if rng.random() < 0.8}}
        )
        bodies.append({"stream": "count", "ts": ts, "value": count})
    bodies = [body for body in bodies if body.get("values") != {}]
    order = np.argsort(np.arange(len(bodies)) + rng.uniform(0, 9, len(bodies)), kind="stable")
    return [record(i * 2, bodies[at]) for i, at in enumerate(order)]


@pytest.mark.slow(2)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.lists(st.integers(0, 1000), max_size=5), st.sets(st.integers(0, 5)))
def test_a_grid_changes_at_the_same_point_however_batches_are_cut(
    stack: EmbeddedStack, seed: int, places: list[int], repeats: set[int]
) -> None:
    of = {"one": StreamSettings(), "two": StreamSettings(), "count": StreamSettings()}
    records = changing(seed)
    whole = asyncio.run(result(stack.redis_url, of, [records]))
    pieces = asyncio.run(result(stack.redis_url, of, cut(records, places), sorted(repeats)))
    assert pieces == whole


def test_a_grid_changes_at_the_same_point_when_records_come_singly(stack: EmbeddedStack) -> None:
    records = [each for each in changing(4) if orjson.loads(each.value)["stream"] == "one"]
    whole = asyncio.run(result(stack.redis_url, {"one": StreamSettings()}, [records]))
    assert asyncio.run(result(stack.redis_url, {"one": StreamSettings()}, [[each] for each in records])) == whole


def test_a_point_that_grows_old_in_its_own_batch_is_kept(stack: EmbeddedStack) -> None:
    order = [i for p in range(2) for i in range(p, 60, 2)]  # read from one partition after the other
    rows = [record(n, {"stream": "s", "ts": T0_MS + i * 1000, "value": i}) for n, i in enumerate(order)]
    windows, dead = asyncio.run(_blocks(stack.redis_url, {"s": StreamSettings(interval_s=1)}, [rows]))
    assert (windows["s"].values_SC[:, 0].tolist(), dead) == (list(range(60)), [])


@pytest.mark.parametrize("counts", [False, True])
def test_history_goes_on_under_another_interval(stack: EmbeddedStack, counts: bool) -> None:
    """10 s, then 60 s: the window is that of a stream that had 60 s from the beginning."""
    seconds = np.concatenate([np.arange(0, 1200, 10), np.arange(1200, 6000, 60)])
    # a counter's first 33 points decide what it is: they are alike in both
    value = np.cumsum(np.random.default_rng(0).integers(1, 9, 6000)) + 5000 if counts else np.arange(6000)
    own = StreamSettings(kind="counter" if counts else "gauge", capacity=512)
    rows = [
        record(i, {"stream": "s", "ts": T0_MS + int(s) * 1000, "value": int(value[s])}) for i, s in enumerate(seconds)
    ]
    minutes = [row for row, s in zip(rows, seconds, strict=True) if s % 60 == 0]
    changed, _ = asyncio.run(_blocks(stack.redis_url, {"s": own}, [rows[:150], rows[150:]]))
    always, _ = asyncio.run(_blocks(stack.redis_url, {"s": own}, [minutes]))
    header = changed["s"].header
    assert (header.grid_version, header.interval_ns) == (numbered(header), 60 * 10**9)
    assert header.hi == always["s"].header.hi
    ours, theirs = (w["s"].values_SC[-98:, 0] for w in (changed, always))
    known = np.isfinite(ours)
    assert known.sum() >= 97
    if counts:
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-6)
    else:  # of 10 s, the newest of a minute's values
        assert (np.abs(ours - theirs) <= 30).all()


async def _blocks(
    url: str, of: dict[str, StreamSettings], batches: Sequence[Sequence[ConsumerRecord]]
) -> tuple[dict[str, StreamWindow], list[str]]:
    async with redis.asyncio.Redis.from_url(url) as client:
        rig = Rig(client, of)
        await rig.ledger.claim(0)
        dead = [reason for batch in batches if batch for reason in await rig.feed(batch, restart=True)]
        return await read_windows(client, rig.keys, sorted(of)), dead


@pytest.mark.slow(3)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.lists(st.integers(0, 1000), max_size=5))
def test_a_backfill_of_any_order_and_size_is_kept_in_blocks(stack: EmbeddedStack, seed: int, places: list[int]) -> None:
    rng = np.random.default_rng(seed)
    minutes = np.arange(4000)
    value = np.sin(minutes / 200) + 50
    bodies = [
        {"stream": "old", "ts": T0_MS - int(m) * 60_000, "value": float(v)} for m, v in zip(minutes, value, strict=True)
    ]
    live, history = bodies[:40][::-1], [bodies[i] for i in 40 + rng.permutation(len(bodies) - 40)]
    first = [record(i, body) for i, body in enumerate(live)]
    later = [record(100 + i, body, history=True) for i, body in enumerate(history)]
    of = {"old": StreamSettings(interval_s=60)}
    windows, dead = asyncio.run(_blocks(stack.redis_url, of, [first, *cut(later, places)]))
    coarse = windows["old"].coarse
    assert coarse is not None
    assert dead == []
    block_S = (T0_MS - minutes * 60_000) * 10**6 // coarse.block_ns
    low, high = (
        np.array([f(value[block_S == b]) for b in range(coarse.first, coarse.first + len(coarse.mean_BC))])
        for f in (np.min, np.max)
    )
    assert len(coarse.mean_BC) >= len(minutes) // 5
    assert ((coarse.mean_BC[:, 0] >= low - 0.01) & (coarse.mean_BC[:, 0] <= high + 0.01)).all()


def test_blocks_of_a_counter_hold_its_increase(stack: EmbeddedStack) -> None:
    rows = [record(m, {"stream": "n", "ts": T0_MS + m * 60_000, "value": 5000 + 7 * m}) for m in range(60)]
    windows, _ = asyncio.run(
        _blocks(stack.redis_url, {"n": StreamSettings(interval_s=60, kind="counter")}, [rows[:30], rows[30:]])
    )
    coarse = windows["n"].coarse
    assert coarse is not None
    assert np.allclose(coarse.mean_BC, 7.0, rtol=1e-3)

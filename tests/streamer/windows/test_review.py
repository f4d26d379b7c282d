"""The grid is revised as evidence comes, alike however the points are cut into calls."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.timestamps import NS
from streamer.windows.grid import DIFFERENCES, Grid, infer_grid
from streamer.windows.increments import raw_before
from streamer.windows.resample import resample
from streamer.windows.review import Review

T0 = 1_790_000_000


def intervals(seconds: Sequence[float], pieces: int = 1) -> list[float]:
    """Intervals of a stream (0: irregular) with points at these seconds in this order, one for each grid it is on."""
    ts = ((T0 + np.asarray(seconds)) * 1e9).round(-3).astype(np.int64)
    begin = int(np.flatnonzero([len(set(ts[: i + 1].tolist())) > DIFFERENCES for i in range(len(ts))])[0]) + 1
    grid = infer_grid(ts[:begin])
    found, review = [grid], Review(newest_ns=int(ts[:begin].max()))
    for part in np.array_split(ts[begin:], pieces):
        while len(part) and (count := review.scan(grid.interval_ns, grid.regular, part)) is not None:
            part = part[count:]
            if (other := review.decide(grid)) is not None:
                found.append(grid := other)
    return [round(grid.interval_ns / NS, 3) if grid.regular else 0 for grid in found]


def replicas(interval: float, *offsets: float) -> list[float]:
    return sorted(interval * i + offset for i in range(400) for offset in offsets)


def lost(rng: np.random.Generator, interval: float, share: float) -> list[float]:
    return [interval * i for i in range(2000) if rng.random() > share]


RNG = np.random.default_rng(3)
PARTITION = RNG.integers(4, size=600)  # of records without a key
UNORDERED = np.concatenate([np.arange(600.0)[p == PARTITION] for p in range(4)])  # read one partition after another


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (np.arange(600.0), [1]),
        (UNORDERED, [1]),
        (np.concatenate([np.arange(600.0)[p::4] for p in range(4)]), [4]),  # partition after partition …
        (np.concatenate([*(np.arange(600.0)[p::4] for p in range(4)), np.arange(600.0, 700)]), [4, 1]),  # … then live
        (replicas(15, 0, 4), [15]),
        (replicas(15, 0, 0.3), [15]),
        (replicas(15, 0, 1, 2.5), [15]),
        ([300.0 * i for i in range(576)] + [172_800.0 + 10 * i for i in range(600)], [300, 10]),
        ([10.0 * i for i in range(600)] + [6000.0 + 60 * i for i in range(700)], [10, 60]),
        ([10.0 * i for i in range(600)] + [6000.0 + 60 * i for i in range(60)] + [9600.0 + 10 * i for i in range(99)],
         [10, 60, 10]),
        ([100.0 - T0 + i for i in range(10)] + [float(i) for i in range(600)], [1]),
        ([100.0 - T0 + i for i in range(40)] + [float(i) for i in range(600)], [1]),
        ([10 * i + float(RNG.uniform(-2, 2)) for i in range(600)], [10]),
        (lost(RNG, 10, 0.5), [10]),
        (lost(RNG, 10, 0.75), [10]),
        ([60.0 * i for i in range(6000) if i < 33 or i % 7 == 0], [60, 420]),
        (np.cumsum(RNG.exponential(20, 600)), [0]),
        ([*np.cumsum(RNG.exponential(20, 300)), *(30_000.0 + 30 * i for i in range(600))], [0, 30]),
        ([*(30.0 * i for i in range(100)), *(3000 + np.cumsum(RNG.exponential(200, 400)))], [30, 0]),
        ([10.0 * i for i in range(900) if not 300 <= i < 600], [10]),  # an outage is no other interval
    ],
)  # fmt: skip
def test_the_interval_that_the_points_have_is_found_or_told_to_be_none(
    seconds: Sequence[float], expected: list[float]
) -> None:
    assert intervals(seconds) == expected
    assert intervals(seconds, pieces=len(seconds)) == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=120), st.lists(st.integers(0, 120), max_size=6), st.booleans())
def test_counting_does_not_depend_on_how_points_are_cut(steps: list[int], cuts: list[int], regular: bool) -> None:
    ts = T0 * NS + np.cumsum(np.array(steps) - 5) * NS
    whole, pieces = Review(newest_ns=T0 * NS), Review(newest_ns=T0 * NS)
    count = whole.scan(10 * NS, regular, ts)
    edges, done = [0, *sorted(cut % (len(ts) + 1) for cut in cuts), len(ts)], None
    for low, high in pairwise(edges):
        if high > low and (found := pieces.scan(10 * NS, regular, ts[low:high])) is not None:
            done = low + found
            break
    assert (done, pieces) == (count, whole)


def test_a_grid_that_is_confirmed_is_looked_at_less_often() -> None:
    review, looks = Review(newest_ns=T0 * NS), 0
    ts = (T0 + np.cumsum(np.random.default_rng(1).choice([10, 20, 30, 40], 3000))) * NS
    grid = Grid(10 * NS, 0, True)
    for stamp in ts:
        if review.scan(grid.interval_ns, True, np.array([stamp])) is not None:
            looks += 1
            assert review.decide(grid) is None
    assert 1 <= looks <= 20
    assert replace(review, newest_ns=0, watch=None).block > 8


def test_history_on_another_grid() -> None:
    ten, minute = Grid(10 * NS, 0, True), Grid(60 * NS, 0, True)
    values_SC = np.arange(60, dtype=np.float32)[:, None]
    first, gauge_NC = resample(values_SC, 600, ten, minute, [False], mean=False)
    assert (first, gauge_NC[1:-1, 0].tolist()) == (100, [8.0, 14.0, 20.0, 26.0, 32.0, 38.0, 44.0, 50.0, 56.0])
    _, mean_NC = resample(values_SC, 600, ten, minute, [False], mean=True)
    assert mean_NC[1:-1, 0].tolist() == [5.5, 11.5, 17.5, 23.5, 29.5, 35.5, 41.5, 47.5, 53.5]
    _, counter_NC = resample(np.full((60, 1), 7, np.float32), 600, ten, minute, [True], mean=False)
    assert set(counter_NC[:, 0].tolist()) - {42.0} == set()
    assert len(resample(values_SC, 600, minute, ten, [False], mean=False)[1]) == 0
    sparse_SC = np.full((60, 1), np.nan, np.float32)
    sparse_SC[::6, 0] = np.arange(10)
    assert resample(sparse_SC, 600, ten, minute, [False], mean=False)[1][:10, 0].tolist() == list(range(10))


@given(st.lists(st.integers(0, 1000) | st.none(), min_size=2, max_size=40))
def test_raw_values_come_back_from_increases(raws: list[int | None]) -> None:
    raw_S = np.array([np.nan if raw is None else raw for raw in raws])
    known = np.flatnonzero(np.isfinite(raw_S))
    raw_S[known] = np.cumsum(raw_S[known])
    increase_S = np.full(len(raw_S), np.nan)
    increase_S[known[1:]] = np.diff(raw_S[known]) / np.diff(known)
    if len(known) > 1:
        back_S = raw_before(increase_S, int(known[-1]), float(raw_S[known[-1]]))
        np.testing.assert_allclose(back_S[known[1:]], raw_S[known[1:]])

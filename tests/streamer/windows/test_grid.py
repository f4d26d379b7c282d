"""The grid: inferred intervals and phases, exact slots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.windows.grid import given_grid, grid_version_of, infer_grid, slots_of

T0 = 1_790_000_000 * 10**9


@pytest.mark.parametrize("interval_ms", [1, 10, 100, 250, 1000, 15_000, 60_000, 3_600_000])
@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.2])
def test_the_interval_a_person_meant_is_found_under_jitter_and_gaps(interval_ms: int, jitter: float) -> None:
    rng = np.random.default_rng(5)
    steps = np.cumsum(rng.choice([1, 1, 1, 1, 2, 3], 33))
    ts = T0 + ((steps + rng.uniform(-jitter, jitter, 33)) * interval_ms * 1e6).astype(np.int64)
    grid = infer_grid(ts[rng.permutation(33)])
    assert grid.interval_ns == interval_ms * 10**6
    assert grid.regular


def test_odd_intervals_are_kept() -> None:
    grid = infer_grid(T0 + np.arange(33) * 137_000_000)
    assert (grid.interval_ns, grid.regular) == (137_000_000, True)


def test_random_instants_are_irregular() -> None:
    ts = T0 + np.cumsum(np.random.default_rng(1).exponential(1e9, 33)).astype(np.int64)
    assert not infer_grid(ts).regular


@given(st.integers(10**6, 10**12), st.integers(0, 10**12), st.lists(st.integers(T0, T0 + 10**15), min_size=1))
def test_a_slot_is_the_nearest_multiple(interval: int, phase: int, instants: list[int]) -> None:
    slots = slots_of(np.array(instants), interval, phase % interval)
    for ts, slot in zip(instants, slots.tolist(), strict=True):
        off = ts - (slot * interval + phase % interval)
        assert -interval <= 2 * off < interval


def test_jitter_around_the_first_point_of_a_given_interval_stays_in_step() -> None:
    grid = given_grid(1.0, T0 + 500_000_000)
    ts = T0 + 500_000_000 + np.arange(100) * 10**9 + np.random.default_rng(2).integers(-400_000_000, 400_000_000, 100)
    assert np.diff(slots_of(ts, grid.interval_ns, grid.phase_ns)).tolist() == [1] * 99


def test_whatever_changes_what_stored_values_mean_is_another_grid_version() -> None:
    names, gauges = ["a", "b"], [False, False]
    versions = [
        grid_version_of(10**9, names, gauges),
        grid_version_of(2 * 10**9, names, gauges),
        grid_version_of(10**9, names[::-1], gauges),
        grid_version_of(10**9, names, [True, False]),
        grid_version_of(10**9, names, gauges, regular=False),
        grid_version_of(10**9, names, gauges, scale=[(1.5, 1.0), (0.0, 1.0)]),
        grid_version_of(10**9, names, gauges, scale=[(0.0, 1.0), (1.5, 1.0)]),
    ]
    assert len(set(versions)) == len(versions)
    assert versions[-1] == grid_version_of(10**9, names, gauges, scale=[[0, 1], [1.5, 1]])

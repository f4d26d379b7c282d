"""Volumes under the surface: equal to the published package, and right where one can see it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.backtest.vus import ranges, volumes


@pytest.mark.slow(2)
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(0, 60), st.booleans())
def test_equal_to_the_package(seed: int, window: int, ties: bool) -> None:
    from vus.utils.metrics import metricor

    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 500))
    labels_N = np.zeros(n, bool)
    for begin in rng.integers(0, n, rng.integers(1, 7)):
        labels_N[begin : begin + rng.integers(1, 25)] = True
    if labels_N.all():
        labels_N[0] = False
    score_N = rng.normal(size=n) + rng.random() * labels_N
    if ties:
        score_N = np.round(score_N)
    *_, roc, pr = metricor().RangeAUC_volume_opt(labels_N.astype(int), score_N, window)
    assert volumes(labels_N, score_N, window) == pytest.approx((pr, roc), abs=1e-12)


def test_without_buffer_it_is_the_average_precision() -> None:
    labels_N = np.array([0, 0, 1, 1, 0, 0, 0, 0], bool)
    # thresholds 9, 8, 7, …: precision 1 at recall ½, then 2/3 at recall 1; half of the range does exist
    score_N = np.array([1, 2, 9, 7, 8, 3, 0, 0], float)
    pr, _ = volumes(labels_N, score_N, 0)
    assert pr == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_near_miss_is_worth_more_with_a_buffer() -> None:
    labels_N = np.zeros(200, bool)
    labels_N[100:110] = True
    near_N, far_N = np.zeros(200), np.zeros(200)
    near_N[112:120], far_N[150:158] = 1.0, 1.0
    assert volumes(labels_N, near_N, 0)[0] == pytest.approx(volumes(labels_N, far_N, 0)[0])
    assert volumes(labels_N, near_N, 40)[0] > 2 * volumes(labels_N, far_N, 40)[0]


def test_ranges() -> None:
    begin, end = ranges(np.array([1, 1, 0, 1, 0, 0, 1], bool))
    assert begin.tolist() == [0, 3, 6]
    assert end.tolist() == [1, 3, 6]

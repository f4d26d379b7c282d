"""Figures on cases made by hand."""

import numpy as np
import pytest

from trainer.backtest.metrics import areas, auc, buffer_of, delayed, events, period_of, position
from trainer.backtest.replay import Alert


def _alert(onset: int, end: int, opened: int | None = None) -> Alert:
    return Alert(onset if opened is None else opened, onset, end, 5.0, "info", False, "")


def test_the_value_at_t_is_the_mean_of_the_next_scores() -> None:
    score_K = np.arange(12.0)
    assert delayed(score_K, 0) is score_K
    late_K = delayed(score_K, 8)
    assert late_K[0] == np.mean([1, 2, 3, 4, 5, 6, 7, 8])
    assert late_K[10] == 11.0  # only one is left
    assert late_K[11] == 11.0  # none is: its own


@pytest.mark.parametrize("count", [1, 2, 8, 9])
def test_short_series_have_values_too(count: int) -> None:
    assert np.isfinite(delayed(np.ones(count), 8)).all()
    assert position(np.ones(count), np.zeros(count, int), 8) >= 0


def test_the_loudest_value_is_placed_at_the_centre_of_what_fired() -> None:
    score_K, lag_K = np.zeros(300), np.full(300, 32)
    score_K[250] = 9.0
    assert position(score_K, lag_K, 0) == 218
    assert position(score_K, lag_K, 8) == 218


def test_found_within_the_span_only() -> None:
    score_K, lag_K, labels_K = np.zeros(1000), np.full(1000, 10), np.zeros(1000, bool)
    labels_K[500:520] = True
    score_K[630] = 1.0
    for last, found in ((620, True), (619, False)):
        for latency in (0, 8):
            assert areas(score_K, lag_K, labels_K, (400, last), 20, latency).found is found


def test_perfect_and_useless_scores() -> None:
    labels_K = np.zeros(1000, bool)
    labels_K[200:240] = True
    best = areas(labels_K.astype(float), np.zeros(1000, int), labels_K, None, 0, 0)
    assert (best.vus_pr, best.auc_pr, best.auc_roc) == pytest.approx((1, 1, 1))
    assert best.found is None
    flat = areas(np.full(1000, np.nan), np.zeros(1000, int), labels_K, None, 0, 0)
    assert (flat.auc_pr, flat.auc_roc) == pytest.approx((0.04, 0.5))


def test_nothing_labelled_has_no_areas() -> None:
    none = areas(np.ones(50), np.zeros(50, int), np.zeros(50, bool), None, 10, 8)
    assert none.vus_pr is none.vus_roc is none.auc_pr is none.auc_roc is None


def test_areas_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    for digits in (0, 1, 8):
        labels_K = rng.random(400) < 0.1
        score_K = np.round(rng.normal(size=400) + labels_K, digits)
        wanted = average_precision_score(labels_K, score_K), roc_auc_score(labels_K, score_K)
        assert auc(labels_K, score_K) == pytest.approx(wanted)


def test_all_labelled_has_no_roc() -> None:
    assert auc(np.ones(5, bool), np.arange(5.0)) == (1.0, None)


def test_events_hits_delays_and_false_alerts() -> None:
    labels_K = np.zeros(10_000, bool)
    labels_K[100:120] = labels_K[500:501] = labels_K[900:950] = True
    alerts = [
        _alert(105, 110, 107),  # hit, 7 late
        _alert(510, 520),  # 10 slots past the end of [500, 501): the last that counts, 10 late
        _alert(700, 710),  # false
        _alert(890, 905, 892),  # hit, opened before it
        _alert(920, 930),  # the same event again: neither hit nor false
    ]
    published = events(alerts, labels_K, len(labels_K))
    assert (published.events, published.hits, published.alerts, published.false_alerts) == (3, 3, 5, 1)
    assert published.delays == [7, 10, 0]
    assert (published.precision, published.recall) == pytest.approx((0.8, 1.0))
    assert published.f1 == pytest.approx(2 * 0.8 / 1.8)
    assert published.false_alerts_per_10k == pytest.approx(1.0)
    late = events([_alert(511, 520)], labels_K, len(labels_K))
    assert (late.hits, late.false_alerts, late.f1) == (0, 1, 0.0)


def test_one_alert_over_two_events_hits_both() -> None:
    labels_K = np.zeros(100, bool)
    labels_K[10:12] = labels_K[30:32] = True
    published = events([_alert(11, 40)], labels_K, 100)
    assert (published.hits, published.false_alerts, published.precision) == (2, 0, 1.0)
    assert published.delays == [1, 0]


def test_without_labels_alerts_are_false_and_there_is_no_f1() -> None:
    published = events([_alert(1, 2)], None, 1000)
    assert (published.false_alerts, published.f1, published.precision, published.recall) == (1, None, None, None)
    assert published.false_alerts_per_10k == pytest.approx(10.0)


def test_silence_has_no_precision() -> None:
    labels_K = np.zeros(100, bool)
    labels_K[10] = True
    published = events([], labels_K, 100)
    assert (published.precision, published.recall, published.f1) == (None, 0.0, 0.0)


def test_periods() -> None:
    rng = np.random.default_rng(1)
    wave_S = np.sin(2 * np.pi * np.arange(4000) / 50) + 0.2 * rng.normal(size=4000)
    assert abs(period_of(wave_S) % 50 - 25) >= 24  # 50 or a multiple, give or take one
    assert period_of(rng.normal(size=4000)) == 64
    assert period_of(np.full(4000, 3.0)) == 64
    assert period_of(np.full(4000, np.nan)) == 64
    assert period_of(np.arange(20.0)) == 8
    slow_SC = np.sin(2 * np.pi * np.arange(4000) / 400)[:, None]
    assert buffer_of(slow_SC) == 100

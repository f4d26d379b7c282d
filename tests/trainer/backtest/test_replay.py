"""A replay is the live detector: causal, the same in any pieces, deterministic."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trainer.backtest.replay as module
from detector.model import season_bank
from streamer.timestamps import NS
from testkit.waves import BURST, TEST, TRAIN, settings_of, waves
from trainer.backtest.replay import Replayed, learnt, replay
from trainer.backtest.series import Series


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return replay(waves(), settings_of(tmp_path_factory.mktemp("replay")), bands=True)


def test_a_burst_is_alerted_on_and_told(made: Replayed) -> None:
    assert len(made.surprise_K) == TEST
    begin = BURST.start - TRAIN
    assert made.gate == "passed"
    [alert] = [alert for alert in made.alerts if alert.spans(begin, begin + 20)]
    assert begin <= alert.onset <= alert.opened <= begin + 5
    assert alert.peak >= made.threshold
    assert alert.severity in ("info", "warning", "critical")
    assert "rose to" in alert.reason
    assert made.student_bytes > 1000
    assert made.fit_s > 0
    assert made.score_s > 0


def test_what_was_expected_is_kept_for_plots(made: Replayed) -> None:
    assert made.bands is not None
    assert made.bands.low_KC.shape == (TEST, 1)
    quiet = slice(0, BURST.start - TRAIN)
    assert (made.bands.low_KC[quiet] <= made.bands.high_KC[quiet]).all()


def test_the_lag_is_at_most_half_the_context(made: Replayed) -> None:
    assert (made.lag_K >= 0).all()
    assert made.lag_K.max() <= 256


def test_nothing_looks_ahead(made: Replayed, tmp_path: Path) -> None:
    series = waves()
    cut = TRAIN + 150
    changed_SC = series.values_SC.copy()
    changed_SC[cut:] = -50.0
    other = replay(replace(series, values_SC=changed_SC, labels_S=None), settings_of(tmp_path))
    np.testing.assert_array_equal(other.surprise_K[:150], made.surprise_K[:150])
    assert not np.array_equal(other.surprise_K[150:], made.surprise_K[150:])


def test_pieces_leave_no_trace(made: Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS_A_CHANGE", 17)
    cut = replay(waves(), settings_of(tmp_path))
    np.testing.assert_allclose(cut.surprise_K, made.surprise_K, rtol=1e-4, atol=1e-4)
    assert [(a.opened, a.onset, a.end) for a in cut.alerts] == [(a.opened, a.onset, a.end) for a in made.alerts]


def test_the_same_seed_gives_the_same(made: Replayed, tmp_path: Path) -> None:
    again = replay(waves(), settings_of(tmp_path))
    np.testing.assert_array_equal(again.surprise_K, made.surprise_K)
    assert again.alerts == made.alerts


def test_slots_without_data_are_no_evidence(tmp_path: Path) -> None:
    series = waves()
    gappy_SC = series.values_SC.copy()
    gappy_SC[BURST] = np.nan
    made = replay(replace(series, values_SC=gappy_SC), settings_of(tmp_path))
    assert np.isnan(made.surprise_K[BURST.start - TRAIN : BURST.stop - TRAIN]).all()
    assert np.isfinite(made.surprise_K[: BURST.start - TRAIN]).all()


def test_only_the_asked_part_is_learnt_from(tmp_path: Path) -> None:
    series = waves()
    assert learnt(series, None, 1.0) == slice(0, TRAIN)
    assert learnt(series, None, 0.25) == slice(TRAIN - 150, TRAIN)
    assert learnt(series, 100, 0.5) == slice(TRAIN - 100, TRAIN)
    spoilt_SC = series.values_SC.copy()
    spoilt_SC[: TRAIN // 2] = 1e6
    settings = settings_of(tmp_path)
    half = replay(series, settings, share=0.5)
    assert half.history == TRAIN // 2
    spoilt = replay(replace(series, values_SC=spoilt_SC), settings, history=TRAIN // 2)
    np.testing.assert_array_equal(half.surprise_K[-50:], spoilt.surprise_K[-50:])


def _days(burst: slice = slice(0, 0)) -> Series:
    """Seven days of quarters of an hour that follow the time of day; five of them are learnt from."""
    slot = np.arange(7 * 96)
    values_S = 10 + 5 * np.sin(slot / 96 * 2 * np.pi) + 0.2 * np.random.default_rng(5).normal(size=len(slot))
    values_S[burst] = 10.0
    return Series("days", values_S[:, None].astype(np.float32), 5 * 96, interval_ns=900 * NS, timed=True)


def test_one_fit_knows_the_season_and_slots_are_ranked_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of all values is none of the evening's: the season says so, and what it says counts in a slot's rank."""
    at = 6 * 96 + 24
    burst = slice(at, at + 4)
    settings = settings_of(tmp_path, shape_share=0.0)
    made = replay(_days(burst), settings, bands=True)
    [alert] = [alert for alert in made.alerts if alert.spans(at - 5 * 96, at + 4 - 5 * 96)]
    assert "usual at this time" in alert.reason
    monkeypatch.setattr(season_bank, "_RANKS", 0.0)
    gain_K = made.rank_K - replay(_days(burst), settings).rank_K
    assert gain_K[at - 5 * 96 : at - 5 * 96 + 4].min() > 4 > 8 * np.median(gain_K)
    assert made.bands is not None
    assert made.bands.expected_KC[at - 5 * 96, 0] > 14


def test_blocks_are_of_the_share_that_is_learnt_from(tmp_path: Path) -> None:
    """One day of blocks is no season, however much came before it."""
    at = 6 * 96 + 24
    made = replay(_days(slice(at, at + 4)), settings_of(tmp_path, shape_share=0.0), share=0.25)
    assert not [alert for alert in made.alerts if "at this time" in alert.reason]


@pytest.mark.slow(2)
def test_channels_have_their_say(tmp_path: Path) -> None:
    made = replay(waves(channels=3), settings_of(tmp_path), bands=True)
    burst = slice(BURST.start - TRAIN + 2, BURST.stop - TRAIN)
    assert (made.loudest_K[burst] == 0).mean() > 0.9
    assert made.alerts


def test_too_little_to_learn_from_is_left_to_the_prior(tmp_path: Path) -> None:
    series = waves()
    short = replace(
        series,
        values_SC=series.values_SC[TRAIN - 60 :] + np.where(np.arange(TEST + 60) >= 300, 20, 0)[:, None],
        labels_S=None,
        train_end=60,
    )
    made = replay(short, settings_of(tmp_path), bands=True)
    assert made.gate.startswith("not fitted, scored by the generic prior: 60 slots")
    assert np.isfinite(made.surprise_K).all()
    [alert] = [alert for alert in made.alerts if alert.spans(240, 250)]
    assert alert.reason.endswith("(warming: judged by a general rule, for the stream has no model of its own yet)")
    assert made.bands is not None
    assert np.isfinite(made.bands.expected_KC[-20:]).all()
    silent = replay(short, settings_of(tmp_path, warming=False))
    assert np.isnan(silent.surprise_K).all()
    assert silent.gate.startswith("not fitted, not scored")

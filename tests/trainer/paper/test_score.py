"""A replay of the paper profile: causal, held between windows, deterministic, and told as the product's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trainer.backtest.replay as module
from detector.incidents.machine import Rules, Tracker, step
from testkit.waves import BURST, TEST, TRAIN, settings_of, waves
from trainer.backtest.replay import Replayed, replay
from trainer.backtest.settings import BacktestSettings
from trainer.paper.score import by_windows

WINDOW, STRIDE = 32, 4


def _settings(folder: Path, **own: object) -> BacktestSettings:
    asked = {"profile": "paper", "teacher": "random", "paper_window": WINDOW, "paper_steps": 60, **own}
    return settings_of(folder, **asked)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return replay(waves(), _settings(tmp_path_factory.mktemp("paper")), bands=True)


def test_a_burst_in_a_wave_scores_higher_and_is_alerted_on(made: Replayed) -> None:
    begin, stop = BURST.start - TRAIN, BURST.stop - TRAIN
    assert made.surprise_K.shape == (TEST,)
    assert np.isfinite(made.surprise_K).all()
    assert begin <= int(made.rank_K.argmax()) < stop + WINDOW + STRIDE
    assert made.rank_K[begin + 8 : stop].mean() > 2 * made.rank_K[:begin].mean()
    [alert] = [alert for alert in made.alerts if alert.spans(begin, stop)]
    assert "back to normal" in alert.reason
    assert made.gate == "none: the paper has no gate"
    assert made.student_bytes > 1000
    assert made.fit_s > 0


def test_a_score_is_held_until_the_next_window(made: Replayed) -> None:
    slot_K = TRAIN + np.arange(TEST)
    whole = made.surprise_K.reshape(-1, STRIDE)  # the test part begins at a multiple of the stride
    assert TRAIN % STRIDE == 0
    assert (whole == whole[:, :1]).all()
    assert made.rank_K.tolist() == made.surprise_K.tolist()
    assert made.lag_K.tolist() == (WINDOW // 2 + slot_K % STRIDE).tolist()


@pytest.mark.parametrize(("loud", "opens"), [([0], False), ([0, 1], True), ([0, 2], True), ([0, 3], False)])
def test_an_incident_opens_on_two_windows_of_three(tmp_path: Path, loud: list[int], opens: bool) -> None:
    settings = by_windows(_settings(tmp_path), STRIDE)
    rules = Rules(4.0, settings.open_hits, settings.open_window)
    state = Tracker()
    for slot in range(8 * STRIDE):
        step(state, rules, slot, 5.0 if slot // STRIDE in loud else 0.0, True)
    assert bool(state.incident or state.recent) == opens


def test_nothing_looks_ahead(made: Replayed, tmp_path: Path) -> None:
    series = waves()
    changed_SC = series.values_SC.copy()
    changed_SC[TRAIN + 150 :] = -50.0
    other = replay(replace(series, values_SC=changed_SC, labels_S=None), _settings(tmp_path))
    np.testing.assert_allclose(other.surprise_K[:150], made.surprise_K[:150], rtol=1e-4, atol=1e-4)
    assert not np.allclose(other.surprise_K[150:], made.surprise_K[150:], atol=0.1)


def test_pieces_leave_no_trace(made: Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS_A_CHANGE", 17)
    cut = replay(waves(), _settings(tmp_path))
    np.testing.assert_allclose(cut.surprise_K, made.surprise_K, rtol=1e-3, atol=1e-3)


@pytest.mark.slow(2)
def test_the_same_seed_gives_the_same(made: Replayed, tmp_path: Path) -> None:
    again = replay(waves(), _settings(tmp_path))
    np.testing.assert_array_equal(again.surprise_K, made.surprise_K)
    assert again.alerts == made.alerts
    other = replay(waves(), _settings(tmp_path), seed=1)
    assert not np.array_equal(other.surprise_K, made.surprise_K)


@pytest.mark.slow(1)
def test_channels_share_one_score(tmp_path: Path) -> None:
    series = waves(channels=3)
    gappy_SC = series.values_SC.copy()
    gappy_SC[::9, 1] = np.nan
    gappy_SC[-20:] = np.nan
    made = replay(replace(series, values_SC=gappy_SC), _settings(tmp_path))
    assert np.isfinite(made.surprise_K[:-20]).all()
    assert np.isnan(made.surprise_K[-20:]).all()  # slots without data are no evidence
    burst = slice(BURST.start - TRAIN + 12, BURST.stop - TRAIN)
    assert (made.loudest_K[burst] == 0).mean() > 0.5


def test_too_little_to_learn_from_is_said(tmp_path: Path) -> None:
    made = replay(waves(), _settings(tmp_path), history=130)
    assert made.gate == "not fitted, not scored: 130 slots with data are fewer than 132"
    assert np.isnan(made.surprise_K).all()
    assert not made.alerts
    gappy_SC = waves().values_SC.copy()
    gappy_SC[:TRAIN][np.arange(TRAIN) % 12 > 3] = np.nan
    sparse = replay(replace(waves(), values_SC=gappy_SC), _settings(tmp_path))
    assert sparse.gate.startswith("not fitted, not scored: 0 windows of 32 slots are half there")

"""A replay with --live: asks, learns, promotes as the workers do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trainer.fit.plan as module
from detector.incidents import record
from detector.model.archive import STRETCH
from detector.model.teacher import Teacher
from testkit.waves import BURST, TRAIN, settings_of, waves
from trainer.backtest.replay import Replayed, replay
from trainer.backtest.series import Series
from trainer.backtest.settings import BacktestSettings
from trainer.fit.histories import History
from trainer.fit.run import GateResult, Trained, train

CHANGE, SLOTS = 1500, 4000
QUICK = {"shape_share": 0.0, "refit_slots": 1000, "update_slots": 256}


def _changing() -> Series:
    """A wave that is three times as fast and half as high from CHANGE on, for good."""
    slot = np.arange(SLOTS)
    phase = np.cumsum(np.where(slot < CHANGE, 1 / 40, 3 / 40))
    high = np.where(slot < CHANGE, 1.0, 0.5)
    values_S = high * np.sin(2 * np.pi * phase) + 0.05 * np.random.default_rng(3).normal(size=SLOTS)
    return Series("changing", values_S[:, None].astype(np.float32), 1200)


def _live(series: Series, folder: Path, ring: int = 1024, **own: object) -> Replayed:
    return replay(series, settings_of(folder, **QUICK | own), history=ring, live=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return _live(_changing(), tmp_path_factory.mktemp("live"))


def test_a_new_normal_is_learnt(made: Replayed, tmp_path: Path) -> None:
    once = replay(_changing(), settings_of(tmp_path, **QUICK), history=1024)
    assert (once.fits, once.updates) == (1, 0)
    assert made.fits >= 3
    assert made.updates >= 3
    assert np.nanmean(made.surprise_K[-500:]) < 0.7 < np.nanmean(once.surprise_K[-500:])


def test_what_the_ring_no_longer_holds_is_carried_on(made: Replayed) -> None:
    """Through artefacts, prototype updates and a new baseline."""
    assert made.student is not None
    archive, series = made.student.archive, _changing()
    assert archive.first_B[0] < CHANGE - STRETCH
    assert archive.first_B[-1] > CHANGE
    for first, value_SC in zip(archive.first_B.tolist(), archive.value_BSC, strict=True):
        kept_SC = np.isfinite(value_SC)
        np.testing.assert_allclose(value_SC[kept_SC], series.values_SC[first : first + STRETCH][kept_SC], atol=2e-3)


def test_nothing_looks_ahead(made: Replayed, tmp_path: Path) -> None:
    series = _changing()
    cut = 1900
    changed_SC = series.values_SC.copy()
    changed_SC[cut:] = -50.0
    other = _live(replace(series, values_SC=changed_SC), tmp_path)
    known = cut - series.train_end
    np.testing.assert_array_equal(other.surprise_K[:known], made.surprise_K[:known])


@pytest.mark.parametrize(("critical", "learnt"), [(9.0, True), (0.0, False)])
def test_what_was_critical_is_not_learnt_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critical: float, learnt: bool
) -> None:
    histories: list[History] = []

    def watched(part: Sequence[History], teacher: Teacher | None, settings: BacktestSettings) -> Trained:
        histories.extend(part)
        return train(part, teacher, settings)

    monkeypatch.setattr(module, "train", watched)
    monkeypatch.setattr(record, "VERY_RARE", critical)
    if learnt:
        monkeypatch.setattr("detector.incidents.episode.severity_of", lambda *_: "info")
    made = _live(waves(), tmp_path, refit_slots=300)
    [alert] = made.alerts
    first, last = histories[0], histories[-1]
    assert (first.lo, first.hi) == (0, TRAIN - 1)
    assert last.hi > BURST.stop
    gone = np.isnan(last.values_SC[:, 0])
    assert gone[alert.onset + TRAIN : alert.end + TRAIN + 1].all() != learnt
    assert gone.sum() <= (0 if learnt else alert.end + 1 - alert.onset)


def test_the_gate_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(history: History, excess: float, recall: float, settings: BacktestSettings) -> GateResult:
        return GateResult(False, excess, recall, "refused")

    monkeypatch.setattr("trainer.fit.run._gate", refused)
    made = _live(waves(), tmp_path)
    assert made.gate == "refused"
    [alert] = made.alerts
    assert "warming" in alert.reason

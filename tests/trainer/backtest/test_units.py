"""One series in other units and on other levels alerts alike: through the ring, a fit and the judge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from testkit.waves import settings_of
from trainer.backtest.gridding import on_grid
from trainer.backtest.replay import Replayed, replay
from trainer.backtest.tables import Reading, Table

T0 = 1_767_571_200 * 10**9  # a Monday
SLOTS, PLATEAU = 1200, slice(1000, 1040)
UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "x1": lambda x: 100 + 10 * x,
    "x1e-6": lambda x: (100 + 10 * x) * 1e-6,
    "x1e-8": lambda x: (100 + 10 * x) * 1e-8,
    "x1e-10": lambda x: (100 + 10 * x) * 1e-10,
    "x1e-12": lambda x: (100 + 10 * x) * 1e-12,
    "x1e18": lambda x: (100 + 10 * x) * 1e18,
    "negative": lambda x: -(100 + 10 * x),
    "1e6": lambda x: 1e6 + 10 * x,
    "1e8, sd 100": lambda x: 1e8 + 100 * x,
    "1e9, sd 1000": lambda x: 1e9 + 1e3 * x,
    "1.7e9, sd 10": lambda x: 1.7e9 + 10 * x,
    "1e12, sd 1e7": lambda x: 1e12 + 1e7 * x,
    "50, sd .002": lambda x: 50 + 0.002 * x,
    "293, sd .02": lambda x: 293 + 0.02 * x,
}


# What is tested is the way of the numbers, not how well a student sees.
LIGHT: dict[str, object] = {
    "teacher": "none",
    "scales": [4, 16],
    "teacher_scales": [16],
    "prototypes": 8,
    "shape_share": 0.0,
    "alerts_per_week": 1.0,
}


def replayed(of: Callable[[np.ndarray], np.ndarray], folder: Path, **own: object) -> Replayed:
    noise = np.random.default_rng(11).normal(size=SLOTS)
    noise[PLATEAU] += 10
    ts_N = T0 + 60 * 10**9 * np.arange(SLOTS)
    series = on_grid(Table("s", ("value",), of(noise)[:, None], ts_N, None), Reading(train=0.7))
    departure = np.abs(of(noise) - np.median(of(noise)))
    np.testing.assert_allclose(series.data_SC[:, 0], of(noise), rtol=0, atol=1e-3 * np.median(departure))
    return replay(series, settings_of(folder, **own))


def alike(found: dict[str, Replayed], surprise: float) -> None:
    [alert] = found["x1"].alerts
    assert alert.onset == PLATEAU.start - 840
    known = np.isfinite(found["x1"].surprise_K)
    for name, made in found.items():
        assert [(a.onset, a.opened) for a in made.alerts] == [(alert.onset, alert.opened)], name
        assert abs(made.alerts[0].end - alert.end) <= 2, name
        off = np.abs(made.surprise_K[known] - found["x1"].surprise_K[known])
        assert np.quantile(off, 0.9) < surprise, name


def test_the_prior_judges_all_units_and_levels_alike(tmp_path: Path) -> None:
    found = {name: replayed(of, tmp_path, min_slots=100_000) for name, of in UNITS.items()}
    alike(found, 0.3)
    assert "1700000" in found["1.7e9, sd 10"].alerts[0].reason  # told in the unit of the data


def test_a_student_judges_units_and_levels_alike(tmp_path: Path) -> None:
    names = ("x1", "x1e-12", "x1e18", "1.7e9, sd 10")
    alike({name: replayed(UNITS[name], tmp_path, **LIGHT) for name in names}, 0.5)

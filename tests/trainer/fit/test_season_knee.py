"""By shares or by amounts: what the history says."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.model.views.season import DAY_S
from trainer.fit.season_days import History, grid
from trainer.fit.season_knee import knees
from trainer.fit.season_scale import grain

DAYS, PER_DAY = 14, 288
AT = np.arange(DAYS * PER_DAY)
NOISE = np.random.default_rng(1).normal(size=len(AT))
DAILY = 50 + 30 * np.sin(2 * np.pi * AT / PER_DAY)


def knee(value: NDArray[np.float64], used: float = 0.0) -> float:
    x = torch.from_numpy(value.astype(np.float32))[None]
    when = 1_704_067_200 + 300 * torch.arange(x.shape[-1])[None]
    none = torch.zeros(x.shape, dtype=torch.bool)
    history = History(x, when, x, when, 300, DAY_S // PER_DAY, none, none, torch.zeros(1, dtype=torch.long))
    found: Tensor = knees(grid(history, none), grain(x), torch.tensor([used]))
    return float(found[0])


def test_shares_have_a_knee_and_amounts_have_none() -> None:
    assert 0 < knee(DAILY * np.exp(0.5 * NOISE)) <= 50
    assert knee(DAILY + 5 * NOISE) == 0
    assert knee(DAILY * (1 + 0.02 * NOISE)) == 0  # by shares, and too small ones to tell


@pytest.mark.parametrize(
    "value",
    [
        np.floor(np.random.default_rng(2).poisson(0.7, len(AT)) * 1.0),  # mostly nothing
        np.where((AT - 5 * (AT // PER_DAY % 3)) % PER_DAY < 12, 5e4, 30.0) * np.exp(0.5 * NOISE),  # a job that shifts
        -DAILY * np.exp(0.5 * NOISE),
        np.full(len(AT), np.nan),
        np.zeros(len(AT)),
    ],
)
def test_zeros_regimes_and_negative_values_have_none(value: NDArray[np.float64]) -> None:
    assert knee(value) == 0


def test_an_anomaly_that_nobody_noticed_decides_nothing() -> None:
    value = DAILY + 5 * NOISE
    value[1000:1100] += 300
    assert knee(value) == 0


def test_a_knee_in_use_is_kept_while_it_pays() -> None:
    value = DAILY * np.exp(0.5 * NOISE)
    assert knee(value, used=3.0) == 3.0
    assert knee(DAILY + 5 * NOISE, used=3.0) == 0
    assert knee(value * 8**6) == pytest.approx(knee(value) * 8**6, rel=1e-5)  # whatever the unit

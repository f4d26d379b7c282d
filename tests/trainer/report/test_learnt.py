"""What a student knows of where its stream stays, in words."""

import numpy as np
import torch

from detector.model.seasons import Seasons, stored
from tests.trainer.fit.test_season import BLOCK, INTERVAL, fitted
from trainer.report.learnt import stays_of

DAYS = 24  # of slots of five minutes


def seasons(values: np.ndarray) -> Seasons:
    bank = fitted(torch.tensor(values, dtype=torch.float32)[None])
    return Seasons([0], stored(bank, INTERVAL, BLOCK, torch.zeros(1, dtype=torch.long)))


def test_modes_with_what_would_be_unusual() -> None:
    rng, values = np.random.default_rng(5), np.full(DAYS * 288, 0.5)
    at = 0
    while at < len(values):
        at += int(rng.integers(6, 40))
        long = int(rng.integers(4, 13))
        values[at : at + long] = 3.0
        at += long
    found = dict(stays_of(seasons(values + 0.05 * rng.random(len(values))), 0))
    assert len(found["levels"].split(", ")) == 2
    assert found["modes"].startswith("below 1.1")
    assert "or above 2.3" in found["modes"]
    assert "unusual: more than" in found["modes"]
    assert found["modes"].endswith(" changes in 32 slots")


def test_levels_in_the_unit_of_the_data() -> None:
    rng = np.random.default_rng(6)
    values = np.repeat([3.0, 5.0, 3.0, 9.0, 5.0, 3.0, 5.0, 9.0], DAYS * 36) + 0.01 * rng.normal(size=DAYS * 288)
    assert dict(stays_of(seasons(values), 0, offset=1000.0, unit=2.0))["levels"] == "1006, 1010, 1018"


def test_of_what_has_neither_nothing_is_shown() -> None:
    noise = seasons(np.random.default_rng(7).normal(size=DAYS * 288))
    assert stays_of(noise, 0) == stays_of(noise, 1) == stays_of(Seasons(), 0) == []

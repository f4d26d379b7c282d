"""Modes: which rows have any, and what would be a longer stay, or more changes, than ever.

Shapes: R rows, L slots, M modes
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.model.views.season_modes import Modes
from trainer.fit.season_modes import modes

SLOTS, PER_BLOCK = 4000, 5
RNG = np.random.default_rng(3)


def learnt(values: np.ndarray, blocks: np.ndarray | None = None, interval_s: float = 120.0) -> Modes:
    means = values[: SLOTS // PER_BLOCK * PER_BLOCK].reshape(-1, PER_BLOCK).mean(1) if blocks is None else blocks
    slot_RL, block_RB = (torch.tensor(x, dtype=torch.float32)[None] for x in (values, means))
    return modes(slot_RL, block_RB, PER_BLOCK, interval_s)


def pump(longest: int = 60) -> np.ndarray:
    """Runs for 10 to `longest` slots, rests for 20 to 80."""
    rng, values = np.random.default_rng(7), np.full(SLOTS, 0.15)
    at = 0
    while at < SLOTS:
        at += int(rng.integers(20, 80))
        long = int(rng.integers(10, longest + 1))
        values[at : at + long] = 3.2
        at += long
    return values * (1 + 0.06 * rng.normal(size=SLOTS))


def test_a_pump_has_two_modes_with_what_its_stays_and_changes_were() -> None:
    found = learnt(pump())
    low_M, high_M = found.low_RM[0], found.high_RM[0]
    assert (~torch.isnan(low_M)).sum() == 2
    assert low_M[0] == -torch.inf
    assert 0.15 < high_M[0] < low_M[1] < 3.2
    assert high_M[1] == torch.inf
    assert 120 < found.stay_RM[0, 1] < 200  # twice the longest, and a little for those that were not seen
    assert 4.5 <= found.changes_R[0] <= 9.0


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=SLOTS),
        RNG.poisson(1.0, SLOTS).astype(float),
        RNG.lognormal(size=SLOTS),
        np.sin(np.arange(SLOTS) / 40),
        np.cumsum(RNG.normal(size=SLOTS)),
        np.full(SLOTS, 3.0),
        np.where(np.arange(SLOTS) % 700 < 30, 9.0, 1.0),  # six stays
        np.where(np.arange(SLOTS) % 2 < 1, 9.0, 1.0),  # from slot to slot
        np.where(RNG.random(SLOTS) < 0.01, 9.0, 1.0),  # single slots
        np.full(SLOTS, np.nan),
    ],
    ids=["noise", "counts", "skewed", "wave", "walk", "constant", "seldom", "each slot", "spikes", "nothing"],
)
def test_what_has_no_modes(values: np.ndarray) -> None:
    assert all(not part.any() for part in learnt(values))


def test_of_many_modes_those_between_the_widest_gaps_are_told_apart() -> None:
    steps = np.array([1.0, 2.0, 4.0, 8.0, 12.0, 20.0])
    values = steps[np.repeat(np.random.default_rng(1).integers(0, 6, SLOTS // 20), 20)]
    found = learnt(values)
    low_M, high_M = found.low_RM[0], found.high_RM[0]
    assert not torch.isnan(low_M).any()
    assert [
        int(((low <= Tensor(steps)) & (Tensor(steps) <= high)).sum()) for low, high in zip(low_M, high_M, strict=True)
    ] == [3, 1, 1, 1]


def test_a_stay_that_only_blocks_have_seen_counts() -> None:
    values, blocks = pump(), np.full(2000, 1.5)
    assert 120 < learnt(values, blocks).stay_RM[0, 1] <= learnt(values).stay_RM[0, 1]  # those are between its modes
    blocks[100:130] = 3.2
    assert learnt(values, blocks).stay_RM[0, 1] > 2 * 150
    blocks[100:400] = 3.2
    assert torch.isinf(learnt(values, blocks).stay_RM[0, 1])  # longer than is followed


def test_gaps_and_incidents_interrupt_nothing() -> None:
    holed = pump()
    holed[RNG.random(SLOTS) < 0.1] = np.nan
    found, whole = learnt(holed, np.full(9, 0.15)), learnt(pump(), np.full(9, 0.15))
    assert (found.stay_RM[0, :2] / whole.stay_RM[0, :2] > 0.8).all()
    assert (~torch.isnan(found.low_RM[0])).sum() == 2


def test_of_changes_nothing_is_known_before_slots_have_a_week() -> None:
    assert torch.isfinite(learnt(pump()).changes_R).all()
    young = learnt(pump(), interval_s=15.0)
    assert torch.isinf(young.changes_R).all()
    assert torch.isfinite(young.stay_RM[0, 1])  # of stays blocks speak


def test_few_loads_that_differ_are_no_mode() -> None:
    """Ten of them lie beyond the gap, but hardly any in the range that is left."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        values = rng.uniform(0, 1.5, SLOTS)
        for load in range(10):
            values[200 + 300 * load :][:15] = rng.uniform(53, 72, 15)
        values[3500:3530] = 100 + 0.3 * rng.normal(size=30)
        assert not torch.isnan(learnt(values).stay_RM).any()

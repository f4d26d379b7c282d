"""Onsets shift as far as they have shifted, and no further."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.model.views.season import DAY_S, SeasonTables, Timed, envelope_of, score
from tests.trainer.fit.test_season import BLOCK, MONDAY, fitted

NIGHT = 24  # phase of five minutes: 2:00
DAYS = 22


def nights(starts: list[int], interval: int = BLOCK) -> Tensor:
    """Days of noise around 95, and a cache that is emptied at these phases (none: −1) and fills again within hours."""
    rng = np.random.default_rng(4)
    per_block, per_day = BLOCK // interval, DAY_S // interval
    x = 95 + 0.7 * rng.normal(size=(len(starts), per_day))
    for day, start in zip(x, starts, strict=True):
        if start >= 0:
            since = np.arange(per_day - start * per_block)
            day[start * per_block :] -= 36 * np.exp(-since / (6 * per_block))
    return torch.from_numpy(x.astype(np.float32)).reshape(1, -1)


def blocks(x: Tensor, interval: int) -> Tensor:
    return x.view(1, -1, BLOCK // interval).mean(-1)


def when(slots: int, interval: int) -> Tensor:
    return (MONDAY + torch.arange(slots) * interval).expand(1, -1)


def loudest(bank: SeasonTables, x: Tensor, interval: int = BLOCK) -> float:
    """Of the last day's first six hours."""
    x = x[:, : -18 * 3600 // interval]
    block = blocks(x, interval)
    done = ((torch.arange(x.shape[1]) + 1) * interval // BLOCK - 1)[None]
    timed = Timed(x, when(x.shape[1], interval), block, when(block.shape[1], BLOCK), done, interval, BLOCK)
    return float(score(bank, torch.zeros(1, dtype=torch.long), timed, 6 * 3600 // interval).surprise_RL.max())


def without_shifts(bank: SeasonTables) -> SeasonTables:
    bank = bank.rows(torch.zeros(1, dtype=torch.long))
    bank.down[:], bank.up[:] = 0.0, 0.0
    bank.low, bank.high = envelope_of(bank)
    return bank


# Five minutes earlier or later; in the last week always later.
STARTS = [0, 1, 0, 0, -1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, -1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("interval", [BLOCK, 60])
def test_a_cache_may_be_emptied_as_early_as_it_has_begun(interval: int) -> None:
    starts = [NIGHT + by for by in STARTS]
    early = nights([*starts, NIGHT - 1], interval)
    bank = fitted(nights(starts, interval), interval=interval)
    assert loudest(bank, early, interval) < 4.2
    assert loudest(without_shifts(bank), early, interval) > 12
    # a quarter of an hour earlier than ever, or not at all, is no shift
    assert loudest(bank, nights([*starts, NIGHT - 4], interval), interval) > 12
    assert loudest(bank, nights([*starts, -1], interval), interval) > 12


def test_one_that_is_always_on_time_is_expected_to_the_minute() -> None:
    bank = fitted(nights([NIGHT] * DAYS))
    assert (bank.down <= 0).all()
    assert (bank.up >= 0).all()
    assert bank.up.max() < 5
    assert bank.down.min() > -5

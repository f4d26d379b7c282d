"""Which streams have a season."""

import numpy as np
import pytest

from streamer.windows.coarse import CoarseHead, CoarseWindow
from trainer.fit.season_past import Past, fit_seasons

SECOND, BLOCK_S = 10**9, 300
FIRST = 1_704_067_200 // BLOCK_S  # a Monday


def past(days: float, interval_s: float = 60) -> Past:
    """A daily wave."""
    at = np.arange(round(days * 86_400 / BLOCK_S))
    mean_BC = 50 + 20 * np.sin(2 * np.pi * at[:, None] * BLOCK_S / 86_400)
    blocks = CoarseWindow(BLOCK_S * SECOND, FIRST, mean_BC, CoarseHead(BLOCK_S * SECOND))
    interval_ns = round(interval_s * SECOND)
    slots = 100
    hi = (FIRST + len(at)) * BLOCK_S * SECOND // interval_ns
    return Past(np.zeros((slots, 1), np.float32), hi - slots, interval_ns, 0, blocks)


@pytest.mark.parametrize(
    ("given", "seasons"),
    [(past(1.5), 0), (past(2.1), 1), (past(2.1, interval_s=0.5), 0), (past(2.1, interval_s=70), 0)],
)
def test_two_days_of_slots_that_fill_blocks_have_a_season(given: Past, seasons: int) -> None:
    assert len(fit_seasons([given], [1])) == seasons

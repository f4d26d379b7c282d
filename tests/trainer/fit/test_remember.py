"""Which rows have a shape memory at all."""

from pathlib import Path

import numpy as np
import pytest

from streamer.windows.coarse import CoarseHead, CoarseWindow
from testkit.simulation import quick_settings
from trainer.fit.histories import History
from trainer.fit.run import train
from trainer.fit.season_past import Past

SECOND, DAY_SLOTS, SLOTS = 10**9, 48, 2048


def _past(values_SC: np.ndarray, interval_s: int) -> Past:
    """Blocks as long as the slots, or of a day's 288th where those are longer."""
    block_ns = max(interval_s, 300) * SECOND
    mean_BC = values_SC.astype(np.float64)
    return Past(values_SC, 0, interval_s * SECOND, 0, CoarseWindow(block_ns, 0, mean_BC, CoarseHead(block_ns)))


@pytest.mark.parametrize(
    ("interval_s", "memories"),
    [
        pytest.param(None, 1, id="no-real-time"),
        pytest.param(300, 1, id="four-hours"),
        pytest.param(1800, 0, id="a-day"),
        pytest.param(3600, 0, id="two-days"),
        pytest.param(900, 1, id="half-a-day"),
    ],
)
def test_what_is_as_wide_as_days_is_the_season_s(interval_s: int | None, memories: int, tmp_path: Path) -> None:
    phase_S = 2 * np.pi * np.arange(SLOTS) / DAY_SLOTS
    noise_S = 0.05 * np.random.default_rng(2).normal(size=SLOTS)
    wave_SC = (np.sin(phase_S) + noise_S).astype(np.float32)[:, None]
    past = None if interval_s is None else _past(wave_SC, interval_s)
    made = train([History("x", ("c0",), wave_SC, 0, 1, past=past)], None, quick_settings(tmp_path))
    assert len(made.memories.at) == memories
    assert float(made.rows["blend"][0] > 0) == memories
    # a student without shapes carries its past on
    assert bool(len(made.archives[0])) == (not memories)

"""The one-liners of the operations table are causal, see what they should, and give alerts as a backtest does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.quality.operations import ONE_LINERS, PeerWork, alerts_of
from trainer.backtest.series import Series

DAY = 288  # slots of 5 minutes


def wave(days: int) -> np.ndarray:
    """A daily wave with noise; on the tenth day at noon ten slots are far too high."""
    at_S = np.arange(days * DAY)
    values_S = 100 + 30 * np.sin(2 * np.pi * at_S / DAY) + np.random.default_rng(0).normal(0, 2, len(at_S))
    values_S[10 * DAY + 144 : 10 * DAY + 154] += 300
    return np.asarray(values_S)


@pytest.mark.parametrize("one", ONE_LINERS.values(), ids=list(ONE_LINERS))
def test_a_one_liner_sees_a_burst_and_does_not_look_ahead(one: Callable[[np.ndarray, int], np.ndarray]) -> None:
    values_S = wave(14)
    z_S = np.abs(one(values_S, DAY))
    assert 10 * DAY + 144 <= int(z_S[8 * DAY :].argmax()) + 8 * DAY < 10 * DAY + 154
    changed_S = values_S.copy()
    changed_S[12 * DAY :] = 5.0
    np.testing.assert_allclose(one(changed_S, DAY)[: 12 * DAY], one(values_S, DAY)[: 12 * DAY])


def test_runs_close_to_each_other_are_one_alert() -> None:
    z_S = np.array([0.0, 5.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 7.0])
    assert alerts_of(z_S, quiet=3) == [
        {"opened": 1, "end": 3, "peak": 6.0},
        {"opened": 8, "end": 8, "peak": 7.0},
    ]
    assert alerts_of(np.zeros(5), quiet=3) == []


def test_a_stream_s_alerts_are_counted_from_its_test_part(tmp_path: Path) -> None:
    series = Series(
        "a",
        wave(14)[:, None].astype(np.float32),
        2 * DAY,
        np.zeros(14 * DAY, bool),
        interval_ns=300 * 10**9,
        timed=True,
    )
    name = "robust z, time of day"
    row = PeerWork(name, ONE_LINERS[name], tmp_path, "").make(series)
    assert row["slots"] == 12 * DAY
    assert any(alert["opened"] == 8 * DAY + 144 for alert in row["alert_list"])

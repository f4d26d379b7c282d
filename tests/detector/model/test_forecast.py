"""Seasons, and what a history begins with."""

import pytest
import torch

from detector.model.periods import find_period
from detector.model.row_types import Rows
from detector.model.views.forecast import Forecast
from streamer.demo.control_streams import UNTOUCHED

NAN = float("nan")


def _padded(slots: int, length: int) -> torch.Tensor:
    x_L = torch.full((length,), NAN, dtype=torch.float64)
    x_L[length - slots :] = torch.from_numpy(UNTOUCHED.values(7, 7 + slots)) - 10.0
    return x_L[None]


@pytest.mark.parametrize(("slots", "period"), [(2400, 32), (600, 32), (170, 32), (150, 0)])
def test_padding_is_no_history(slots: int, period: int) -> None:
    """A season must be held five times by what is there, however long the rows beside it are."""
    for length in (slots, 4096):
        assert find_period(_padded(slots, length)).tolist() == [period]


@pytest.mark.parametrize("period", [0.0, 32.0, 200.0])
def test_a_history_s_first_slots_are_neither_forecast_nor_learnt_from(period: float) -> None:
    x_RL = _padded(1200, 2048)
    first = 2048 - 1200
    forecast = Forecast(1, 16)
    rows: Rows = {"period": torch.tensor([period])}
    rows |= forecast.fit(x_RL, torch.ones_like(x_RL, dtype=torch.bool), rows)
    score_L = forecast.score(x_RL, rows, 2047)[0]
    begin = first + max(2 * int(period), forecast.ahead + forecast.lags - 1)
    assert torch.isnan(score_L[: begin - 1]).all()
    assert torch.isfinite(score_L[begin - 1 :]).all()


@pytest.mark.parametrize("period", [0.0, 32.0, 200.0])
def test_pieces_of_a_history_have_no_past_in_common(period: float) -> None:
    x_RL = _padded(1200, 1200)
    begin_RL = torch.where(torch.arange(1200) >= 500, 500, 0)[None]
    forecast = Forecast(8, 8)
    rows: Rows = {"period": torch.tensor([period]), "begin": begin_RL}
    rows |= forecast.fit(x_RL, torch.ones_like(x_RL, dtype=torch.bool), rows)
    missing_L = torch.isnan(forecast.score(x_RL, rows, 1199)[0])
    assert missing_L[499 : 499 + max(2 * int(period), forecast.reach)].all()
    assert not missing_L[499 + max(2 * int(period), forecast.reach) :].any()
    assert not missing_L[max(2 * int(period), 16) : 499].any()

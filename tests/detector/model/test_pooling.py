"""Windows of every scale, and what gaps do to them."""

import numpy as np
import pytest
import torch

from detector.model.pooling import FILL, fill, points_of, pool, standardise
from streamer.errors import ConfigError

NAN = float("nan")


@pytest.mark.parametrize("scale", [4, 16, 64, 256])
def test_pooling_is_the_mean_of_equal_parts(scale: int) -> None:
    x = torch.randn(3, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    windows = pool(x, scale, 20)
    assert windows.there_RKT is None
    assert windows.valid_RK.all()
    for row, k in ((0, 0), (2, 19), (1, 7)):
        end = 300 - 20 + k + 1
        expected = x[row, end - scale : end].reshape(points_of(scale), -1).mean(1)
        np.testing.assert_allclose(windows.value_RKT[row, k], expected, atol=1e-6)


def test_a_window_depends_on_its_own_slots_only() -> None:
    x = torch.randn(1, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 30
    x[:, 350:353] = NAN
    long, short = pool(x, 64, 100), pool(x[:, -120:], 64, 10)
    torch.testing.assert_close(long.value_RKT[:, -10:], short.value_RKT)
    assert long.there_RKT is not None
    assert short.there_RKT is not None
    assert (long.there_RKT[:, -10:] == short.there_RKT).all()


def test_short_gaps_get_the_last_value_longer_ones_stay() -> None:
    x = torch.tensor([[1.0, NAN, NAN, 4.0, NAN, NAN, NAN, NAN, NAN, 9.0]], dtype=torch.float64)
    filled = fill(x)[0]
    assert filled[:4].tolist() == [1.0, 1.0, 1.0, 4.0]
    assert filled[4 : 4 + FILL].tolist() == [4.0] * FILL
    assert torch.isnan(filled[4 + FILL : 9]).all()


def test_windows_with_more_than_a_quarter_missing_are_not_valid() -> None:
    x = torch.zeros(1, 64, dtype=torch.float64)
    x[:, :16] = NAN
    assert pool(x, 64, 1).valid_RK.all()
    x[:, 16] = NAN
    assert not pool(x, 64, 1).valid_RK.any()


def test_large_levels_keep_their_changes() -> None:
    values = torch.tensor([[1e7, 1e7 + 1.0]])
    out = standardise(values, torch.tensor([1e7]), torch.tensor([1.0]))
    assert out[0, 1] - out[0, 0] == 1.0


def test_scale_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        points_of(50)

"""Which windows a look learns from."""

import torch

from detector.model.window_ends import choose


def test_choose_spreads_over_valid_positions() -> None:
    valid = torch.zeros(2, 100, dtype=torch.bool)
    valid[0, 50:] = True
    valid[1, [3, 97]] = True
    index = choose(valid, 10)
    assert index[0].tolist() == sorted(set(index[0].tolist()))
    assert index[0].min() >= 50
    assert set(index[1].tolist()) == {3, 97}

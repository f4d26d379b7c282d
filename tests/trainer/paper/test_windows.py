"""Windows without gaps, standardised by training statistics."""

import numpy as np
import torch

from trainer.paper.windows import CLIP, Norm, standardised, usable, windows


def test_only_training_statistics_are_used() -> None:
    training_SC = np.random.default_rng(0).normal(5.0, 2.0, (1000, 1)).astype(np.float32)
    norm = Norm.of(training_SC)
    assert abs(norm.mean_C[0] - 5.0) < 0.3
    assert abs(norm.std_C[0] - 2.0) < 0.2
    assert standardised(np.array([[1e9]], np.float32), norm).item() == CLIP


def test_channels_that_never_move_or_never_come_are_endured() -> None:
    values_SC = np.stack([np.full(50, 7.0), np.full(50, np.nan)], 1).astype(np.float32)
    norm = Norm.of(values_SC)
    assert norm.std_C.tolist() == [1.0, 1.0]
    z_SC = standardised(values_SC, norm)
    x_NCL, enough_N = windows(z_SC, np.array([0, 10]), 32)
    assert torch.isfinite(x_NCL).all()
    assert not x_NCL.any()
    assert enough_N.all()  # half of the values are there


def test_a_gap_is_filled_from_its_own_window() -> None:
    z_SC = np.arange(64, dtype=np.float32)[:, None]
    z_SC[[0, 1, 20, 21]] = np.nan
    x_NCL, enough_N = windows(z_SC, np.array([0, 20, 22]), 32)
    assert x_NCL[0, 0, :3].tolist() == [2.0, 2.0, 2.0]
    assert x_NCL[0, 0, 19:23].tolist() == [19.0, 19.0, 19.0, 22.0]
    assert x_NCL[1, 0, :3].tolist() == [22.0, 22.0, 22.0]  # nothing from before the window
    assert enough_N.all()


def test_what_can_be_scored_can_be_learnt_from() -> None:
    z_SC = np.zeros((100, 2), np.float32)
    z_SC[10:60] = np.nan
    start_A = usable(z_SC, 32)
    _, enough_N = windows(z_SC, np.arange(69), 32)
    assert start_A.tolist() == torch.nonzero(enough_N)[:, 0].tolist()
    assert 0 < len(start_A) < 69

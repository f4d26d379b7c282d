"""Rows of a stream → standardised windows without gaps; a window is a function of its own slots only.

Shapes: S slots of a history, L slots of a window, C channels, N windows
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CLIP = 20.0  # standard deviations: the networks have seen nothing beyond
MISSING = 0.5  # share of a window's values beyond which it is not scored


class Norm(NamedTuple):
    """Mean and standard deviation of every channel of the training part; the published code takes the test part's, too."""

    mean_C: np.ndarray
    std_C: np.ndarray

    @classmethod
    def of(cls, values_SC: np.ndarray) -> "Norm":
        """Of rows with NaN gaps; a channel that never moves, or is never there, has 1 for its deviation."""
        there_SC = np.isfinite(values_SC)
        many_C = np.maximum(there_SC.sum(0), 1)
        mean_C = np.where(there_SC, values_SC, 0.0).sum(0, dtype=np.float64) / many_C
        square_SC = np.where(there_SC, (values_SC - mean_C) ** 2, 0.0)
        std_C = np.sqrt(square_SC.sum(0) / many_C)
        return cls(mean_C, np.where(std_C > 1e-6 * np.maximum(np.abs(mean_C), 1e-6), std_C, 1.0))


def standardised(values_SC: np.ndarray, norm: Norm) -> np.ndarray:
    """Rows in standard deviations, float32, gaps kept."""
    z_SC: np.ndarray = np.clip((values_SC - norm.mean_C) / norm.std_C, -CLIP, CLIP).astype(np.float32)
    return z_SC


def usable(z_SC: np.ndarray, length: int) -> np.ndarray:
    """First rows (N,) of the windows that are there enough to be scored."""
    there_S = np.concatenate([[0.0], np.isfinite(z_SC).mean(1).cumsum()])
    start_N: np.ndarray = np.flatnonzero(there_S[length:] - there_S[:-length] >= length * (1.0 - MISSING) - 1e-9)
    return start_N


def windows(z_SC: np.ndarray, start_N: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
    """Windows (N, C, L) that begin at these rows, and whether enough of each is there (N,).

    A gap has the value before it in the same window, or the first one after it; a channel that is not there at all its
    training mean.
    """
    x_NCL = np.lib.stride_tricks.sliding_window_view(z_SC, length, axis=0)[start_N]
    there_NCL = np.isfinite(x_NCL)
    enough_N = there_NCL.mean((1, 2)) >= 1.0 - MISSING - 1e-9
    if not there_NCL.all():
        at_L = np.arange(length)
        seen_NCL = np.maximum.accumulate(np.where(there_NCL, at_L, -1), -1)
        first_NC1 = there_NCL.argmax(-1)[..., None]
        x_NCL = np.nan_to_num(np.take_along_axis(x_NCL, np.where(seen_NCL < 0, first_NC1, seen_NCL), -1))
    return torch.from_numpy(np.ascontiguousarray(x_NCL, np.float32)), torch.from_numpy(enough_N)

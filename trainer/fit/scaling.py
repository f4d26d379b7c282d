"""Robust centre and scale of rows, with floors against near-constant and few-valued data.

Shapes: R rows (stream, channel), L slots, F few values that a row has shown, X = F + 1
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.layout import FEW

WINSOR = 0.005  # share clipped at each end before the standard deviation is taken
_OUTER = 0.1  # of the plain standard deviation: rare large bursts are part of normal life, too
_LEVEL = 1e-4  # of the level: float32 and most sensors resolve no better
# An exact constant has no spread at all: a change of less than 2 % of its level is no event.
_CONSTANT_LEVEL = 0.02
_ABSOLUTE = 1e-6
# n slots of history can back a claim of about 1 in n; somewhat more where values vary smoothly and the tail can be
# extrapolated, hardly more where they do not.
_TRUST_FEW = 1.0
_TRUST = 2.5


class Scaling(NamedTuple):
    """What standardisation needs, and how large a surprise the row's history can back."""

    centre_R: Tensor
    scale_R: Tensor
    cap_R: Tensor
    few_R: Tensor  # few distinct values: states, flags, small counts, constants
    levels_RF: Tensor  # which, NaN where fewer than FEW; of other rows the smallest ones


def robust(raw_RL: Tensor) -> Scaling:
    """Median and winsorised standard deviation of rows with NaN gaps (rows without data: 0 and 1)."""
    x_RL = raw_RL.double()
    raw = _facts(x_RL)
    there_RL = torch.isfinite(x_RL)
    many_R = there_RL.sum(-1)
    sorted_RL = torch.where(there_RL, x_RL, torch.inf).sort(-1).values
    inside_RL = torch.isfinite(sorted_RL)

    def at(share: float) -> Tensor:
        place_R = ((many_R - 1).clamp_min(0) * share).round().long()
        return sorted_RL.gather(-1, place_R[:, None])[:, 0]

    centre_R = torch.where(many_R > 0, at(0.5), 0.0)
    low_R1, high_R1 = at(WINSOR)[:, None], at(1.0 - WINSOR)[:, None]
    clipped_RL = torch.minimum(torch.maximum(sorted_RL, low_R1), high_R1)
    few_R = raw.distinct_R <= FEW
    floors = [
        _std(clipped_RL, inside_RL),
        _OUTER * _std(sorted_RL, inside_RL),
        _LEVEL * raw.level_R,
        torch.where(raw.distinct_R == 1, _CONSTANT_LEVEL * raw.level_R, 0.0),
        torch.where(few_R & (raw.distinct_R > 1), 0.5 * raw.step_R, 0.0),
        torch.full_like(raw.level_R, _ABSOLUTE),
    ]
    scale_R = torch.stack(floors).amax(0)
    trust_R = torch.where(few_R, _TRUST_FEW, _TRUST)
    cap_R = (many_R + 1).double().log10() + trust_R
    has_R = many_R > 0
    return Scaling(
        centre_R.float(),
        torch.where(has_R, scale_R, 1.0).float(),
        torch.where(has_R, cap_R, math.nan).float(),
        few_R,
        raw.levels_RF,
    )


def has_few(x_RL: Tensor) -> Tensor:
    """Whether rows with NaN gaps have few distinct values."""
    return _facts(x_RL).distinct_R <= FEW


class _Facts(NamedTuple):
    level_R: Tensor  # absolute median
    distinct_R: Tensor
    step_R: Tensor  # smallest difference between two distinct values
    levels_RF: Tensor  # the smallest FEW distinct values, NaN where there are fewer


def _facts(raw_RL: Tensor) -> _Facts:
    there_RL = torch.isfinite(raw_RL)
    sorted_RL = torch.where(there_RL, raw_RL, torch.inf).sort(-1).values
    middle_R = (there_RL.sum(-1) // 2).clamp_max(raw_RL.shape[1] - 1)
    level_R = sorted_RL.gather(-1, middle_R[:, None])[:, 0].abs()
    step_RL = torch.diff(sorted_RL, dim=-1)
    new_RL = (step_RL > 0) & torch.isfinite(sorted_RL)[:, 1:]
    smallest_R = torch.where(new_RL, step_RL, torch.inf).amin(-1)
    first_RL = torch.nn.functional.pad(new_RL, (1, 0)) | (torch.arange(raw_RL.shape[1], device=raw_RL.device) == 0)
    first_RL &= torch.isfinite(sorted_RL)
    place_RL = torch.where(first_RL, first_RL.long().cumsum(-1) - 1, FEW).clamp_max(FEW)
    levels_RX = torch.full((len(raw_RL), FEW + 1), math.nan, dtype=sorted_RL.dtype, device=raw_RL.device)
    levels_RF = levels_RX.scatter(1, place_RL, sorted_RL)[:, :FEW]
    return _Facts(torch.where(torch.isfinite(level_R), level_R, 0.0), new_RL.sum(-1) + 1, smallest_R, levels_RF)


def _std(x_RL: Tensor, there_RL: Tensor) -> Tensor:
    many_R = there_RL.sum(-1).clamp_min(1)
    mean_R = torch.where(there_RL, x_RL, 0.0).sum(-1) / many_R
    square_RL = torch.where(there_RL, (x_RL - mean_R[:, None]) ** 2, 0.0)
    return (square_RL.sum(-1) / many_R).sqrt()

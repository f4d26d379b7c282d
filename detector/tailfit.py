"""Tails of averaged departures: how surprising one is that is larger than what history has.

Exponential beyond the 95 % quantile. Its scale is the larger of what the sample up to the 99.5 % quantile has, which
an anomaly that nobody has marked does not change, and of what the second largest of all days asks for, because many
streams are calm for hours and then are not. Nothing is capped: true events are worth decades more than chance, and a
cap makes them equal (opsbench, seed 1: caught .75 at a quarter of a false alert a stream-week without, .07 with it).

Shapes: B any batch shape, N samples, D days of the sample, C numbers of a tail: middle, start, scale.
"""

import math

import torch
from torch import Tensor

BODY = -math.log10(0.05)  # surprise at which the tail begins
_HALF = -math.log10(0.5)
_LEAST = 0.25  # smallest scale of a tail, in scales of the departures: calm history says little about how calm
_MIN_SAMPLES = 48


def fit(value_BN: Tensor, day_BN: Tensor, days: int, floor: float = _LEAST) -> Tensor:
    """Tails (B, C) of values on normal data, NaN left out; infinite starts (no surprise, ever) where too few are there."""
    there_BN = torch.isfinite(value_BN)
    many_B = there_BN.sum(-1)
    sorted_BN = torch.where(there_BN, value_BN, torch.inf).sort(-1).values

    def at(share: float) -> Tensor:
        place_B = ((many_B - 1).clamp_min(0) * share).long()
        return sorted_BN.gather(-1, place_B[..., None])[..., 0]

    middle_B, start_B, far_B = at(0.5), at(0.95), at(0.995)
    scale_B = ((far_B - start_B) / math.log(10.0)).clamp_min(floor)
    # The largest of each day: the second largest of D days is reached every D / 2 days.
    worst_BD = value_BN.new_full((*many_B.shape, days), -torch.inf)
    worst_BD = worst_BD.scatter_reduce(-1, day_BN, torch.where(there_BN, value_BN, -torch.inf), "amax")
    known_B = torch.isfinite(worst_BD).sum(-1)
    second_B = worst_BD.topk(min(2, days), -1).values[..., -1]
    # p of a sample that comes once in D / 2 days of n / D samples each
    rare_B = torch.log10((many_B / 2.0).clamp_min(100.0)) - BODY
    second_B = torch.where(known_B >= 3, second_B, start_B)
    scale_B = torch.maximum(scale_B, (second_B - start_B) / (rare_B * math.log(10.0)))
    start_B = torch.where(many_B >= _MIN_SAMPLES, start_B, torch.inf)
    return torch.stack([torch.minimum(middle_B, start_B), start_B, scale_B], -1)


def surprise(value_B: Tensor, tail_BC: Tensor) -> Tensor:
    """−log10 p of values under tails that broadcast against them; linear between the median and the tail's start."""
    middle_B, start_B, scale_B = tail_BC.unbind(-1)
    beyond_B = BODY + (value_B - start_B) / (scale_B * math.log(10.0))
    part_B = ((value_B - middle_B) / (start_B - middle_B).clamp_min(1e-9)).clamp(0.0, 1.0)
    body_B = torch.where(value_B > middle_B, _HALF + part_B * (BODY - _HALF), 0.0)
    out_B = torch.where(value_B > start_B, beyond_B, body_B)
    return torch.where(torch.isfinite(start_B), out_B, torch.where(torch.isfinite(value_B), 0.0, torch.nan))


def reached(tail_BC: Tensor, level: float) -> Tensor:
    """Value at which a surprise beyond the body is reached."""
    _, start_B, scale_B = tail_BC.unbind(-1)
    return start_B + scale_B * ((level - BODY) * math.log(10.0))

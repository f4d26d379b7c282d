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
_YOUNG = 6.0  # days that make a tail twice as wide as it seems
_SLOW = 14.0  # as many more for a row whose averages of hours scatter like its slots: its days are few samples
_MIN_SAMPLES = 48
# From the 95 % to the 99.5 % quantile of a normal distribution, in its distance from the median to the 95 % quantile.
_NORMAL = (2.576 - 1.645) / 1.645
# What comes once a day has a surprise of log10 of this, whatever the statistic: averages over hours come in long runs,
# single slots do not, and what a person hears is runs.
A_DAY = 288.0


def worst(value_BN: Tensor, day_BN: Tensor, days: int) -> Tensor:
    """Largest value of each day (B, D), −inf where a day has none."""
    out_BD = value_BN.new_full((*value_BN.shape[:-1], days), -torch.inf)
    return out_BD.scatter_reduce(-1, day_BN, torch.where(torch.isfinite(value_BN), value_BN, -torch.inf), "amax")


def fit(
    value_BN: Tensor, worst_BD: Tensor, whole_BD: Tensor, own_BD: Tensor, floor: float, slow_B: Tensor,
    runs: bool = False,
) -> Tensor:  # fmt: skip
    """Tails (B, C) of values on normal data, NaN left out; infinite starts (no surprise, ever) where too few are there.

    `worst_BD` are the largest of each day, which may reach further back than the values do, `whole_BD` the same with
    incidents: an incident a week is none of the stream's habits, more of them are; `own_BD` those of the days that such values
    are themselves known of. `floor` is the tail's smallest scale,
    `slow_B` from 0 to 1 how much of the scatter stays in an average over hours. `runs`: the values come in long runs, so that
    one event may be all that lies beyond the 95 % quantile; such a tail falls no faster than a normal one.
    """
    there_BN = torch.isfinite(value_BN)
    many_B = there_BN.sum(-1)
    sorted_BN = torch.where(there_BN, value_BN, torch.inf).sort(-1).values

    def at(share: float) -> Tensor:
        place_B = ((many_B - 1).clamp_min(0) * share).long()
        return sorted_BN.gather(-1, place_B[..., None])[..., 0]

    middle_B, start_B, far_B = at(0.5), at(0.95), at(0.995)
    scale_B = ((far_B - start_B) / math.log(10.0)).clamp_min(floor)
    if runs:
        scale_B = torch.maximum(scale_B, _NORMAL * (start_B - middle_B) / math.log(10.0))
    known_B = torch.isfinite(worst_BD).sum(-1)
    # the second largest of D days comes every D / 2 days, their median every 1.4 days
    week_B = known_B // 7 + 1
    own_B = torch.isfinite(own_BD).sum(-1)
    anchors = (
        (own_BD, torch.ones_like(known_B), own_B / 2.0),
        (worst_BD, torch.ones_like(known_B), known_B / 2.0),
        (worst_BD, known_B // 2, torch.full_like(scale_B, 1.44)),
        (whole_BD, week_B, known_B / (week_B + 1.0)),
    )
    for days_BD, place_B, days_B in anchors:
        level_B = days_BD.sort(-1, descending=True).values.gather(
            -1, place_B.clamp_max(worst_BD.shape[-1] - 1)[..., None]
        )[..., 0]
        rare_B = torch.log10(days_B.clamp_min(1.0) * A_DAY) - BODY
        slope_B = (level_B - start_B) / (rare_B * math.log(10.0))
        scale_B = torch.where(known_B >= 3, torch.maximum(scale_B, slope_B), scale_B)
    scale_B = scale_B * (1.0 + (_YOUNG + _SLOW * slow_B) / known_B.clamp_min(1))
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

"""Windows of every scale that end at a slot, averaged to at most 16 points, for many rows at once.

Shapes: R rows (stream, channel), L slots, K scored slots (the last K of L), T points of a pooled window.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from streamer.errors import ConfigError

POINTS = 16  # points of a pooled window: enough for a shape, small enough for a distance
FILL = 3  # slots that the last value stands in for; a longer gap is left out of the comparison
MISSING = 0.25  # share of missing slots above which a window is not scored at that scale
CLIP = 100.0  # standardised values are kept within: more adds nothing to any surprise


class Windows(NamedTuple):
    """Pooled windows of one scale."""

    value_RKT: Tensor  # standardised, 0 where missing
    there_RKT: Tensor | None  # False where a point has no sample; None when nothing at all is missing
    valid_RK: Tensor  # False where too much is missing


def points_of(scale: int) -> int:
    """Points of a pooled window of a scale. Raises ConfigError when the scale cannot be cut into them."""
    points = min(scale, POINTS)
    if scale % points:
        raise ConfigError(f"scale {scale}: scales above {POINTS} slots must be multiples of {POINTS}")
    return points


def standardise(values_RL: Tensor, centre_R: Tensor, scale_R: Tensor) -> Tensor:
    """(values − centre) / scale within ±CLIP, in float64 (large levels lose their changes in float32)."""
    x_RL = (values_RL.double() - centre_R.double()[:, None]) / scale_R.double()[:, None]
    return x_RL.clamp(-CLIP, CLIP)


def clipped_off(values_RL: Tensor, centre_R: Tensor, scale_R: Tensor) -> Tensor | None:
    """What `standardise` cuts off, in the data's unit (float64, 0 for gaps); None when it cuts nothing."""
    limit_R1 = CLIP * scale_R.double()[:, None]
    from_centre_RL = torch.nan_to_num(values_RL.double() - centre_R.double()[:, None])
    over_RL = from_centre_RL - torch.minimum(torch.maximum(from_centre_RL, -limit_R1), limit_R1)
    return over_RL if bool((over_RL != 0).any()) else None


def moving_mean(x_RL: Tensor, slots: int) -> Tensor:
    """Mean over `slots` slots up to each; L − slots + 1 of them."""
    return _moving_sum(x_RL, slots) / slots


def fill(x_RL: Tensor) -> Tensor:
    """The last value stands in for at most FILL missing slots. Causal: no slot depends on later ones."""
    for _ in range(FILL):
        missing_RL = torch.isnan(x_RL)
        if not bool(missing_RL.any()):
            break
        before_RL = torch.cat([torch.full_like(x_RL[:, :1], torch.nan), x_RL[:, :-1]], 1)
        x_RL = torch.where(missing_RL, before_RL, x_RL)
    return x_RL


def pool(x_RL: Tensor, scale: int, count: int) -> Windows:
    """Windows that end at each of the last `count` slots of filled, standardised rows (L ≥ scale + count − 1).

    A window depends on its own `scale` slots only, whatever the row around it.
    """
    points = points_of(scale)
    cell = scale // points
    x_RL = x_RL[:, x_RL.shape[1] - (scale + count - 1) :]
    there_RL = torch.isfinite(x_RL)
    complete = bool(there_RL.all())
    sum_RL = _moving_sum(x_RL if complete else torch.where(there_RL, x_RL, 0.0), cell)
    if complete:
        mean_RL = (sum_RL / cell).float()
        value_RKT = _windows(mean_RL, count, points, cell)
        return Windows(value_RKT, None, torch.ones(value_RKT.shape[:2], dtype=torch.bool, device=x_RL.device))
    many_RL = _moving_sum(there_RL.double(), cell)
    mean_RL = (sum_RL / many_RL.clamp_min(1.0)).float()
    many_RKT = _windows(many_RL, count, points, cell)
    missing_RK = 1.0 - many_RKT.sum(-1) / scale
    valid_RK = missing_RK <= MISSING + 1e-9
    return Windows(_windows(mean_RL, count, points, cell), many_RKT > 0, valid_RK)


def _moving_sum(x_RL: Tensor, cell: int) -> Tensor:
    """Sum over `cell` slots up to each; L − cell + 1 of them."""
    if cell == 1:
        return x_RL
    total_RL = torch.nn.functional.pad(x_RL.double().cumsum(1), (1, 0))
    return total_RL[:, cell:] - total_RL[:, :-cell]


def _windows(mean_RL: Tensor, count: int, points: int, cell: int) -> Tensor:
    """Points of each window: every `cell`-th mean. A view, not a copy."""
    mean_RL = mean_RL.contiguous()
    rows, width = mean_RL.shape
    return mean_RL.as_strided((rows, count, points), (width, 1, cell))

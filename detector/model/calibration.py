"""From raw scores to surprises: −log10 of the probability that normal data score as high.

Empirical up to the 95 % quantile, a generalised Pareto tail beyond it. With few samples the tail is drawn towards
a wide prior, so that a short history makes a cautious model and not a nervous one.

>>> normal = torch.randn(1, 10_000, generator=torch.Generator().manual_seed(0))
>>> calibrator = fit(normal, torch.isfinite(normal), floor_B=0.05)
>>> one_in_ten, one_in_a_hundred = 1.2816, 2.3263  # quantiles of the normal distribution
>>> found = surprise(torch.tensor([[one_in_ten, one_in_a_hundred]]), calibrator[:, None])
>>> [round(value, 1) for value in found[0].tolist()]  # the tail is a little wider than the normal distribution's
[1.0, 1.9]

A calibrator is one float32 vector of length WIDTH, so that calibrators of any number of rows and views are one tensor.

Shapes: B any batch shape, N samples, G grid points, W numbers of a calibrator, V views, M loudest of them
"""

import math

import torch
from torch import Tensor

CAP = 12.0  # decades: what is rarer than 10^-12 cannot be distinguished
BODY = -math.log10(0.05)  # 1.301: the surprise at which the tail model takes over
GRID = 17  # quantiles kept of the body: steps of 0.08 in log10 p
WIDTH = GRID + 3  # grid, tail scale, tail shape, cap

_PAST_CAP = 0.5  # decades a tenfold excess past the cap is worth

# Tail shapes of the priors. Distances of bursty streams are mildly heavy-tailed; what has been calibrated once and is
# calibrated again is nearly exponential.
RAW_SHAPE = 0.2
FUSED_SHAPE = 0.1
_SHAPE_WEIGHT = 40.0  # excesses that halve the distance to an exponential tail, which most streams have
CENSORED = 0.005  # share of the scores whose size is not believed
# A normal body followed by an exponential tail has mean excess 0.25 (q95 - q50), an exponential one 0.43.
_SCALE_PRIOR = 0.45
_SCALE_WEIGHT = 10.0
_MIN_SAMPLES = 24  # fewer make no 95 % quantile worth the name


def fit(
    score_BN: Tensor, valid_BN: Tensor, floor_B: Tensor | float, memory: Tensor | float = 1.0, shape: float = RAW_SHAPE
) -> Tensor:
    """Calibrators (B, WIDTH) of scores on normal data; NaN where fewer than 24 are valid.

    `floor_B` is the smallest tail scale (a constant score has none of its own), in units of the score.
    `shape` is the prior of the tail's shape. `memory` is how many neighbouring samples are alike because their windows
    overlap: the tail trusts n / memory of them.
    """
    score_BN = score_BN.float()
    count_B = valid_BN.sum(-1)
    sorted_BN = torch.where(valid_BN, score_BN, torch.inf).sort(-1).values
    levels_G = torch.linspace(0.0, BODY, GRID, device=score_BN.device)
    grid_BG = _quantiles(sorted_BN, count_B, 1.0 - 10.0 ** (-levels_G))
    grid_BG = torch.cummax(grid_BG, -1).values
    middle_B = _quantiles(sorted_BN, count_B, torch.tensor([0.5], device=score_BN.device))[..., 0]
    start_B = grid_BG[..., -1]

    excess_BN = torch.where(torch.isfinite(sorted_BN), sorted_BN - start_B[..., None], 0.0).clamp_min(0.0)
    beyond_BN = excess_BN > 0
    many_B = beyond_BN.sum(-1).float()
    # What lies beyond the 99.5 % quantile counts as that far and as not yet ended (a censored exponential's maximum
    # likelihood): exact on clean data, and an anomaly that nobody has marked does not make the tail wide.
    censor_B = _quantiles(sorted_BN, count_B, torch.tensor([1.0 - CENSORED], device=score_BN.device))[..., 0] - start_B
    ended_B = (many_B - (excess_BN > censor_B[..., None]).sum(-1)).clamp_min(1.0)
    trusted_B = many_B / torch.as_tensor(memory, device=score_BN.device).clamp_min(1.0)
    prior_B = _SCALE_PRIOR * (start_B - middle_B)
    total_B = torch.minimum(excess_BN, censor_B[..., None].clamp_min(0.0)).sum(-1)
    mean_B = (trusted_B * total_B / ended_B + _SCALE_WEIGHT * prior_B) / (trusted_B + _SCALE_WEIGHT)
    # A sample whose few excesses happen to be small does not make the tail thin.
    mean_B = torch.maximum(mean_B, 0.5 * prior_B)
    # A short history may be that of a heavy-tailed stream that has not shown it yet; a long one shows its scale.
    shape_B = shape * _SHAPE_WEIGHT / (_SHAPE_WEIGHT + trusted_B)
    floor_B = torch.as_tensor(floor_B, device=score_BN.device, dtype=torch.float32).expand_as(mean_B)
    scale_B = torch.maximum(mean_B * (1.0 - shape_B), floor_B)
    cap_B = torch.full_like(scale_B, CAP)
    cal = torch.cat([grid_BG, torch.stack([scale_B, shape_B, cap_B], -1)], -1)
    return torch.where((count_B >= _MIN_SAMPLES)[..., None], cal, torch.nan)


def exponential(score_BN: Tensor, valid_BN: Tensor, start: float, scale_prior: float, weight: float) -> Tensor:
    """Calibrators (B, WIDTH) of scores that may be very few: an exponential from `start`, drawn to its prior.

    The body is the exponential's own: surprise(start) = 0.
    """
    many_B = valid_BN.sum(-1).float()
    total_B = torch.where(valid_BN, score_BN - start, 0.0).clamp_min(0.0).sum(-1)
    mean_B = torch.clamp_min((total_B + weight * scale_prior) / (many_B + weight), 0.5 * scale_prior)
    levels_G = torch.linspace(0.0, BODY, GRID, device=score_BN.device)
    grid_BG = start + mean_B[..., None] * (levels_G * math.log(10.0))
    shape_B = torch.full_like(mean_B, FUSED_SHAPE)
    return torch.cat([grid_BG, torch.stack([mean_B, shape_B, torch.full_like(mean_B, CAP)], -1)], -1)


def surprise(score_B: Tensor, cal_BW: Tensor) -> Tensor:
    """Surprise of scores (B) under calibrators that broadcast against them (B, WIDTH); NaN stays NaN."""
    grid_BG, scale_B, shape_B, cap_B = cal_BW[..., :GRID], cal_BW[..., GRID], cal_BW[..., GRID + 1], cal_BW[..., -1]
    at_B = _reached(score_B, grid_BG).clamp(1, GRID - 1)
    wide_BG = grid_BG.expand(*score_B.shape, GRID)
    low_B = wide_BG.gather(-1, at_B[..., None] - 1)[..., 0]
    high_B = wide_BG.gather(-1, at_B[..., None])[..., 0]
    part_B = ((score_B - low_B) / (high_B - low_B).clamp_min(1e-12)).clamp(0.0, 1.0)
    body_B = (at_B - 1 + part_B) * (BODY / (GRID - 1))
    over_B = (score_B - grid_BG[..., -1]).clamp_min(0.0) / scale_B.clamp_min(1e-12)
    bend_B = shape_B.clamp_min(1e-3)  # the exponential is the limit
    tail_B = BODY + torch.log1p(bend_B * over_B) / (bend_B * math.log(10.0))
    # A score equal to the largest ever seen of a constant view is not in the tail.
    out_B = softly(torch.where(over_B > 0, tail_B, body_B.clamp_max(BODY)), cap_B)
    return torch.where(torch.isfinite(score_B) & torch.isfinite(cap_B), out_B, torch.nan)


def _reached(score_B: Tensor, grid_BG: Tensor) -> Tensor:
    """How many grid points are not above each score.

    Point by point: to compare with all at once and to count along the last dimension takes up to five times as long.
    """
    many_B = torch.zeros(score_B.shape, dtype=torch.uint8, device=score_B.device)
    for grid_B in grid_BG.unbind(-1):
        many_B += score_B >= grid_B
    return many_B.long()


def softly(surprise_B: Tensor, cap_B: Tensor) -> Tensor:
    """Surprises that hardly grow past what a history can back, but keep their order: the largest must stay the largest."""
    over_B = (surprise_B - cap_B).clamp_min(0.0)
    return torch.where(over_B > 0, cap_B + _PAST_CAP * torch.log10(1.0 + over_B), surprise_B)


def widened(surprise_B: Tensor, widen_B: Tensor) -> Tensor:
    """Surprises whose tail is stretched: what exceeds the body counts for 1 / widen."""
    over_B = (surprise_B - BODY).clamp_min(0.0)
    return torch.where(over_B > 0, BODY + over_B / widen_B, surprise_B)


def cap(cal_BW: Tensor, cap_B: Tensor) -> Tensor:
    """The same calibrators with a smaller largest surprise."""
    out = cal_BW.clone()
    out[..., -1] = torch.minimum(out[..., -1], cap_B)
    return out


def loudest(surprise_BV: Tensor, most: int) -> Tensor:
    """Mean over the `most` largest of the views that are there (NaN = absent); NaN where none is.

    No view counts for more than CAP: several that agree weigh more than one extreme one.
    """
    there_BV = torch.isfinite(surprise_BV)
    many_B = there_BV.sum(-1)
    top_BM = torch.where(there_BV, surprise_BV, 0.0).clamp(0.0, CAP).topk(min(most, surprise_BV.shape[-1]), -1).values
    # what is not there is 0 and adds nothing
    mean_B = top_BM.sum(-1) / many_B.clamp(1, most)
    return torch.where(many_B > 0, mean_B, torch.nan)


def _quantiles(sorted_BN: Tensor, count_B: Tensor, p_G: Tensor) -> Tensor:
    """Linear-interpolated quantiles (B, G) of the first `count_B` of ascending samples; NaN without samples."""
    place_BG = p_G * (count_B[..., None] - 1).clamp_min(0)
    low_BG = place_BG.floor().long()
    high_BG = torch.minimum(low_BG + 1, (count_B[..., None] - 1).clamp_min(0))
    a_BG, b_BG = sorted_BN.gather(-1, low_BG), sorted_BN.gather(-1, high_BG)
    mixed_BG = a_BG + (b_BG - a_BG) * (place_BG - low_BG)
    return torch.where((count_B > 0)[..., None], mixed_BG, torch.nan)

"""Whether a row scatters by amounts or by shares: the knee of its stabilised scale.

Shapes: R rows, D days (the last AHEAD are still to come), K phases (blocks of a day), H hours of it, N knees, X any number
"""

import math

import torch
from torch import Tensor

from detector.model.views.stabilised import slope, stabilised
from trainer.fit.season_days import AHEAD, Days, median, quantile

_BASE = 8.0  # knees are its powers, times which nothing changes
_BELOW = (0, 1, 2)  # powers below the row's usual size
# Nats a block by which a knee must be likelier than none, and by which one that is in use must stay so.
_GAIN, _KEPT = 0.05, 0.02
_FEW = 96  # blocks that must speak
_HOURS = 24
_FAR = 12.0  # medians of its hour that a step counts for: an anomaly that nobody noticed decides nothing
# Of all steps so many may be that far on the stabilised scale. More is no scatter: a row has regimes, and by shares a job
# that begins a little early would depart further than anything that can go wrong with it.
_JUMPS = 0.0025
_NONE = 0.01  # share of blocks without anything above which a row is of amounts: 0, 0, 3 has no shares
_STEPS = 2.0  # steps of a row's values that its knee must reach: 1 is not infinitely more than 0


def knees(days: Days, step_R: Tensor, used_R: Tensor | None = None) -> Tensor:
    """The likeliest knee of each row (R), 0 for none: of steps from block to block that the time of day does not explain,
    two-sided exponential of a scale for each hour, with the Jacobian of the knee (Box and Cox 1964).

    `step_R`: smallest difference between a row's values; `used_R`: knees until now, which are kept while they pay.
    """
    value_RDK = days.value_RDK[:, :-AHEAD]
    there_RDK = torch.isfinite(value_RDK)
    size_R = median(torch.where(there_RDK & (value_RDK != 0), value_RDK.abs(), torch.nan).flatten(1))
    power_R = (torch.log(size_R.nan_to_num(1.0).clamp_min(1e-30)) / math.log(_BASE)).round()
    none_R = torch.zeros_like(size_R)
    used_R = none_R if used_R is None else used_R
    tried_RN = torch.stack([*(_BASE ** (power_R - k) for k in _BELOW), used_R], 1)
    plain_R = _fit(value_RDK, there_RDK, none_R)[0]
    likely_RN, jumps_RN = (
        torch.stack(x, 1) for x in zip(*(_fit(value_RDK, there_RDK, c) for c in tried_RN.unbind(1)), strict=True)
    )
    gain_RN = likely_RN - plain_R[:, None]
    gain_RN[(tried_RN == 0) | (tried_RN < _STEPS * step_R[:, None]) | (jumps_RN > _JUMPS)] = -torch.inf
    told_R = (there_RDK.flatten(1).sum(-1) >= _FEW) & (quantile(value_RDK.flatten(1), _NONE) > 0)
    best = gain_RN[:, :-1].max(1)
    knee_R = torch.where(best.values > _GAIN, tried_RN.gather(1, best.indices[:, None])[:, 0], none_R)
    return torch.where(told_R, torch.where(gain_RN[:, -1] > _KEPT, used_R, knee_R), none_R)


def _fit(value_RDK: Tensor, there_RDK: Tensor, knee_R: Tensor) -> tuple[Tensor, Tensor]:
    """Mean log-likelihood of a block after the one before it, less a constant, and the share of steps that are far: of
    levels, weekends and growth there are none.
    """
    knee_R11 = knee_R[:, None, None]
    y_RX = torch.where(there_RDK, stabilised(value_RDK, knee_R11), torch.nan).flatten(1)
    step_RDK = torch.nn.functional.pad(y_RX.diff(dim=-1), (1, 0), value=torch.nan).view_as(value_RDK)
    off_RDK = (step_RDK - median(step_RDK.transpose(1, 2))[:, None]).abs()
    # Each hour has its scale, as in a season; what it does not explain is left for the knee.
    rows, count, per_day = off_RDK.shape
    off_RHX = off_RDK.view(rows, count, _HOURS, per_day // _HOURS).transpose(1, 2).flatten(2)
    far_RH1 = _FAR * median(off_RHX)[..., None]
    many_R = torch.isfinite(off_RDK).flatten(1).sum(-1).clamp_min(1)
    jumps_R = (off_RHX > far_RH1).flatten(1).sum(-1) / many_R
    log_RH = torch.log(torch.minimum(off_RHX, far_RH1).nanmean(-1) + 1e-30)
    steep_RX = torch.where(there_RDK, slope(value_RDK, knee_R11).log(), torch.nan).flatten(1)
    return (steep_RX.nanmean(-1) - log_RH.nanmean(-1)).nan_to_num(-torch.inf), jumps_R

"""How rare a discrepancy is among a row's own earlier ones, without a model: a power tail from the largest of them.

Shapes: R rows (stream, channel), K scored slots, H earlier discrepancies, T largest of them, X any batch shape
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Beyond the anchor (the k-th largest of n, k = n / 16) the probability falls as a power of the distance. Noise of
# normal shape has an index of about 6 there, Student's t with 3 degrees 3: drawn to 4, as heavy as most metrics are.
_TOP = 16
_INDEX, _INDEX_WEIGHT = 4.0, 8.0
# What has never been more than x may well be 2 x: the anchor is at least so much of the largest. It keeps rows calm
# whose usual discrepancy is 0 (rare events, states) and those whose past has something large in it. These three were
# chosen by bench/cold_start.py: the calmest that still find a jump of 10 sigma after 64 slots.
_OF_LARGEST = 0.6
_MOST = 1e9  # a larger ratio of distance to anchor changes nothing


def median(x_XH: Tensor) -> Tensor:
    """Lower median of what is there along the last dimension; NaN where nothing is."""
    sorted_XH = x_XH.sort(-1).values  # NaN comes last
    many_X1 = torch.isfinite(x_XH).sum(-1, keepdim=True)
    return sorted_XH.gather(-1, (many_X1 - 1).clamp_min(0) // 2)[..., 0]


class Tail(NamedTuple):
    """Surprises, and what they were measured by."""

    surprise_RK: Tensor
    largest_RK: Tensor  # of the near history


def surprise(now_RK: Tensor, before_RKH: Tensor, floor_RK: Tensor, least: int, far_RK: Tensor | None = None) -> Tail:
    """Surprise of discrepancies against earlier ones, 0 where fewer than `least` of them are known.

    `floor_RK` is the smallest discrepancy that is one at all; `far_RK` the largest of a longer past.
    """
    size = before_RKH.shape[-1]
    there_RKH = torch.isfinite(before_RKH)
    many_RK = there_RKH.sum(-1)
    top_RKT = torch.where(there_RKH, before_RKH, 0.0).topk(max(1, size // _TOP), -1).values
    which_RK = (many_RK // _TOP).clamp(1, top_RKT.shape[-1])
    largest_RK = top_RKT[..., 0]
    anchor_RK = top_RKT.gather(-1, which_RK[..., None] - 1)[..., 0]
    reached_RK = largest_RK if far_RK is None else torch.fmax(largest_RK, far_RK.nan_to_num(0.0, 0.0, 0.0))
    anchor_RK = torch.maximum(torch.maximum(anchor_RK, _OF_LARGEST * reached_RK), floor_RK)
    # Hill's estimate of 1 / index from what lies beyond the anchor.
    among_RKT = torch.arange(top_RKT.shape[-1], device=top_RKT.device) < which_RK[..., None]
    excess_RKT = torch.where(among_RKT, (top_RKT / anchor_RK[..., None]).clamp_min(1.0).log(), 0.0)
    bend_RK = (excess_RKT.sum(-1) + _INDEX_WEIGHT / _INDEX) / (which_RK + _INDEX_WEIGHT)
    ratio_RK = (now_RK / anchor_RK).clamp_max(_MOST)
    start_RK = ((many_RK + 1) / which_RK).log10()
    surprise_RK = start_RK * ratio_RK.clamp_max(1.0) + ratio_RK.clamp_min(1.0).log10() / bend_RK
    # What has been seen is at most as rare as once among all that were seen, whatever shape the tail has.
    seen_RK = ((many_RK + 1) / 2).log10()
    surprise_RK = torch.where(now_RK <= reached_RK, torch.minimum(surprise_RK, seen_RK), surprise_RK)
    return Tail(torch.where(many_RK >= least, surprise_RK, 0.0).nan_to_num(0.0), largest_RK)

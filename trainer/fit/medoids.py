"""Choosing the medoids of one shape view, and distances to them that leave a window's neighbours in time out.

Shapes: R rows (stream, channel), N windows, P medoids, T points of a window
"""

import torch
from torch import Tensor

from detector.model.archive import GAP, STRETCH
from detector.model.views.medoids import OWN

# A window's neighbours in time are no evidence that it is normal: a twentieth of the history, or its own width.
_ZONE, _ZONE_MAX = 20, 4
_FAR = 1 << 24  # slots between stretches of the past, whose real distance is not asked for


def zone(width_R: Tensor, slots_R: Tensor) -> Tensor:
    """Slots (R) within which two windows are neighbours in time."""
    return torch.minimum(torch.maximum(width_R, slots_R // _ZONE), slots_R // _ZONE_MAX)


def when(end_RN: Tensor, past: int, width_R: Tensor, zone_R: Tensor) -> Tensor:
    """Ends in slots of time, as `away` compares them, of windows of which the first `past` slots are stretches of before.

    A stretch is far from all others and from the ring, and within it a window's neighbours reach at least as far as its width.
    """
    each = STRETCH + GAP
    slower_R = (zone_R // width_R).clamp_min(1)
    stretch_RN = (past - 1 - end_RN) // each + 1  # counted back from the ring
    return torch.where(end_RN < past, end_RN * slower_R[:, None] - stretch_RN * _FAR, end_RN)


def k_center(feature_RNT: Tensor, count: int) -> Tensor:
    """Indices (R, P): the most typical window, then always the one farthest from all chosen (Gonzalez 1985).

    Extremes are kept, and no window is farther from the chosen than twice the least possible. More medoids than
    distinct windows repeat some.
    """
    rows, many, _ = feature_RNT.shape
    norm_RN = feature_RNT.square().sum(-1)
    middle_R1T = feature_RNT.mean(1, keepdim=True)
    newest_R = (feature_RNT - middle_R1T).square().sum(-1).argmin(1)
    far_RN = torch.full_like(norm_RN, torch.inf)
    row_R = torch.arange(rows, device=feature_RNT.device)
    chosen = []
    for _ in range(min(count, many)):
        chosen.append(newest_R)
        centre_RT1 = feature_RNT[row_R, newest_R][..., None]
        square_RN = torch.baddbmm(norm_RN[..., None], feature_RNT, centre_RT1, alpha=-2.0)[..., 0]
        far_RN = torch.minimum(far_RN, square_RN + norm_RN[row_R, newest_R][:, None])
        newest_R = far_RN.argmax(1)
    index_RP = torch.stack(chosen, 1)
    return index_RP[:, torch.arange(count, device=index_RP.device) % index_RP.shape[1]]


def away(of_RNT: Tensor, of_end_RN: Tensor, to_RPT: Tensor, to_end_RP: Tensor, zone_R: Tensor) -> Tensor:
    """Squared distances (R, N, P), infinite between windows that lie within the zone of each other."""
    norm_RNP = of_RNT.square().sum(-1)[..., None] + to_RPT.square().sum(-1)[:, None]
    square_RNP = torch.baddbmm(norm_RNP, of_RNT, to_RPT.mT, alpha=-2.0)
    near_RNP = (of_end_RN.int()[..., None] - to_end_RP.int()[:, None]).abs_() < zone_R.int()[:, None, None]
    return square_RNP.clamp_min_(0).masked_fill_(near_RNP, torch.inf)


def nearest_away(of_RNT: Tensor, of_end_RN: Tensor, to_RPT: Tensor, to_end_RP: Tensor, zone_R: Tensor) -> Tensor:
    """Nearest distance (R, N) beyond the zone, 0 where everything lies within it."""
    square_RN = away(of_RNT, of_end_RN, to_RPT, to_end_RP, zone_R).amin(-1)
    return torch.where(torch.isfinite(square_RN), square_RN, 0.0).sqrt()


def less_own(square_RNP: Tensor, own_RP: Tensor) -> Tensor:
    """Score (R, N) as the detector makes it; NaN where everything lies within the zone."""
    best = square_RNP.min(-1)
    score_RN = best.values.sqrt() - OWN * own_RP.gather(1, best.indices)
    return torch.where(torch.isfinite(best.values), score_RN, torch.nan)

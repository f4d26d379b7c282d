"""Prototypes: trimmed k-means over many rows at once.

Shapes: R rows, N training windows, T points, P prototypes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Histories hold anomalies nobody has marked: the worst 2 % of the windows pull no prototype towards them.
TRIM = 0.02
ITERATIONS = 8  # the mean distance falls by less than 1 % after the sixth


class Prototypes(NamedTuple):
    """Normal windows of one scale."""

    proto_RPT: Tensor
    radius_RP: Tensor  # mean root mean square distance of the members
    band_RP: Tensor  # standard deviation of the members' newest points around the prototype's
    used_RP: Tensor  # share of the windows


def kmeans(window_RNT: Tensor, count: int, band_points: int, seed: int = 0) -> Prototypes:
    """`count` prototypes for each row. Deterministic for a seed; rows do not influence each other."""
    rows, many, points = window_RNT.shape
    generator = torch.Generator().manual_seed(seed)
    start_P = torch.randperm(many, generator=generator).to(window_RNT.device)
    # Fewer windows than prototypes: the same window stands twice, which changes no distance.
    start_P = start_P[torch.arange(count, device=start_P.device) % many]
    centre_RPT = window_RNT[:, start_P]
    norm_RN = (window_RNT * window_RNT).sum(-1)
    keep = max(1, round(many * (1.0 - TRIM)))
    for _ in range(ITERATIONS):
        square_RN, nearest_RN = _assign(window_RNT, norm_RN, centre_RPT)
        weight_RN = (square_RN <= square_RN.kthvalue(keep, -1).values[:, None]).to(window_RNT.dtype)
        size_RP = torch.zeros(rows, count, device=window_RNT.device).scatter_add_(1, nearest_RN, weight_RN)
        total_RPT = torch.zeros_like(centre_RPT).scatter_add_(
            1, nearest_RN[..., None].expand(-1, -1, points), window_RNT * weight_RN[..., None]
        )
        mean_RPT = total_RPT / size_RP.clamp_min(1.0)[..., None]
        centre_RPT = torch.where(size_RP[..., None] > 0, mean_RPT, centre_RPT)
    square_RN, nearest_RN = _assign(window_RNT, norm_RN, centre_RPT)
    weight_RN = (square_RN <= square_RN.kthvalue(keep, -1).values[:, None]).to(window_RNT.dtype)

    def mean_by_prototype(value_RN: Tensor) -> Tensor:
        zero_RP = torch.zeros(rows, count, device=window_RNT.device)
        return zero_RP.scatter_add(1, nearest_RN, value_RN * weight_RN) / size_RP.clamp_min(1.0)

    size_RP = torch.zeros(rows, count, device=window_RNT.device).scatter_add(1, nearest_RN, weight_RN)
    mine_RNT = centre_RPT.gather(1, nearest_RN[..., None].expand(-1, -1, points))
    newest_RN = ((window_RNT - mine_RNT)[..., -band_points:] ** 2).mean(-1)
    return Prototypes(
        centre_RPT,
        mean_by_prototype((square_RN / points).sqrt()),
        mean_by_prototype(newest_RN).sqrt(),
        size_RP / weight_RN.sum(-1, keepdim=True),
    )


def _assign(window_RNT: Tensor, norm_RN: Tensor, centre_RPT: Tensor) -> tuple[Tensor, Tensor]:
    off_RNP = torch.baddbmm((centre_RPT**2).sum(-1)[:, None, :], window_RNT, centre_RPT.mT, alpha=-2.0)
    best = off_RNP.min(-1)
    return (best.values + norm_RN).clamp_min(0.0), best.indices

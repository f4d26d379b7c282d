"""The prototype view: how far a window is from the nearest normal one.

Shapes: R rows, L slots, K scored slots, P prototypes, T points, X any further dimensions.
"""

import torch
from torch import Tensor

from detector.model.pooling import Windows, pool
from detector.model.row_types import Rows

# d(window, prototype) − 0.5 · (mean distance of the prototype's own members): a window near a loose cluster is less
# of a surprise than one as far from a tight cluster.
LOCAL = 0.5


BAND_POINTS = 4  # newest points of the window whose deviation is reported


def nearest(windows: Windows, proto_RPT: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square distance (R, K) to the nearest prototype over the points that are there, and its index."""
    value_RKT, there_RKT, valid_RK = windows
    norm_RP = (proto_RPT * proto_RPT).sum(-1)
    if there_RKT is None:
        off_RKP = torch.baddbmm(norm_RP[:, None, :], value_RKT, proto_RPT.mT, alpha=-2.0)
    else:
        there = there_RKT.to(value_RKT.dtype)
        off_RKP = torch.bmm(there, (proto_RPT * proto_RPT).mT) - 2.0 * torch.bmm(value_RKT, proto_RPT.mT)
    index_RK = off_RKP.argmin(-1)
    # The product form picks the prototype; its distance is taken exactly, large values would drown it.
    difference_RKT = value_RKT - pick(proto_RPT, index_RK)
    if there_RKT is None:
        square_RK = (difference_RKT * difference_RKT).mean(-1)
    else:
        square_RK = (difference_RKT**2 * there).sum(-1) / there.sum(-1).clamp_min(1.0)
    return torch.where(valid_RK, square_RK.sqrt(), torch.nan), index_RK


def pick(of_RPX: Tensor, index_RK: Tensor) -> Tensor:
    """Per row the entries of an index: (R, P, …) and (R, K) → (R, K, …)."""
    row_R1 = torch.arange(of_RPX.shape[0], device=of_RPX.device)[:, None]
    return of_RPX[row_R1, index_RK]


def prototypes(x_RL: Tensor, rows: Rows, scale: int, count: int) -> tuple[Tensor, Tensor, Windows]:
    """The prototype view of one scale: discrepancy (R, K), nearest prototype (R, K), windows."""
    found = pool(x_RL, scale, count)
    distance_RK, index_RK = nearest(found, rows[f"proto.{scale}"])
    return distance_RK - LOCAL * pick(rows[f"radius.{scale}"], index_RK), index_RK, found

"""The nearest medoid of every window: windows of a row's own history that stand for the shapes that are normal.

Shapes: R rows (stream, channel), V views kept for a row, K scored slots, B = R·V, T = 24 points, P medoids of a view
"""

import torch
from torch import Tensor

from detector.model.row_types import Rows
from detector.model.tables import together
from detector.model.views.shape_windows import POINTS

OWN = 0.625  # share of the medoid's own distance that is taken off


def nearest(feature_RVKT: Tensor, tables: Rows, at_R: Tensor) -> Tensor:
    """Distance (R, V, K) to the nearest medoid, less its own, of rows that stand at `at_R` of the tables."""
    at = together(at_R)
    medoid_BTP, norm_BP, own_BP = (tables[f"shape.{name}"][at].flatten(0, 1) for name in ("medoid", "norm", "own"))
    feature_BKT = feature_RVKT.flatten(0, 1)
    off_BKP = torch.baddbmm(norm_BP[:, None], feature_BKT, medoid_BTP, alpha=-2.0)
    index_BK = off_BKP.argmin(-1)
    mine_BTK = medoid_BTP.gather(2, index_BK[:, None].expand(-1, POINTS, -1))
    distance_BK = (feature_BKT - mine_BTK.mT).square().sum(-1).sqrt() - OWN * own_BP.gather(1, index_BK)
    return distance_BK.reshape(feature_RVKT.shape[:3])

"""What a person wants to know of a score: which view is loudest, what was expected, and how far the values are from it.

Shapes: R rows (stream, channel), K scored slots, V views, Q scales, T points, L slots
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.installed import InstalledStudents
from detector.model.pooling import moving_mean, points_of
from detector.model.scoring.asked import Asked
from detector.model.scoring.depth0 import Depth0
from detector.model.views.prototypes import BAND_POINTS, pick

# Deviations beyond this many standard deviations of the nearest prototype's members are outside the band shown.
BAND_WIDTH = 3.0
_BAND_FLOOR = 0.05  # of the row's scale: smallest half width of the band
_BY_SHAPE = 0.5  # share of the row's surprise from which the shape memory is named as its reason


class Explained(NamedTuple):
    """Of every row and scored slot. Values are in the data's unit."""

    view_RK: Tensor  # index of the loudest view
    scale_RK: Tensor  # slots of its window
    nearest_RK: Tensor  # nearest prototype of the scale next to it
    expected_RK: Tensor
    low_RK: Tensor
    high_RK: Tensor
    deviation_RK: Tensor  # root mean square over the newest points, with the sign of their mean


def explained(shallow: Depth0, asked: Asked, students: InstalledStudents) -> Explained:
    """Loudest view, expected value, band and deviation of a group's rows."""
    views, scales, device = students.views, students.layout.scales, asked.row_RK.device
    loudest_RK = torch.nan_to_num(asked.view_RKV, nan=-1.0).argmax(-1)
    scale_V = torch.tensor([view.scale for view in views], device=device)
    by_shape_RK = shallow.share_RK > _BY_SHAPE
    loudest_RK = torch.where(by_shape_RK, len(views) - 1, loudest_RK)
    scale_RK = torch.where(by_shape_RK, shallow.width_RK, scale_V[loudest_RK])
    # Expected value and band come from the prototypes of the scale next to the view's window.
    scale_Q = torch.tensor(scales, device=device)
    next_RK = (scale_RK[..., None] - scale_Q).abs().argmin(-1)
    nearest_RK = shallow.nearest_RKQ.gather(-1, next_RK[..., None])[..., 0]
    newest_RK = torch.zeros_like(asked.row_RK)
    band_RK, mean_RK, square_RK, over_RK = (torch.zeros_like(newest_RK) for _ in range(4))
    for q, scale in enumerate(scales):
        mine_RK = next_RK == q
        proto_RKT = pick(shallow.rows[f"proto.{scale}"], shallow.nearest_RKQ[..., q])
        recent = min(BAND_POINTS, points_of(scale))
        off_RKT = (shallow.windows[q].value_RKT - proto_RKT)[..., -recent:]
        newest_RK = torch.where(mine_RK, proto_RKT[..., -1], newest_RK)
        mean_RK = torch.where(mine_RK, off_RKT.mean(-1), mean_RK)
        square_RK = torch.where(mine_RK, (off_RKT**2).mean(-1), square_RK)
        if shallow.beyond_RL is not None:
            slots = recent * (scale // points_of(scale))
            over_RK = torch.where(mine_RK, moving_mean(shallow.beyond_RL, slots)[:, -mine_RK.shape[1] :], over_RK)
        band_RK = torch.where(mine_RK, pick(shallow.rows[f"band.{scale}"], shallow.nearest_RKQ[..., q]), band_RK)
    unit_R1 = shallow.rows["scale"][:, None].double()
    expected_RK = shallow.rows["centre"][:, None] + unit_R1 * newest_RK
    half_RK = unit_R1 * BAND_WIDTH * band_RK.clamp_min(_BAND_FLOOR)
    deviation_RK = unit_R1 * square_RK.sqrt() * torch.where(mean_RK < 0, -1.0, 1.0) + over_RK
    low_RK, high_RK = expected_RK - half_RK, expected_RK + half_RK
    return Explained(loudest_RK, scale_RK, nearest_RK, expected_RK, low_RK, high_RK, deviation_RK)

"""What students make of windows without the teacher (depth 0): views, calibrated and joined to one surprise per row.

Shapes: R rows (stream, channel), L slots, K scored slots, V depth-0 views, Q scales, F values that a row has shown
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.layout import PLAIN_VIEWS
from detector.model.pooling import Windows, clipped_off, fill, standardise
from detector.model.row_types import Rows
from detector.model.views.prototypes import prototypes

TAIL_FLOOR = 0.05  # smallest tail scale of a view, in its own unit


# The mean of the four loudest of plain views and prototypes, of which the least surprised scale is left out: mean VUS-PR of
# eight sets .634. The louder half of all: .622, the loudest scale alone: .636 with .03 less on web KPIs.
LOUDEST = 4


PLAIN_MAX = 4.5  # half a decade above the default threshold


PLAIN_LESS = 0.3  # decades taken off: of two chances to fire each has half


_SAME = 1e-6  # float32 resolves 1e-7


class Measures(NamedTuple):
    """Discrepancies of the newest K windows, NaN where there is no window."""

    distance_RKV: Tensor
    nearest_RKQ: Tensor  # nearest prototype at each scale
    windows: list[Windows]  # a scale


def prepare(values_RL: Tensor, rows: Rows) -> Tensor:
    """Standardised and filled rows, float64 (R, L)."""
    return fill(standardise(values_RL, rows["centre"], rows["scale"]))


def beyond(values_RL: Tensor, rows: Rows) -> Tensor | None:
    """How far values lie outside what windows are clipped to, in the data's unit (R, L); None when none does.

    Distances need no more than the clip; an alert shows the whole deviation, above all of a stream that was constant.
    """
    return clipped_off(values_RL, rows["centre"], rows["scale"])


def measure(x_RL: Tensor, rows: Rows, scales: tuple[int, ...], count: int) -> Measures:
    """Discrepancies at the last `count` slots of prepared rows, in the order of `Layout.view_of`."""
    distances = [plain.score(x_RL, rows, count) for plain in PLAIN_VIEWS]
    indices, windows = [], []
    for scale in scales:
        distance_RK, index_RK, found = prototypes(x_RL, rows, scale, count)
        distances.append(distance_RK)
        indices.append(index_RK)
        windows.append(found)
    return Measures(torch.stack(distances, -1), torch.stack(indices, -1), windows)


def fuse_views(view_RKV: Tensor) -> Tensor:
    """The views of depth 0 together (R, K), not yet calibrated; NaN where there is none."""
    proto_RKQ = view_RKV[..., len(PLAIN_VIEWS) :]
    if proto_RKQ.shape[-1] > 1:
        proto_RKQ = proto_RKQ.nan_to_num(nan=-1.0).sort(-1, descending=True).values[..., :-1]
        proto_RKQ = torch.where(proto_RKQ < 0, torch.nan, proto_RKQ)
    return calibration.loudest(torch.cat([view_RKV[..., : len(PLAIN_VIEWS)], proto_RKQ], -1), LOUDEST)


def judge(distance_RKV: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Surprise of each view (R, K, V) and of the row without its shapes (R, K), both calibrated."""
    view_RKV = calibration.surprise(distance_RKV, rows["view_cal"][:, None])
    row_RK = calibration.surprise(fuse_views(view_RKV), rows["row_cal"][:, None])
    return view_RKV, calibration.widened(row_RK, rows["widen"][:, None])


def blended(row_RK: Tensor, shape_RK: Tensor, rows: Rows) -> Tensor:
    """Surprise of rows mixed with that of their shapes, not yet calibrated; NaN where one of them is.

    Root of the sum of squares: the louder of the two decides, and what is not shape counts up to a limit. Of a row
    that is all shapes the rarest values, steps and spreads are no news; below that they rank what shapes do not see.
    """
    return torch.hypot(torch.minimum(row_RK, rows["rest"][:, None]), rows["blend"][:, None] * shape_RK)


def at_once(plain_RK: Tensor) -> Tensor:
    """What rows with shapes alert by before a shape is complete: their surprise without shapes, less a chance of two.

    It is one more chance to fire, and enough to alert; slots are ranked without it, by the shapes.
    """
    return (plain_RK - PLAIN_LESS).clamp(0.0, PLAIN_MAX)


def novelty(values_RK: Tensor, rows: Rows) -> Tensor:
    """Surprise (R, K) of rows with few values: `novel` for one never seen, else 0; NaN for gaps."""
    level_R1F = rows["levels"][:, None]
    near_RKF = (values_RK[..., None] - level_R1F).abs() <= _SAME * level_R1F.abs().clamp_min(1.0)
    new_RK = torch.where(near_RKF.any(-1), 0.0, rows["novel"][:, None])
    return torch.where(torch.isfinite(values_RK), new_RK, torch.nan)

"""Second phase: everything that needs no teacher.

Shapes: R rows (stream, channel), L slots, K scored slots, V depth-0 views, Q scales, X rows with a shape memory
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.installed import InstalledStudents
from detector.model.pooling import FILL, Windows
from detector.model.row_types import Rows
from detector.model.scoring.gathered import Group
from detector.model.shallow import at_once, beyond, blended, judge, measure, novelty, prepare
from detector.model.tables import together
from detector.model.views import shapes


class Depth0(NamedTuple):
    """What depth 0 makes of a group's windows."""

    rows: Rows  # of the students
    beyond_RL: Tensor | None  # what clipping has cut off
    nearest_RKQ: Tensor  # index of the nearest prototype
    windows: list[Windows]  # at each scale
    view_RKV: Tensor  # surprise of each view
    row_RK: Tensor  # surprise of the row, NaN where nothing can be scored
    early_RK: Tensor  # surprise that alerts before a shape is complete, 0 in rows without shapes
    share_RK: Tensor  # of the shape memory in the row's surprise
    width_RK: Tensor  # of the shape view that contributes most


class _Remembered(NamedTuple):
    """Surprise of rows once their shape memories are counted in; see the same names of `Depth0`."""

    row_RK: Tensor
    early_RK: Tensor
    share_RK: Tensor
    width_RK: Tensor


def depth0(group: Group, students: InstalledStudents) -> Depth0:
    """Judge a group's windows without the teacher."""
    at = together(group.row_R)
    rows = {name: students.tables.rows[name][at] for name in students.shallow_names}
    x_RL = prepare(group.values_RL, rows)
    if group.season is not None:
        rows["season.once"], rows["season.twice"] = (prepare(part, rows)[:, FILL:] for part in group.season)
    distance_RKV, nearest_RKQ, windows = measure(x_RL, rows, students.layout.scales, group.width)
    view_RKV, plain_RK = judge(distance_RKV, rows)
    remembered = _remembered(x_RL, rows, plain_RK, students.memories.rows, group.follows)
    row_RK = remembered.row_RK
    few_R1 = rows["novel"][:, None] > 0
    if bool(few_R1.any()):
        row_RK = torch.where(few_R1, novelty(group.values_RL[:, -group.width :], rows), row_RK)
    counts_R = torch.tensor(group.counts, device=x_RL.device)[group.stream_R]
    padding_RK = torch.arange(group.width, device=x_RL.device) < group.width - counts_R[:, None]
    return Depth0(
        rows=rows,
        beyond_RL=beyond(group.values_RL, rows),
        nearest_RKQ=nearest_RKQ,
        windows=windows,
        view_RKV=view_RKV,
        row_RK=torch.where(padding_RK, torch.nan, row_RK),
        early_RK=remembered.early_RK,
        share_RK=remembered.share_RK,
        width_RK=remembered.width_RK,
    )


def _remembered(x_RL: Tensor, rows: Rows, plain_RK: Tensor, memories: Rows, follows: bool) -> _Remembered:
    """Count in the shape memories of the rows that have one; keeps their trails for the next call."""
    share_RK = torch.zeros_like(plain_RK)
    early_RK = torch.zeros_like(plain_RK)
    width_RK = torch.zeros_like(plain_RK, dtype=torch.long)
    [with_X] = (rows["memory"] >= 0).nonzero(as_tuple=True)
    if not len(with_X):
        return _Remembered(plain_RK, early_RK, share_RK, width_RK)
    at_X = rows["memory"][with_X].long()
    found = shapes.score(x_RL[with_X], memories, at_X, plain_RK.shape[1], follows)
    memories["trail"][at_X] = found.trail_RX.float()
    shape_XK = calibration.surprise(found.fused_RK, memories["shape.cal"][at_X, None])
    own = {name: rows[name][with_X] for name in ("blend", "rest")}
    row_RK = plain_RK.clone()
    mixed_XK = blended(plain_RK[with_X], shape_XK, own)
    both_XK = calibration.surprise(mixed_XK, memories["shape.mix"][at_X, None])
    # Where shapes cannot be judged: without them.
    row_RK[with_X] = torch.where(torch.isfinite(both_XK), both_XK, plain_RK[with_X])
    early_RK[with_X] = at_once(plain_RK[with_X])
    share_XK = torch.nan_to_num((own["blend"][:, None] * shape_XK / mixed_XK.clamp_min(1e-6)).square())
    share_RK[with_X] = torch.where(early_RK[with_X] > row_RK[with_X], 0.0, share_XK)
    width_RK[with_X] = found.width_RK
    return _Remembered(row_RK, early_RK, share_RK, width_RK)

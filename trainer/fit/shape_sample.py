"""The fused shape score on a row's own normal slots: what it is calibrated on.

Shapes: R rows (stream, channel), L slots, M sampled slots, X = M times the slots that a score averages, P medoids,
T points of a window
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.row_types import Rows
from detector.model.views import shape_windows, shapes
from detector.model.views.shape_windows import Signals
from detector.model.window_ends import choose
from trainer.fit.ground import Ground, each, whole
from trainer.fit.medoids import away, less_own, when, zone

_BLOCKS, _SPARSE = 1024, 4  # pieces of history that are sampled at most, and slots between windows of one


class Sample(NamedTuple):
    """Fused scores of normal slots, M of each row."""

    end_RM: Tensor  # which slots
    fused_RM: Tensor
    whole_RM: Tensor  # False where a window had a gap


def sampled(ground: Ground, rows: Rows, joined: Signals, past: int) -> Sample:
    """The fused score on the row's own ring, each window judged without its neighbours in time; medoids are of `joined`, which
    has `past` slots more before it."""
    signals = ground.signals
    whole_RL = whole(signals, rows["shape.width"].amax(1))
    end_RM = choose(whole_RL, max(1, min(_BLOCKS, whole_RL.shape[1] // _SPARSE)))
    # Of the slots that a score averages every fourth is used: neighbours are alike.
    back = torch.arange(0, shapes.SMOOTH, _SPARSE, device=end_RM.device)
    end_RX = (end_RM[..., None] - back).clamp_min(0).flatten(1)
    unit = []
    for v in range(rows["shape.width"].shape[1]):
        width_R, kind_R, ends_RP = rows["shape.width"][:, v], rows["shape.kind"][:, v], rows["shape.ends"][:, v]
        feature_RXT, whole_RX = shape_windows.windows(signals, end_RX, *each(end_RX, width_R, kind_R))
        medoid_RPT, _ = shape_windows.windows(joined, ends_RP, *each(ends_RP, width_R, kind_R))
        zone_R = zone(width_R, ground.slots_R)
        square = away(feature_RXT, end_RX + past, medoid_RPT, when(ends_RP, past, width_R, zone_R), zone_R)
        score_RX = less_own(square, rows["shape.own"][:, v])
        unit_RX = (score_RX - rows["shape.centre"][:, v : v + 1]) / rows["shape.unit"][:, v : v + 1]
        unit.append(torch.where(whole_RX, unit_RX, torch.nan))
    mean_RX, there_RX = shapes.weighted(torch.stack(unit, 1), rows["shape.weight"])
    blocks = (len(mean_RX), -1, len(back))
    within = (back < shapes.smoothing(rows)[:, None])[:, None]
    fused_RM = (mean_RX.reshape(blocks) * within).sum(-1) / within.sum(-1)
    return Sample(end_RM, fused_RM.float(), (there_RX.reshape(blocks) | ~within).all(-1))

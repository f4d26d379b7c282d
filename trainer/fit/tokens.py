"""Distils one scale: asks the teacher of windows and prototypes, and fits the student's map to its tokens.

Shapes: R rows (stream, channel), N windows (those to learn from, then those past the gate), T points of a window,
P prototypes, D depths, O numbers of the teacher's tokens at one depth
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.pooling import Windows
from detector.model.student_map import discrepancy, features
from detector.model.teacher import Teacher
from detector.model.views.prototypes import nearest, pick
from trainer.fit.ridge import FOLDS, cross_fit

_SPREAD_FLOOR = 0.1  # of the mean spread: an output that the student knows by heart must not dominate
_TAIL_FLOOR = 0.05  # smallest tail scale of a discrepancy (normal windows have about 1)


class Scale(NamedTuple):
    """What a row has of the teacher at one scale, and what the teacher makes of the windows past the gate."""

    tokens_RPDO: Tensor  # of the prototypes
    ridge: Tensor  # (R, D, features, O)
    spread_RDO: Tensor  # of what the map does not predict: the unit of discrepancies
    cal: Tensor  # (R, D, WIDTH) calibrators of the discrepancies
    gate_RND: Tensor  # discrepancies past the gate


def one_scale(teacher: Teacher, window_RNT: Tensor, proto_RPT: Tensor, end_RN: Tensor, train: int) -> Scale:
    """Learn from the first `train` windows, whose ends `end_RN` ascend, and measure the others."""
    every_RN = torch.ones_like(end_RN, dtype=torch.bool)
    _, nearest_RN = nearest(Windows(window_RNT, None, every_RN), proto_RPT)
    mine_RNT = pick(proto_RPT, nearest_RN)
    asked = torch.cat([window_RNT, proto_RPT], 1)
    tokens = teacher.tokens(asked.flatten(0, 1)).reshape(*asked.shape[:2], len(teacher.depths), -1)
    token_RNDO, tokens_RPDO = tokens[:, : end_RN.shape[1]], tokens[:, end_RN.shape[1] :]
    target_RNDO = token_RNDO - pick(tokens_RPDO, nearest_RN)
    # Each window is predicted by the map that has not seen its part of the history.
    last = end_RN[:, :train].reshape(len(end_RN), FOLDS, -1)[..., -1].contiguous()
    fold_RN = torch.searchsorted(last, end_RN).clamp_max(FOLDS - 1)
    ridge, residual_RNDO = cross_fit(features(window_RNT, mine_RNT), target_RNDO, train, fold_RN)
    spread_RDO = residual_RNDO[:, :train].square().mean(1).sqrt()
    spread_RDO = torch.maximum(spread_RDO, _SPREAD_FLOOR * spread_RDO.mean(-1, keepdim=True)).clamp_min(1e-3)
    found_RND = discrepancy(residual_RNDO / spread_RDO[:, None])
    held_RDN = found_RND[:, :train].mT
    cal = calibration.fit(held_RDN, torch.isfinite(held_RDN), _TAIL_FLOOR)
    return Scale(tokens_RPDO, ridge, spread_RDO, cal, found_RND[:, train:])

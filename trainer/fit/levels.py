"""Calibration in stages: views, row, stream; and how it fares on data that none of its parts has seen.

Shapes: R rows, N slots, V views, S streams, C channels of the widest stream
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.fusion import finish, fuse_channels
from detector.model.shallow import TAIL_FLOOR, fuse_views
from trainer.fit.histories import Stack

# Overlapping windows are alike: a tail learns from about one window in scale / 4 slots.
OVERLAP = 0.25
ROW_FLOOR = 0.1  # smallest tail scale of a fused surprise, in its own unit; 0.43 is that of a perfect single view


@dataclass(frozen=True)
class Levels:
    """Calibrators of all stages below the teacher."""

    view_cal: Tensor  # (R, V, WIDTH)
    row_cal: Tensor  # (R, WIDTH)
    widen_R: Tensor
    stream_cal: Tensor  # (S, WIDTH)

    def view(self, distance_RNV: Tensor) -> Tensor:
        """Surprise of each view."""
        return calibration.surprise(distance_RNV, self.view_cal[:, None])

    def row(self, distance_RNV: Tensor) -> Tensor:
        """Surprise of each row (R, N)."""
        fused_RN = fuse_views(self.view(distance_RNV))
        return calibration.widened(calibration.surprise(fused_RN, self.row_cal[:, None]), self.widen_R[:, None])

    def stream(self, row_RN: Tensor, stack: Stack) -> Tensor:
        """Surprise of each stream (S, N)."""
        few_SC = torch.zeros(len(stack.histories), max(len(h.channels) for h in stack.histories), dtype=torch.bool)
        return finish(stack.by_stream(row_RN), few_SC.to(row_RN.device), self.stream_cal)


def learn(
    distance_RNV: Tensor, within_RN: Tensor, cap_R: Tensor, widen_R: Tensor, spans: Sequence[int], stack: Stack
) -> Levels:
    """Calibrators from held-back distances (NaN = none) inside a span. Past `cap_R` no row's surprise grows much.

    `spans` are the slots that the views' windows cover.
    """
    views = []
    for v, span in enumerate(spans):
        distance_RN = distance_RNV[..., v]
        valid_RN = torch.isfinite(distance_RN) & within_RN
        cal_RC = calibration.fit(distance_RN, valid_RN, TAIL_FLOOR, memory=max(1.0, span * OVERLAP))
        views.append(cal_RC)
    view_cal = torch.stack(views, 1)
    fused_RN = fuse_views(calibration.surprise(distance_RNV, view_cal[:, None]))
    memory = max(1.0, OVERLAP * sorted(spans)[len(spans) // 2])
    row_cal = calibration.fit(
        fused_RN, torch.isfinite(fused_RN) & within_RN, ROW_FLOOR, memory, calibration.FUSED_SHAPE
    )
    row_cal = calibration.cap(row_cal, cap_R)
    row_RN = calibration.widened(calibration.surprise(fused_RN, row_cal[:, None]), widen_R[:, None])
    whole_SN = fuse_channels(stack.by_stream(row_RN))
    within_SN = torch.nan_to_num(stack.by_stream(within_RN.float())).amax(1) > 0
    stream_cal = calibration.fit(
        whole_SN, torch.isfinite(whole_SN) & within_SN, ROW_FLOOR, memory, calibration.FUSED_SHAPE
    )
    cap_S = torch.nan_to_num(stack.by_stream(cap_R[:, None]), nan=-1.0).amax(1)[:, 0]
    return Levels(view_cal, row_cal, widen_R, calibration.cap(stream_cal, cap_S))

"""Depth 1 and beyond: the teacher's views of windows past the gate, and how much they count beside depth 0.

Shapes: N windows, X any batch shape, D depths, O numbers of the teacher's tokens, W teacher views (scale by scale, the
depths of each), T points.
"""

import math

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.row_types import Rows
from detector.model.student_map import discrepancy, residual
from detector.model.teacher import Teacher


def gate_of(budget: float) -> float:
    """Surprise of depth 0 that so small a share of normal windows reaches."""
    return -math.log10(budget)


def surprises(
    teacher: Teacher, scale: int, rows: Rows, row_N: Tensor, window_NT: Tensor, nearest_N: Tensor, proto_NT: Tensor
) -> Tensor:
    """Surprises (N, D) of the teacher's views at one scale, of windows whose students' deep part is at `row_N` of `rows`.

    `nearest_N` and `proto_NT`: index of each window's nearest prototype, and that prototype.
    """
    left_NDO = residual(
        teacher.tokens(window_NT),
        rows[f"tokens.{scale}"][row_N, nearest_N],
        window_NT,
        proto_NT,
        rows[f"ridge.{scale}"][row_N],
        rows[f"spread.{scale}"][row_N],
    )
    return calibration.surprise(discrepancy(left_NDO), rows[f"teacher_cal.{scale}"][row_N])


def joined(shallow_X: Tensor, deep_XW: Tensor, weight_XW: Tensor) -> Tensor:
    """Depth 0 and the weighted views of the teacher together (X), not yet calibrated."""
    deep_XW = torch.where(weight_XW > 0, deep_XW.clamp_max(calibration.CAP), 0.0)
    return (shallow_X.clamp_max(calibration.CAP) + (weight_XW * deep_XW).sum(-1)) / (1.0 + weight_XW.sum(-1))


def gated(fused_N: Tensor, rows: Rows) -> Tensor:
    """Surprise of rows whose windows passed the gate, from depth 0 and the teacher together.

    Past the gate the probability is that of passing it times that of the fusion, given that: no seam, and a teacher
    that finds nothing takes a window back to the gate. Rows with shapes have no tail that was stretched.
    """
    widen_N = torch.where(rows["blend"] > 0, 1.0, rows["widen"])
    over_N = rows["gate"] - calibration.BODY
    # the gate as it was before the tail was stretched
    gate_N = torch.where(over_N > 0, calibration.BODY + over_N * widen_N, rows["gate"])
    return calibration.widened(gate_N + calibration.surprise(fused_N, rows["gate_cal"]), widen_N)

"""Distillation: the student's ridge map from windows and prototypes to the teacher's tokens, in one solve for all rows.

Shapes: R rows, N window ends, M training windows, G windows past the gate, T points, P prototypes, D depths,
O outputs a depth, F features, V depth-0 views, W all views.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from detector import calibration
from detector.pooling import pool
from detector.rowtypes import Rows
from detector.student import Layout, nearest, pick
from detector.teacher import Teacher, discrepancy, features
from trainer.prototypes import choose

RIDGE = 0.1  # of the mean square of the features: 33 features are learnt from 32 windows a half without trouble
_SPREAD_FLOOR = 0.1  # of the mean spread: an output that the student knows by heart must not dominate
_TAIL_FLOOR = 0.05  # smallest tail scale of a discrepancy (normal windows have about 1)
# Past the gate a short history has a dozen windows: an exponential from 1.0 with this mean, worth this many samples.
_START, _MEAN, _WEIGHT = 1.0, 0.55, 20.0
_ENOUGH = 100
_GATE_FLOOR = 0.3  # smallest tail scale past the gate, where an exact p-value would have 0.43


@dataclass(frozen=True)
class Distillation:
    """How much the teacher is asked during a fit."""

    windows: int  # a row, for the map and the calibration of its residuals
    past_gate: int  # a row, at most, for the calibration past the gate
    budget: float  # share of normal windows that may pass the gate

    @property
    def gate(self) -> float:
        """Surprise of depth 0 from which a window passes."""
        return -math.log10(self.budget)


@dataclass(frozen=True)
class Shallow:
    """What depth 0 has found, per window end, held back from the half that is judged."""

    x_RL: Tensor  # prepared rows
    first_RL: Tensor  # True in the first half
    view_RLV: Tensor  # surprise a view
    row_RL: Tensor  # surprise of the row


def distil(teacher: Teacher, layout: Layout, rows: Rows, shallow: Shallow, how: Distillation) -> Rows:
    """The teacher's part of rows: tokens, ridge, spread, calibrators, gate. Rows too short for it are never gated."""
    length = shallow.x_RL.shape[1]
    out: Rows = {}
    if length < max(layout.teacher_scales):
        return _without(layout, len(shallow.x_RL), shallow.x_RL.device)
    whole_RL = torch.isfinite(shallow.row_RL)
    for scale in layout.teacher_scales:
        # Where depth 0 has no view of the scale (too short a history), there are no prototypes to learn from either.
        there_RL = torch.isfinite(shallow.view_RLV[..., layout.view_of(scale)])
        whole_RL = whole_RL & there_RL & _whole(shallow.x_RL, scale, length)
    past_RL = whole_RL & (shallow.row_RL >= how.gate)
    many_R = past_RL.sum(-1)
    gate_RG = choose(past_RL, how.past_gate)
    real_RG = torch.arange(how.past_gate, device=many_R.device) < many_R[:, None]
    half = how.windows // 2
    first_RM = choose(whole_RL & shallow.first_RL, half)
    second_RM = choose(whole_RL & ~shallow.first_RL, half)
    able_R = (whole_RL & shallow.first_RL).any(-1) & (whole_RL & ~shallow.first_RL).any(-1)
    view_RGW = [_at(shallow.row_RL, gate_RG)[..., None]]
    for scale in layout.teacher_scales:
        found = _one_scale(teacher, scale, rows, shallow, torch.cat([first_RM, second_RM, gate_RG], 1), half)
        deep_RGD = found.pop("gated")
        view_RGW.append(calibration.surprise(deep_RGD, found[f"teacher_cal.{scale}"][:, None]))
        out |= found
    told_RGW = torch.cat(view_RGW, -1)
    fused_RG = calibration.loudest(told_RGW, (told_RGW.shape[-1] + 1) // 2)
    few_cal = calibration.exponential(fused_RG, real_RG, _START, _MEAN, _WEIGHT)
    gate_cal = calibration.fit(fused_RG, real_RG, _GATE_FLOOR, shape=calibration.FUSED_SHAPE)
    gate_cal = torch.where((many_R >= _ENOUGH)[:, None], gate_cal, few_cal)
    cap_R = rows["row_cal"][:, -1] - how.gate
    out["gate_cal"] = calibration.cap(gate_cal, cap_R.clamp_min(0.0))
    usable_R = able_R & torch.isfinite(out["gate_cal"]).all(-1)
    for scale in layout.teacher_scales:
        usable_R = usable_R & torch.isfinite(out[f"teacher_cal.{scale}"]).all(-1).all(-1)
    out["gate"] = torch.where(usable_R, how.gate, torch.inf).float()
    return out


def _one_scale(
    teacher: Teacher, scale: int, rows: Rows, shallow: Shallow, ends_RX: Tensor, half: int
) -> dict[str, Tensor]:
    """Distil one scale. `ends_RX`: `half` ends of the first half, `half` of the second, then those past the gate."""
    proto_RPT = rows[f"proto.{scale}"]
    windows = pool(shallow.x_RL, scale, shallow.x_RL.shape[1] - scale + 1)
    window_RXT = _at(windows.value_RKT, (ends_RX - scale + 1).clamp_min(0))
    every_RX = torch.ones_like(ends_RX, dtype=torch.bool)
    _, nearest_RX = nearest(windows._replace(value_RKT=window_RXT, there_RKT=None, valid_RK=every_RX), proto_RPT)
    mine_RXT = pick(proto_RPT, nearest_RX)
    asked = torch.cat([window_RXT, proto_RPT], 1)
    token_RYDO = teacher.tokens(asked.flatten(0, 1)).reshape(*asked.shape[:2], len(teacher.depths), -1)
    token_RXDO, anchor_RPDO = token_RYDO[:, : ends_RX.shape[1]], token_RYDO[:, ends_RX.shape[1] :]
    anchor_RXDO = pick(anchor_RPDO, nearest_RX)

    phi_RXF = features(window_RXT, mine_RXT)
    target_RXDO = token_RXDO - anchor_RXDO
    train = slice(0, 2 * half)
    spans = (slice(0, half), slice(half, 2 * half), train)
    first, second, whole = (_ridge(phi_RXF[:, s], target_RXDO[:, s]) for s in spans)
    other_RXDFO = _of_other_half(first, second, _at(shallow.first_RL, ends_RX))
    residual_RXDO = target_RXDO - (phi_RXF[:, :, None, None] @ other_RXDFO)[:, :, :, 0]
    spread_RDO = residual_RXDO[:, train].square().mean(1).sqrt()
    spread_RDO = torch.maximum(spread_RDO, _SPREAD_FLOOR * spread_RDO.mean(-1, keepdim=True)).clamp_min(1e-3)
    # The held-back residuals, measured as the bank measures: same function, the other half's map.
    flat = (token_RXDO, anchor_RXDO, window_RXT, mine_RXT, other_RXDFO, spread_RDO[:, None].expand_as(token_RXDO))
    found_RXD = discrepancy(*(value.flatten(0, 1) for value in flat)).reshape(*ends_RX.shape, -1)
    held_RDX = found_RXD[:, train].mT
    cal_RDC = calibration.fit(held_RDX, torch.isfinite(held_RDX), _TAIL_FLOOR)
    return {
        f"tokens.{scale}": anchor_RPDO,
        f"ridge.{scale}": whole,
        f"spread.{scale}": spread_RDO,
        f"teacher_cal.{scale}": cal_RDC,
        "gated": found_RXD[:, 2 * half :],
    }


def _ridge(phi_RMF: Tensor, target_RMDO: Tensor) -> Tensor:
    """Ridge maps (R, D, F, O) of all rows and depths in one solve."""
    many, width = phi_RMF.shape[1:]
    gram_RFF = phi_RMF.mT @ phi_RMF
    weight_R = gram_RFF.diagonal(dim1=-2, dim2=-1).mean(-1) * RIDGE + 1e-3 * many
    gram_RFF = gram_RFF + weight_R[:, None, None] * torch.eye(width, device=phi_RMF.device)
    depths, outputs = target_RMDO.shape[2:]
    solved_RFX: Tensor = torch.linalg.solve(gram_RFF, phi_RMF.mT @ target_RMDO.flatten(2))
    return solved_RFX.reshape(*solved_RFX.shape[:2], depths, outputs).transpose(1, 2)


def _of_other_half(first_RDFO: Tensor, second_RDFO: Tensor, in_first_RX: Tensor) -> Tensor:
    return torch.where(in_first_RX[..., None, None, None], second_RDFO[:, None], first_RDFO[:, None])


def _at(value_RNX: Tensor, index_RM: Tensor) -> Tensor:
    return value_RNX[torch.arange(len(index_RM), device=index_RM.device)[:, None], index_RM]


def _whole(x_RL: Tensor, scale: int, length: int) -> Tensor:
    """Ends (R, L) of windows without a missing point."""
    windows = pool(x_RL, scale, length - scale + 1)
    whole_RN = windows.valid_RK if windows.there_RKT is None else windows.there_RKT.all(-1)
    return torch.nn.functional.pad(whole_RN, (scale - 1, 0))


def _without(layout: Layout, rows: int, device: torch.device) -> Rows:
    """A history too short for the teacher: no number of its part counts, the gate is never passed."""
    shallow = layout.shallow_shapes()
    out = {n: torch.zeros(rows, *s, device=device) for n, s in layout.row_shapes().items() if n not in shallow}
    out["gate"] = torch.full((rows,), torch.inf, device=device)
    return out

"""Distillation: the student's ridge map from windows and prototypes to the teacher's tokens, in one solve for all rows.

Shapes: R rows, N window ends, M training windows, G windows past the gate, T points, P prototypes, D depths,
O outputs a depth, F features, V depth-0 views, W views of the teacher, Y some of the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.layout import Layout
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.teacher import Teacher, discrepancy, features
from detector.model.views.plain import choose
from detector.model.views.prototypes import nearest, pick
from detector.model.views.teacher import gate_of, joined
from trainer.fit.probes import Evidence

RIDGE = 0.1  # of the mean square of the features: 33 features are learnt from 56 windows without trouble
# Parts of the history, each measured by a map of the others. Of two, the maps know half as much as the one in force,
# and what they do not know is taken for normal: the discrepancies of new windows are then half as surprising as meant.
FOLDS = 8
_SPREAD_FLOOR = 0.1  # of the mean spread: an output that the student knows by heart must not dominate
_TAIL_FLOOR = 0.05  # smallest tail scale of a discrepancy (normal windows have about 1)
# Past the gate a short history has a dozen windows: an exponential from 1.0 with this mean, worth this many samples.
_START, _MEAN, _WEIGHT = 1.0, 0.55, 20.0
_ENOUGH = 100
_GATE_FLOOR = 0.3  # smallest tail scale past the gate, where an exact p-value would have 0.43


# Beside those evenly spread past the gate, the loudest of the history are looked at, one a neighbourhood: what the
# teacher has to beat is the worst that normal life has brought.
LOUDEST, _NEIGHBOURS = 24, 16


@dataclass(frozen=True)
class Distillation:
    """How much the teacher is asked during a fit."""

    budget: float  # share of normal windows that may pass the gate
    evidence: bool  # its views must earn their weight; else all have the same
    on_evidence: Callable[[Evidence], None] | None = (
        None  # hears of what was found, of the rows that the teacher was asked of
    )
    windows: int = 64  # a row, for the map and the calibration of its residuals: 8 of each part of the history
    past_gate: int = 48  # a row, at most, for the calibration past the gate: with those, a fit asks of 112 windows

    @property
    def gate(self) -> float:
        """Surprise of depth 0 from which a window passes."""
        return gate_of(self.budget)


@dataclass(frozen=True)
class Shallow:
    """What depth 0 has found, per window end, held back from the half that is judged."""

    x_RL: Tensor  # prepared rows
    first_RL: Tensor  # True in the first half
    view_RLV: Tensor  # surprise a view
    row_RL: Tensor  # surprise of the row; rows with shapes have it at some ends only

    def of(self, index_Y: Tensor) -> "Shallow":
        """Some of its rows."""
        return Shallow(self.x_RL[index_Y], self.first_RL[index_Y], self.view_RLV[index_Y], self.row_RL[index_Y])


class Normal(NamedTuple):
    """Normal windows past the gate, held back: those to calibrate by, then the loudest."""

    shallow_RG: Tensor
    deep_RGW: Tensor  # surprise of each view of the teacher
    real_RG: Tensor  # False: repeated, or none at all


@dataclass(frozen=True)
class Distilled:
    """Rows' tokens, ridge, spread and calibrators, and what normal windows past the gate say to them."""

    rows: Rows
    normal: Normal
    many_R: Tensor  # windows past the gate in the whole history
    usable_R: Tensor


def able(layout: Layout, shallow: Shallow) -> Tensor:
    """Ends (R, L) of windows that the teacher could see and depth 0 has judged."""
    length = shallow.x_RL.shape[1]
    whole_RL = torch.isfinite(shallow.row_RL)
    for scale in layout.teacher_scales:
        if length < scale:
            return torch.zeros_like(whole_RL)
        # Where depth 0 has no view of the scale (too short a history), there are no prototypes to learn from either.
        there_RL = torch.isfinite(shallow.view_RLV[..., layout.view_of(scale)])
        whole_RL = whole_RL & there_RL & _whole(shallow.x_RL, scale, length)
    both_R1 = torch.stack([(whole_RL & half).any(-1) for half in (shallow.first_RL, ~shallow.first_RL)]).all(0)[:, None]
    return whole_RL & both_R1


def distil(teacher: Teacher, layout: Layout, rows: Rows, shallow: Shallow, how: Distillation) -> Distilled:
    """The teacher's part of rows, but for how it is heard. Every row must have windows in both halves (`able`)."""
    whole_RL = able(layout, shallow)
    past_RL = whole_RL & (shallow.row_RL >= how.gate)
    many_R = past_RL.sum(-1)
    even_RG = choose(past_RL, how.past_gate)
    loud_RG, loud_real_RG = _loudest(torch.where(past_RL, shallow.row_RL, -torch.inf))
    distinct_RG = torch.nn.functional.pad(even_RG.diff(dim=1) > 0, (1, 0), value=True) & (many_R > 0)[:, None]
    gate_RG, real_RG = torch.cat([even_RG, loud_RG], 1), torch.cat([distinct_RG, loud_real_RG], 1)
    train_RM = choose(whole_RL, how.windows // FOLDS * FOLDS)
    out: Rows = {}
    deep = []
    for scale in layout.teacher_scales:
        found = _one_scale(teacher, scale, rows, shallow.x_RL, train_RM, gate_RG)
        deep_RGD = found.pop("gated")
        deep.append(calibration.surprise(deep_RGD, found[f"teacher_cal.{scale}"][:, None]))
        out |= found
    usable_R = torch.ones_like(many_R, dtype=torch.bool)
    for scale in layout.teacher_scales:
        usable_R = usable_R & torch.isfinite(out[f"teacher_cal.{scale}"]).all(-1).all(-1)
    return Distilled(out, Normal(_at(shallow.row_RL, gate_RG), torch.cat(deep, -1), real_RG), many_R, usable_R)


def settle(distilled: Distilled, rows: Rows, weight_RW: Tensor, how: Distillation) -> Rows:
    """How the teacher is heard by rows: weights, calibration past the gate, gate (infinite without any weight)."""
    shallow_RG, deep_RGW, real_RG = (value[:, : how.past_gate] for value in distilled.normal)
    fused_RG = joined(shallow_RG, deep_RGW, weight_RW[:, None])
    few_cal = calibration.exponential(fused_RG, real_RG, _START, _MEAN, _WEIGHT)
    gate_cal = calibration.fit(fused_RG, real_RG, _GATE_FLOOR, shape=calibration.FUSED_SHAPE)
    gate_cal = torch.where((distilled.many_R >= _ENOUGH)[:, None], gate_cal, few_cal)
    cap_R = rows["row_cal"][:, -1] - how.gate
    gate_cal = calibration.cap(gate_cal, cap_R.clamp_min(0.0))
    usable_R = distilled.usable_R & torch.isfinite(gate_cal).all(-1) & (weight_RW > 0).any(-1)
    gate_R = torch.where(usable_R, how.gate, torch.inf).float()
    return {"deep": weight_RW, "gate_cal": gate_cal, "gate": gate_R}


def without(layout: Layout, rows: int, device: torch.device) -> Rows:
    """The teacher's part of rows that never ask it: no number of it counts, the gate is never passed."""
    out = {name: torch.zeros(rows, *shape, device=device) for name, shape in layout.deep_fields().items()}
    out["gate"] = torch.full((rows,), torch.inf, device=device)
    return out


def _loudest(row_RL: Tensor) -> tuple[Tensor, Tensor]:
    """The LOUDEST ends (R, G) that no neighbour exceeds, and which of them are any (-inf: no candidate)."""
    around_RL = torch.nn.functional.max_pool1d(row_RL[:, None], 2 * _NEIGHBOURS + 1, 1, _NEIGHBOURS)[:, 0]
    row_RL = torch.where(row_RL >= around_RL, row_RL, -torch.inf)
    top = row_RL.topk(min(LOUDEST, row_RL.shape[1]), dim=1)
    return top.indices, torch.isfinite(top.values)


def _one_scale(
    teacher: Teacher, scale: int, rows: Rows, x_RL: Tensor, train_RM: Tensor, gate_RG: Tensor
) -> dict[str, Tensor]:
    """Distil one scale from windows that end at `train_RM`, and measure those at `gate_RG`."""
    ends_RX = torch.cat([train_RM, gate_RG], 1)
    many = train_RM.shape[1]
    proto_RPT = rows[f"proto.{scale}"]
    windows = pool(x_RL, scale, x_RL.shape[1] - scale + 1)
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
    whole_RDFO, folds = _ridges(phi_RXF[:, :many], target_RXDO[:, :many])
    # Each window is predicted by the map that has not seen its part of the history.
    last_RK = train_RM.reshape(len(train_RM), FOLDS, -1)[..., -1].contiguous()
    fold_RX = torch.searchsorted(last_RK, ends_RX).clamp_max(FOLDS - 1)[..., None, None]
    predicted_RXDO = torch.zeros_like(target_RXDO)
    for k, ridge_RDFO in enumerate(folds):
        by_RXDO = torch.einsum("rxf,rdfo->rxdo", phi_RXF, ridge_RDFO)
        predicted_RXDO = torch.where(fold_RX == k, by_RXDO, predicted_RXDO)
    residual_RMDO = (target_RXDO - predicted_RXDO)[:, :many]
    spread_RDO = residual_RMDO.square().mean(1).sqrt()
    spread_RDO = torch.maximum(spread_RDO, _SPREAD_FLOOR * spread_RDO.mean(-1, keepdim=True)).clamp_min(1e-3)
    found_RXD = discrepancy((target_RXDO - predicted_RXDO) / spread_RDO[:, None])
    held_RDM = found_RXD[:, :many].mT
    return {
        f"tokens.{scale}": anchor_RPDO,
        f"ridge.{scale}": whole_RDFO,
        f"spread.{scale}": spread_RDO,
        f"teacher_cal.{scale}": calibration.fit(held_RDM, torch.isfinite(held_RDM), _TAIL_FLOOR),
        "gated": found_RXD[:, many:],
    }


def ridge(phi_RMF: Tensor, target_RMDO: Tensor) -> Tensor:
    """Ridge maps (R, D, F, O) of all rows and depths in one solve."""
    return _solved(phi_RMF.mT @ phi_RMF, phi_RMF.mT @ target_RMDO.flatten(2), phi_RMF.shape[1], target_RMDO.shape[2])


def _ridges(phi_RMF: Tensor, target_RMDO: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The same of all windows, and without each fold of them."""
    many, depths = phi_RMF.shape[1], target_RMDO.shape[2]
    parts = (len(phi_RMF), FOLDS, many // FOLDS, -1)
    phi_RKNF = phi_RMF.reshape(parts)
    gram_RKFF = phi_RKNF.mT @ phi_RKNF
    moment_RKFX = phi_RKNF.mT @ target_RMDO.reshape(parts)
    gram_RFF, moment_RFX = gram_RKFF.sum(1), moment_RKFX.sum(1)
    fewer = many - many // FOLDS
    return _solved(gram_RFF, moment_RFX, many, depths), [
        _solved(gram_RFF - gram_RKFF[:, k], moment_RFX - moment_RKFX[:, k], fewer, depths) for k in range(FOLDS)
    ]


def _solved(gram_RFF: Tensor, moment_RFX: Tensor, windows: int, depths: int) -> Tensor:
    weight_R = gram_RFF.diagonal(dim1=-2, dim2=-1).mean(-1) * RIDGE + 1e-3 * windows
    gram_RFF = gram_RFF + weight_R[:, None, None] * torch.eye(gram_RFF.shape[-1], device=gram_RFF.device)
    found_RFX: Tensor = torch.linalg.solve(gram_RFF, moment_RFX)
    return found_RFX.reshape(*found_RFX.shape[:2], depths, -1).transpose(1, 2)


def _at(value_RNX: Tensor, index_RM: Tensor) -> Tensor:
    return value_RNX[torch.arange(len(index_RM), device=index_RM.device)[:, None], index_RM]


def _whole(x_RL: Tensor, scale: int, length: int) -> Tensor:
    """Ends (R, L) of windows without a missing point."""
    windows = pool(x_RL, scale, length - scale + 1)
    whole_RN = windows.valid_RK if windows.there_RKT is None else windows.there_RKT.all(-1)
    return torch.nn.functional.pad(whole_RN, (scale - 1, 0))

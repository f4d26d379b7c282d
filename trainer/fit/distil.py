"""Distillation: what rows get of the teacher, and how it judges normal windows past the gate.

Shapes: R rows (stream, channel), L slots, N windows, D depths, W views of the teacher (scale by scale, the depths of
each)
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.layout import Layout
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from detector.model.views.teacher import gate_of, joined
from detector.model.window_ends import choose
from trainer.fit.evidence import Evidence, Normal
from trainer.fit.ridge import FOLDS
from trainer.fit.teacher_windows import Shallow, able, at, loudest, windows_at
from trainer.fit.tokens import one_scale

# Past the gate a short history has a dozen windows: an exponential from 1.0 with this mean, worth this many samples.
_START, _MEAN, _WEIGHT = 1.0, 0.55, 20.0
_ENOUGH = 100  # windows past the gate from which their own distribution is believed
_GATE_FLOOR = 0.3  # smallest tail scale past the gate, where an exact p-value would have 0.43


@dataclass(frozen=True)
class Distillation:
    """How much the teacher is asked during a fit."""

    budget: float  # share of normal windows that may pass the gate
    evidence: bool  # its views are weighed by evidence; else all have the same weight
    on_evidence: Callable[[Evidence], None] | None = None  # called with what was found, of the rows that were asked
    windows: int = 64  # of each row, for the map and the calibration of its residuals: 8 of each part of the history
    past_gate: int = (
        48  # of each row, at most, for the calibration past the gate: with those, a fit asks of 112 windows
    )

    @property
    def gate(self) -> float:
        """Surprise of depth 0 from which a window passes."""
        return gate_of(self.budget)


@dataclass(frozen=True)
class Distilled:
    """Rows' tokens, ridge, spread and calibrators, and how these judge normal windows past the gate."""

    rows: Rows
    normal: Normal
    many_R: Tensor  # windows past the gate in the whole history
    usable_R: Tensor


def distil(teacher: Teacher, layout: Layout, rows: Rows, shallow: Shallow, how: Distillation) -> Distilled:
    """The teacher's part of rows, but for its weights. Every row must have windows in both halves (`able`)."""
    whole_RL = able(layout, shallow)
    past_RL = whole_RL & (shallow.row_RL >= how.gate)
    many_R = past_RL.sum(-1)
    even_RN = choose(past_RL, how.past_gate)
    loud_RN, loud_real_RN = loudest(torch.where(past_RL, shallow.row_RL, -torch.inf))
    distinct_RN = torch.nn.functional.pad(even_RN.diff(dim=1) > 0, (1, 0), value=True) & (many_R > 0)[:, None]
    gate_RN, real_RN = torch.cat([even_RN, loud_RN], 1), torch.cat([distinct_RN, loud_real_RN], 1)
    train_RN = choose(whole_RL, how.windows // FOLDS * FOLDS)
    end_RN = torch.cat([train_RN, gate_RN], 1)
    out: Rows = {}
    deep = []
    usable_R = torch.ones_like(many_R, dtype=torch.bool)
    for scale in layout.teacher_scales:
        window = windows_at(shallow.x_RL, scale, end_RN)
        found = one_scale(teacher, window, rows[f"proto.{scale}"], end_RN, train_RN.shape[1])
        tokens, ridge, spread, cal, gate_RND = found
        deep.append(calibration.surprise(gate_RND, cal[:, None]))
        usable_R = usable_R & torch.isfinite(cal).all(-1).all(-1)
        out |= {
            f"tokens.{scale}": tokens,
            f"ridge.{scale}": ridge,
            f"spread.{scale}": spread,
            f"teacher_cal.{scale}": cal,
        }
    return Distilled(out, Normal(at(shallow.row_RL, gate_RN), torch.cat(deep, -1), real_RN), many_R, usable_R)


def settle(distilled: Distilled, rows: Rows, weight_RW: Tensor, how: Distillation) -> Rows:
    """How much the teacher counts in rows: weights, calibration past the gate, gate (infinite without any weight)."""
    shallow_RN, deep_RNW, real_RN = (value[:, : how.past_gate] for value in distilled.normal)
    fused_RN = joined(shallow_RN, deep_RNW, weight_RW[:, None])
    few_cal = calibration.exponential(fused_RN, real_RN, _START, _MEAN, _WEIGHT)
    gate_cal = calibration.fit(fused_RN, real_RN, _GATE_FLOOR, shape=calibration.FUSED_SHAPE)
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

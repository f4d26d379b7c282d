"""The full fit: scaling, views, calibration on held-back halves, shapes, teacher; many streams in one computation.

Shapes: R rows (stream, channel), S streams, L slots, N window ends, V views, F values that a row has shown
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model.layout import PLAIN_VIEWS, Layout
from detector.model.memories import Memories
from detector.model.periods import find_period
from detector.model.pooling import fill, standardise
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from trainer.fit.correction import correction
from trainer.fit.deepen import deepen
from trainer.fit.distil import Distillation
from trainer.fit.held_back import halves_of, plain_view, prototype_views, strangeness
from trainer.fit.histories import History, Stack
from trainer.fit.levels import Levels, learn
from trainer.fit.remember import remember
from trainer.fit.scaling import Scaling, robust
from trainer.fit.teacher_windows import Shallow
from trainer.settings import TrainerSettings

WINDOWS = 2048  # per stream and scale, of which prototypes are made: every fourth of a full ring of 8 192 slots
# What held-back windows are farther than a model's own stretches the tail: 256 slots of white noise have 1.5, so up
# to there nothing is suspected.
EXPECTED_STRANGENESS = 1.6
WIDEN_MAX = 6.0
HELD_BACK_LEVEL = 3.0  # false alarms are counted at 1 in 1000: at 1 in 10 000 a history has too few to count
HELD_BACK_SLOTS = 1000.0  # slots in which one false alarm is promised at that level


@dataclass(frozen=True)
class Fitted:
    """Students of one stack, and how they fared on data held back from them."""

    histories: list[History]
    stream_R: Tensor
    rows: Rows
    streams: dict[str, Tensor]
    memories: Memories
    excess_S: Tensor  # held-back share of slots above HELD_BACK_LEVEL, in multiples of the promised share


def fit_stack(
    stack: Stack,
    layout: Layout,
    settings: TrainerSettings,
    teacher: Teacher | None = None,
    how: Distillation | None = None,
) -> Fitted:
    """Fit all students of a stack; at depth 0 only when there is no teacher."""
    raw_RL = stack.values_RL
    scaling = robust(raw_RL)
    x_RL = fill(standardise(raw_RL, scaling.centre_R, scaling.scale_R))
    own_RL = _newest(x_RL, stack)
    rows: Rows = {"centre": scaling.centre_R, "scale": scaling.scale_R, "period": find_period(own_RL)}
    halves = halves_of(raw_RL, stack.begin_RL)
    held_RNV = torch.stack([plain_view(plain, x_RL, rows, halves, stack.begin_RL) for plain in PLAIN_VIEWS], -1)
    points_R = torch.isfinite(raw_RL).sum(-1)
    near_RNV = prototype_views(x_RL, rows, halves, points_R, layout, WINDOWS)
    held_RNV = torch.cat([held_RNV, near_RNV], -1)
    rows |= _few(scaling, stack, points_R)
    # Such a row is judged by whether its value has been seen, and all of its own have.
    held_RNV = torch.where((rows["novel"] > 0)[:, None, None], torch.nan, held_RNV)
    widen_R = (strangeness(x_RL, rows, near_RNV, layout) / EXPECTED_STRANGENESS).clamp(1.0, WIDEN_MAX)
    first_RN = halves.first(torch.arange(held_RNV.shape[1], device=held_RNV.device))

    def learnt(within_RN: Tensor) -> Levels:
        return learn(held_RNV, within_RN, scaling.cap_R, widen_R, layout.spans, stack)

    levels = learnt(torch.ones_like(first_RN))
    rows |= {"view_cal": levels.view_cal, "row_cal": levels.row_cal, "widen": widen_R}
    row_RN = levels.row(held_RNV)
    memories, remembered = remember(own_RL, rows, row_RN, scaling, layout, stack, settings)
    if teacher is not None and how is not None:
        both_RN = row_RN if remembered is None else remembered.published(row_RN)
        shallow = Shallow(x_RL, first_RN, levels.view(held_RNV), both_RN)
        rows |= deepen(teacher, layout, rows, memories, shallow, how)
    unseen_SN = _unseen(held_RNV, first_RN, learnt, stack)
    over_S = (unseen_SN >= HELD_BACK_LEVEL).sum(-1) / torch.isfinite(unseen_SN).sum(-1).clamp_min(1)
    shaped_S = (stack.by_stream(rows["blend"][:, None]) > 0).flatten(1).any(1)
    streams = {"stream_cal": levels.stream_cal, "correction": correction(unseen_SN, shaped_S)}
    excess_S = over_S * HELD_BACK_SLOTS
    return Fitted(stack.histories, stack.stream_R, rows, streams, memories, excess_S)


def _newest(x_RL: Tensor, stack: Stack) -> Tensor:
    """Without what is older than the ring: neither periods nor shapes are looked for there."""
    at_L = torch.arange(x_RL.shape[1], device=x_RL.device)
    return torch.where(at_L < stack.begin_RL[:, -1:], torch.nan, x_RL)


def _few(scaling: Scaling, stack: Stack, points_R: Tensor) -> Rows:
    """Rows with few values that stand beside other channels: what they have shown, and what a new value is worth."""
    beside_R = stack.sizes[stack.stream_R] > 1
    novel_R = torch.where(scaling.few_R & beside_R & (points_R > 0), (points_R + 1).log10(), 0.0)
    return {"novel": novel_R, "levels": scaling.levels_RF.float()}


def _unseen(held_RNV: Tensor, first_RN: Tensor, learnt: Callable[[Tensor], Levels], stack: Stack) -> Tensor:
    """Surprise (S, N) of the history where neither prototypes nor calibration have seen the half."""
    unseen_SN = torch.full((len(stack.histories), held_RNV.shape[1]), torch.nan, device=held_RNV.device)
    for within_RN in (first_RN, ~first_RN):
        levels = learnt(within_RN)
        row_RN = torch.where(within_RN, torch.nan, levels.row(held_RNV))
        here_SN = levels.stream(row_RN, stack)
        unseen_SN = torch.where(torch.isfinite(here_SN), here_SN, unseen_SN)
    return unseen_SN

"""The full fit: scaling, prototypes, calibration on held-back halves; many streams in one batched computation.

Shapes: R rows, S streams, L slots, N windows, V views, T points, P prototypes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector.pooling import baseline, fill, pool, standardise
from detector.student import BAND_POINTS, TAIL_FLOOR, Layout, Rows, measure, prepare
from detector.teacher import Teacher
from trainer.distil import Distillation, Shallow, distil
from trainer.histories import History, Stack
from trainer.levels import Levels, learn
from trainer.prototypes import Prototypes, choose, kmeans
from trainer.scaling import robust

# A scale is used when the history holds it four times over: both halves see it twice.
TIMES = 4
# Held-back windows this many times as far as the model's own: the level wanders; the moving mean must help by 20 %.
WANDERING = 1.5
CALMER = 0.8
# What remains stretches the tail: 256 slots of white noise have 1.5, so up to there nothing is suspected.
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
    excess_S: Tensor  # held-back share of slots above HELD_BACK_LEVEL, in multiples of the promised share


@dataclass(frozen=True)
class Halves:
    """Where each row's history is cut for the two-fold cross-fit: both halves hold the same number of samples."""

    cut_R: Tensor  # first slot of the second half

    def first(self, ends_N: Tensor, scale: int) -> Tensor:
        """Windows (R, N) wholly in the first half."""
        return ends_N[None] < self.cut_R[:, None]

    def second(self, ends_N: Tensor, scale: int) -> Tensor:
        """Windows (R, N) wholly in the second half."""
        return ends_N[None] - scale + 1 >= self.cut_R[:, None]


def fit_stack(
    stack: Stack, layout: Layout, windows_max: int, teacher: Teacher | None = None, how: Distillation | None = None
) -> Fitted:
    """Fit all students of a stack; at depth 0 only when there is no teacher.

    Every row is fitted twice: as it is, and measured against its moving mean. The second is kept where the level
    wanders, that is where the first would have raised many more false alarms on the halves held back from it.
    """
    plain, moving = (_fit_rows(stack, layout, windows_max, local) for local in (0.0, 1.0))
    wanders_R = (plain.strangeness_R > WANDERING) & (moving.strangeness_R < CALMER * plain.strangeness_R)
    rows = {name: select(wanders_R, moving.rows[name], plain.rows[name]) for name in plain.rows}
    held_RNV = select(wanders_R, moving.held_RNV, plain.held_RNV)
    strangeness_R = select(wanders_R, moving.strangeness_R, plain.strangeness_R)
    widen_R = (strangeness_R / EXPECTED_STRANGENESS).clamp(1.0, WIDEN_MAX)
    first_RN = _halves(stack.values_RL).first(torch.arange(held_RNV.shape[1], device=held_RNV.device), 1)

    def learnt(within_RN: Tensor) -> Levels:
        return learn(held_RNV, within_RN, plain.cap_R, widen_R, layout.scales, stack)

    levels = learnt(torch.ones_like(first_RN))
    rows |= {"view_cal": levels.view_cal, "row_cal": levels.row_cal, "widen": widen_R}
    if teacher is not None and how is not None:
        shallow = Shallow(prepare(stack.values_RL, rows)[0], first_RN, levels.view(held_RNV), levels.row(held_RNV))
        rows |= distil(teacher, layout, rows, shallow, how)
    excess_S = _excess(held_RNV, first_RN, learnt, stack)
    return Fitted(stack.histories, stack.stream_R, rows, {"stream_cal": levels.stream_cal}, excess_S)


def select(choice_R: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Per row one of two tensors."""
    return torch.where(choice_R.view(-1, *[1] * (yes.dim() - 1)), yes, no)


class _RowFit(NamedTuple):
    rows: Rows
    held_RNV: Tensor  # distances, each by a model of the other half
    strangeness_R: Tensor  # how much farther the other half's windows are than the model's own
    cap_R: Tensor


def _fit_rows(stack: Stack, layout: Layout, windows_max: int, local: float) -> _RowFit:
    raw_RL = stack.values_RL
    local_R = torch.full((len(raw_RL),), local, device=raw_RL.device)
    moved_RL = raw_RL.double() - baseline(raw_RL, local_R)
    scaling = robust(moved_RL, raw_RL)
    x_RL = fill(standardise(moved_RL, scaling.centre_R, scaling.scale_R))
    rows: Rows = {"centre": scaling.centre_R, "scale": scaling.scale_R, "local": local_R}
    held_RNV = _prototypes(x_RL, rows, _halves(raw_RL), torch.isfinite(raw_RL).sum(-1), layout, windows_max)
    return _RowFit(rows, held_RNV, _strangeness(x_RL, rows, held_RNV, layout), scaling.cap_R)


def _strangeness(x_RL: Tensor, rows: Rows, held_RLV: Tensor, layout: Layout) -> Tensor:
    """Ratio of high quantiles of distance: windows held back from the model over windows it was made of.

    About 1.0 with thousands of slots, 1.5 with 256; several times that where each half lives on its own level.
    """
    view = min(1, len(layout.scales) - 1)  # the second scale: long enough for a level, short enough to be plenty
    scale = layout.scales[view]
    if x_RL.shape[1] < scale:
        return torch.ones(len(x_RL), device=x_RL.device)
    own_RN = measure(x_RL, rows, (scale,), x_RL.shape[1] - scale + 1).distance_RKV[..., 0]
    held_RN = held_RLV[:, scale - 1 :, view]
    ratio_R = torch.ones(len(x_RL), device=x_RL.device)
    for share in (0.9, 0.98):
        high_R = torch.nanquantile(held_RN, share, dim=-1).clamp_min(TAIL_FLOOR)
        ratio_R = ratio_R * (high_R / torch.nanquantile(own_RN, share, dim=-1).clamp_min(TAIL_FLOOR)).sqrt()
    return torch.nan_to_num(ratio_R, nan=1.0).clamp_min(1.0)


def _halves(values_RL: Tensor) -> Halves:
    seen_RL = torch.isfinite(values_RL).long().cumsum(-1)
    return Halves(torch.searchsorted(seen_RL, (seen_RL[:, -1:] + 1) // 2)[:, 0] + 1)


def _prototypes(x_RL: Tensor, rows: Rows, halves: Halves, points_R: Tensor, layout: Layout, windows_max: int) -> Tensor:
    """Fills `rows` with the prototypes of the whole history; returns distances (R, L, V) held back from each half."""
    length = x_RL.shape[1]
    held_RLV = torch.full((*x_RL.shape, len(layout.scales)), torch.nan, device=x_RL.device)
    for v, scale in enumerate(layout.scales):
        if length < scale:
            _empty(rows, layout, scale, x_RL)
            continue
        count = length - scale + 1
        windows = pool(x_RL, scale, count)
        ends_N = torch.arange(scale - 1, length, device=x_RL.device)
        enough_R = (points_R >= TIMES * scale)[:, None]
        complete_RN = windows.valid_RK & enough_R
        if windows.there_RKT is not None:
            # Prototypes are learnt from whole windows only; a row that has none learns from what it has.
            whole_RN = complete_RN & windows.there_RKT.all(-1)
            complete_RN = torch.where(whole_RN.any(-1, keepdim=True), whole_RN, complete_RN)
        first_RN, second_RN = halves.first(ends_N, scale), halves.second(ends_N, scale)
        spans = [complete_RN & first_RN, complete_RN & second_RN, complete_RN]
        many = min(count, windows_max)
        sizes = (max(1, many // 2), max(1, many // 2), many)
        part_RMT = [_take(windows.value_RKT, choose(span, n)) for span, n in zip(spans, sizes, strict=True)]
        both = kmeans(torch.cat(part_RMT[:2]), layout.prototypes, BAND_POINTS)
        whole = kmeans(part_RMT[2], layout.prototypes, BAND_POINTS)
        _store(rows, scale, whole)
        size = len(x_RL)
        for half, scored_RN, trained_RN in ((0, second_RN, spans[0]), (1, first_RN, spans[1])):
            model: Rows = {}
            _store(model, scale, Prototypes(*(t[half * size : (half + 1) * size] for t in both)))
            distance_RN = measure(x_RL, model, (scale,), count).distance_RKV[..., 0]
            usable_RN = scored_RN & enough_R & trained_RN.any(-1, keepdim=True) & torch.isfinite(distance_RN)
            held_RLV[:, scale - 1 :, v] = torch.where(usable_RN, distance_RN, held_RLV[:, scale - 1 :, v])
    return held_RLV


def _excess(held_RNV: Tensor, first_RN: Tensor, learnt: Callable[[Tensor], Levels], stack: Stack) -> Tensor:
    """False alarms where neither prototypes nor calibration have seen the half, in multiples of the promise."""
    over_S = torch.zeros(len(stack.histories), device=held_RNV.device)
    many_S = torch.zeros_like(over_S)
    for within_RN in (first_RN, ~first_RN):
        levels = learnt(within_RN)
        row_RN = torch.where(within_RN, torch.nan, levels.row(held_RNV))
        unseen_SN = levels.stream(row_RN, stack)
        over_S += (unseen_SN >= HELD_BACK_LEVEL).sum(-1)
        many_S += torch.isfinite(unseen_SN).sum(-1)
    share_S: Tensor = over_S / many_S.clamp_min(1.0)
    return share_S * HELD_BACK_SLOTS


def _take(window_RNT: Tensor, index_RM: Tensor) -> Tensor:
    return window_RNT[torch.arange(len(index_RM), device=index_RM.device)[:, None], index_RM]


def _store(rows: Rows, scale: int, found: Prototypes) -> None:
    for name, value in zip(("proto", "radius", "band", "used"), found, strict=True):
        rows[f"{name}.{scale}"] = value


def _empty(rows: Rows, layout: Layout, scale: int, x_RL: Tensor) -> None:
    shapes = layout.row_shapes()
    for name in ("proto", "radius", "band", "used"):
        key = f"{name}.{scale}"
        rows[key] = torch.zeros(len(x_RL), *shapes[key], device=x_RL.device)

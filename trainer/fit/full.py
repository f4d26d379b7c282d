"""The full fit: scaling, looks, prototypes, calibration on held-back halves, shapes; many streams in one computation.

Shapes: R rows, S streams, L slots, N windows, V views, T points, P prototypes, X rows with a shape memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.layout import PLAIN_VIEWS, Layout
from detector.model.memories import Memories
from detector.model.pooling import fill, pool, standardise
from detector.model.row_types import Rows
from detector.model.shallow import TAIL_FLOOR, blended
from detector.model.teacher import Teacher
from detector.model.views import shapes
from detector.model.views.forecast import find_period
from detector.model.views.plain import PlainView, choose
from detector.model.views.prototypes import BAND_POINTS, pick, prototypes
from trainer.fit.correction import correction
from trainer.fit.distil import Distillation, Shallow
from trainer.fit.evidence import deepen
from trainer.fit.histories import History, Stack
from trainer.fit.levels import ROW_FLOOR, Levels, learn
from trainer.fit.prototypes import Prototypes, kmeans
from trainer.fit.scaling import Scaling, robust
from trainer.fit.shapes import FROM, FULL, fit_shapes
from trainer.settings import TrainerSettings

# With more channels than this a memory's share is too small to pay for it. Shapes of 19 channels (asd) told in full
# took .30 off a VUS-PR of .69.
SHAPED_CHANNELS = 4
WINDOWS = 2048  # per stream and scale, of which prototypes are made: every fourth of a full ring of 8 192 slots
LEAST_BLEND = 0.1  # a memory with less to say is not kept
# A scale is used when the history holds it four times over: both halves see it twice.
TIMES = 4
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


class Remembered(NamedTuple):
    """Normal slots of rows with a shape memory, each judged without its neighbours in time."""

    at_X: Tensor  # rows
    end_XM: Tensor
    row_XM: Tensor  # surprise of the row with its shapes; NaN where either is missing

    def published(self, row_RL: Tensor) -> Tensor:
        """Surprise (R, L) of rows with the shapes that they have: of those with some, NaN but at these slots."""
        out_RL = row_RL.clone()
        nowhere_XL = torch.full_like(row_RL[self.at_X], torch.nan)
        out_RL[self.at_X] = nowhere_XL.scatter(1, self.end_XM, self.row_XM.to(row_RL))
        return out_RL


@dataclass(frozen=True)
class Halves:
    """Where each row's history is cut for the two-fold cross-fit: both halves hold the same number of samples."""

    cut_R: Tensor  # first slot of the second half

    def first(self, ends_N: Tensor) -> Tensor:
        """Windows (R, N) wholly in the first half."""
        return ends_N[None] < self.cut_R[:, None]

    def second(self, ends_N: Tensor, slots: int) -> Tensor:
        """Windows (R, N) of so many slots wholly in the second half."""
        return ends_N[None] - slots + 1 >= self.cut_R[:, None]


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
    rows: Rows = {"centre": scaling.centre_R, "scale": scaling.scale_R, "period": find_period(x_RL)}
    halves = _halves(raw_RL)
    held_RNV = torch.stack([_plain_view(plain, x_RL, rows, halves) for plain in PLAIN_VIEWS], -1)
    points_R = torch.isfinite(raw_RL).sum(-1)
    near_RNV = _prototypes(x_RL, rows, halves, points_R, layout, WINDOWS)
    held_RNV = torch.cat([held_RNV, near_RNV], -1)
    rows |= _few(scaling, stack, points_R)
    # Such a row is judged by whether its value has been seen, and all of its own have.
    held_RNV = torch.where((rows["novel"] > 0)[:, None, None], torch.nan, held_RNV)
    widen_R = (_strangeness(x_RL, rows, near_RNV, layout) / EXPECTED_STRANGENESS).clamp(1.0, WIDEN_MAX)
    first_RN = halves.first(torch.arange(held_RNV.shape[1], device=held_RNV.device))

    def learnt(within_RN: Tensor) -> Levels:
        return learn(held_RNV, within_RN, scaling.cap_R, widen_R, layout.spans, stack)

    levels = learnt(torch.ones_like(first_RN))
    rows |= {"view_cal": levels.view_cal, "row_cal": levels.row_cal, "widen": widen_R}
    row_RN = levels.row(held_RNV)
    memories, remembered = _remember(x_RL, rows, row_RN, scaling, layout, stack, settings)
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


def _few(scaling: Scaling, stack: Stack, points_R: Tensor) -> Rows:
    """Rows with few values that stand beside other channels: what they have shown, and what a new value is worth."""
    beside_R = stack.channels_S[stack.stream_R] > 1
    novel_R = torch.where(scaling.few_R & beside_R & (points_R > 0), (points_R + 1).log10(), 0.0)
    return {"novel": novel_R, "levels": scaling.levels_RF.float()}


def _plain_view(plain: PlainView, x_RL: Tensor, rows: Rows, halves: Halves) -> Tensor:
    """Fills `rows` with what the look learns from everything; returns scores (R, L) held back from each half."""
    rows_, length = x_RL.shape
    end_L = torch.arange(length, device=x_RL.device)
    first_RL = halves.first(end_L)

    def scored(model: Rows) -> Tensor:
        count = length - plain.reach + 1
        if count < 1:
            return torch.full((rows_, length), torch.nan, device=x_RL.device)
        score_RK = plain.score(x_RL, {**rows, **model}, count)
        return torch.nn.functional.pad(score_RK, (length - count, 0), value=torch.nan)

    whole = plain.fit(x_RL, torch.ones_like(first_RL), rows)
    if not whole:  # nothing is learnt, nothing can be held back
        return scored(whole)
    of_first, of_second = (plain.fit(x_RL, within_RL, rows) for within_RL in (first_RL, ~first_RL))
    rows |= whole
    return torch.where(first_RL, scored(of_second), scored(of_first))


def _remember(
    x_RL: Tensor, rows: Rows, row_RL: Tensor, scaling: Scaling, layout: Layout, stack: Stack, settings: TrainerSettings
) -> tuple[Memories, Remembered | None]:
    """Shape memories of the rows whose evidence asks for one, and how they judge the history; sets `blend`, `rest` and `lag` of all rows.

    `row_RL` is the rows' held-back surprise without shapes. The channels of a stream that may have shapes share the
    say: each of them is one more chance to fire.
    """
    rows |= {name: torch.zeros(len(x_RL), device=x_RL.device) for name in ("blend", "rest", "lag")}
    many_S = torch.zeros(len(stack.histories), device=x_RL.device).index_add_(
        0, stack.stream_R, (~scaling.few_R).float()
    )
    many_R = many_S[stack.stream_R]
    [able_X] = (~scaling.few_R & (many_R <= SHAPED_CHANNELS)).nonzero(as_tuple=True)
    if not len(able_X) or settings.shape_share == 0:
        return Memories(), None
    found = fit_shapes(x_RL[able_X], layout.shapes, layout.medoids, settings.shape_sharpness)
    sure_X = ((found.evidence_R[found.fitted_X] - FROM) / (FULL - FROM)).clamp(0.0, 1.0)
    blend_X = settings.shape_share * sure_X / many_R[able_X[found.fitted_X]]
    [with_X] = (blend_X > LEAST_BLEND).nonzero(as_tuple=True)
    if not len(with_X):
        return Memories(), None
    blend_X, kept_X = blend_X[with_X], able_X[found.fitted_X[with_X]]
    own = {name: value[with_X] for name, value in found.rows.items()}
    # The less there is to say for shapes, the more the rest may say.
    say = {"blend": blend_X, "rest": settings.shape_rest / blend_X}
    for name, value_X in say.items():
        rows[name][kept_X] = value_X
    lag_X = (shapes.mean_width(own) + shapes.smoothing(own)) / 2
    rows["lag"][kept_X] = lag_X.float()
    end_XM, fused_XM, whole_XM = (value[with_X] for value in found.sample)
    shape_XM = calibration.surprise(fused_XM, own["shape.cal"][:, None])
    mixed_XM = blended(row_RL[kept_X].gather(1, end_XM), shape_XM, say)
    mix = calibration.fit(mixed_XM, whole_XM & torch.isfinite(mixed_XM), ROW_FLOOR, shape=calibration.FUSED_SHAPE)
    own["shape.mix"] = calibration.cap(mix, scaling.cap_R[kept_X])
    both_XM = calibration.surprise(torch.where(whole_XM, mixed_XM, torch.nan), own["shape.mix"][:, None])
    histories = []
    for i, row in enumerate(kept_X.tolist()):
        first = int(torch.isfinite(x_RL[row]).long().argmax())
        histories.append(x_RL[row, first:].float().cpu())
        own["shape.ends"][i] = (own["shape.ends"][i] - first).clamp_min(0)
    return Memories(kept_X.tolist(), own, histories), Remembered(kept_X, end_XM, both_XM)


def _strangeness(x_RL: Tensor, rows: Rows, held_RLV: Tensor, layout: Layout) -> Tensor:
    """Ratio of high quantiles of distance: windows held back from the model over windows it was made of.

    About 1.0 with thousands of slots, 1.5 with 256; several times that where each half lives on its own level.
    """
    view = min(1, len(layout.scales) - 1)  # the second scale: long enough for a level, short enough to be plenty
    scale = layout.scales[view]
    if x_RL.shape[1] < scale:
        return torch.ones(len(x_RL), device=x_RL.device)
    own_RN, _, _ = prototypes(x_RL, rows, scale, x_RL.shape[1] - scale + 1)
    held_RN = held_RLV[:, scale - 1 :, view]
    ratio_R = torch.ones(len(x_RL), device=x_RL.device)
    for share in (0.9, 0.98):
        high_R = torch.nanquantile(held_RN, share, dim=-1).clamp_min(TAIL_FLOOR)
        ratio_R = ratio_R * (high_R / torch.nanquantile(own_RN, share, dim=-1).clamp_min(TAIL_FLOOR)).sqrt()
    return torch.nan_to_num(ratio_R, nan=1.0).clamp_min(1.0)


def _halves(values_RL: Tensor) -> Halves:
    seen_RL = torch.isfinite(values_RL).long().cumsum(-1)
    return Halves(torch.searchsorted(seen_RL, (seen_RL[:, -1:] + 1) // 2)[:, 0] + 1)


def _prototypes(
    x_RL: Tensor,
    rows: Rows,
    halves: Halves,
    points_R: Tensor,
    layout: Layout,
    windows_max: int,
) -> Tensor:
    """Fills `rows` with the prototypes of the whole history; returns discrepancies (R, L, Q) held back from each half."""
    length = x_RL.shape[1]
    held_RLQ = torch.full((*x_RL.shape, len(layout.scales)), torch.nan, device=x_RL.device)
    for q, scale in enumerate(layout.scales):
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
        first_RN, second_RN = halves.first(ends_N), halves.second(ends_N, scale)
        spans = [complete_RN & first_RN, complete_RN & second_RN, complete_RN]
        many = min(count, windows_max)
        sizes = (max(1, many // 2), max(1, many // 2), many)
        part_RMT = [pick(windows.value_RKT, choose(span, n)) for span, n in zip(spans, sizes, strict=True)]
        both = kmeans(torch.cat(part_RMT[:2]), layout.prototypes, BAND_POINTS)
        whole = kmeans(part_RMT[2], layout.prototypes, BAND_POINTS)
        _store(rows, scale, whole)
        size = len(x_RL)
        for half, scored_RN, trained_RN in ((0, second_RN, spans[0]), (1, first_RN, spans[1])):
            model: Rows = {}
            _store(model, scale, Prototypes(*(t[half * size : (half + 1) * size] for t in both)))
            distance_RN, _, _ = prototypes(x_RL, model, scale, count)
            usable_RN = scored_RN & enough_R & trained_RN.any(-1, keepdim=True) & torch.isfinite(distance_RN)
            held_RLQ[:, scale - 1 :, q] = torch.where(usable_RN, distance_RN, held_RLQ[:, scale - 1 :, q])
    return held_RLQ


def _unseen(held_RNV: Tensor, first_RN: Tensor, learnt: Callable[[Tensor], Levels], stack: Stack) -> Tensor:
    """Surprise (S, N) of the history where neither prototypes nor calibration have seen the half."""
    unseen_SN = torch.full((len(stack.histories), held_RNV.shape[1]), torch.nan, device=held_RNV.device)
    for within_RN in (first_RN, ~first_RN):
        levels = learnt(within_RN)
        row_RN = torch.where(within_RN, torch.nan, levels.row(held_RNV))
        here_SN = levels.stream(row_RN, stack)
        unseen_SN = torch.where(torch.isfinite(here_SN), here_SN, unseen_SN)
    return unseen_SN


def _store(rows: Rows, scale: int, found: Prototypes) -> None:
    for name, value in zip(("proto", "radius", "band", "used"), found, strict=True):
        rows[f"{name}.{scale}"] = value


def _empty(rows: Rows, layout: Layout, scale: int, x_RL: Tensor) -> None:
    known = layout.row_fields()
    for name in ("proto", "radius", "band", "used"):
        key = f"{name}.{scale}"
        rows[key] = torch.zeros(len(x_RL), *known[key], device=x_RL.device)

"""Discrepancies of a history held back from what judges it: each half is scored by a model of the other half.

Shapes: R rows (stream, channel), L slots, N window ends, Q scales, T points of a window
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model.archive import GAP, STRETCH
from detector.model.layout import Layout
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.shallow import TAIL_FLOOR
from detector.model.views.plain import PlainView
from detector.model.views.prototypes import BAND_POINTS, pick, prototypes
from detector.model.window_ends import choose
from trainer.fit.prototypes import Prototypes, kmeans

# A scale is used when the history holds it four times over: both halves see it twice.
TIMES = 4


@dataclass(frozen=True)
class Halves:
    """The two halves of each row's history, for the two-fold cross-fit: both hold about the same number of samples."""

    first_RL: Tensor  # whether a slot is of the first

    def first(self, ends_N: Tensor) -> Tensor:
        """Windows (R, N) that end in the first half: those without a gap lie wholly in it."""
        return self.first_RL[:, ends_N]

    def second(self, ends_N: Tensor, slots: int) -> Tensor:
        """Windows (R, N) of so many slots that lie wholly in the second half, if they have no gap."""
        return ~self.first_RL[:, ends_N] & ~self.first_RL[:, (ends_N - slots + 1).clamp_min(0)]


def halves_of(values_RL: Tensor, begin_RL: Tensor) -> Halves:
    """Of rows with NaN gaps: the first is the older half of the ring and every other stretch before it, so that what
    comes and goes over weeks is in both."""
    at_L = torch.arange(values_RL.shape[1], device=values_RL.device)
    ring_R1 = begin_RL[:, -1:]
    seen_RL = (torch.isfinite(values_RL) & (at_L >= ring_R1)).long().cumsum(-1)
    cut_R1 = torch.searchsorted(seen_RL, (seen_RL[:, -1:] + 1) // 2) + 1
    stretch_RL = (ring_R1 - 1 - at_L) // (STRETCH + GAP)
    return Halves(torch.where(at_L >= ring_R1, at_L < cut_R1, stretch_RL % 2 == 0))


def plain_view(plain: PlainView, x_RL: Tensor, rows: Rows, halves: Halves, begin_RL: Tensor) -> Tensor:
    """Fills `rows` with what the view learns from everything; returns scores (R, L) held back from each half.

    `begin_RL`: where the piece of the history begins that a slot is of.
    """
    pieces = {"begin": begin_RL}
    rows_, length = x_RL.shape
    end_L = torch.arange(length, device=x_RL.device)
    first_RL = halves.first(end_L)

    def scored(model: Rows) -> Tensor:
        count = length - plain.reach + 1
        if count < 1:
            return torch.full((rows_, length), torch.nan, device=x_RL.device)
        score_RN = plain.score(x_RL, {**rows, **model, **pieces}, count)
        return torch.nn.functional.pad(score_RN, (length - count, 0), value=torch.nan)

    whole = plain.fit(x_RL, torch.ones_like(first_RL), rows | pieces)
    if not whole:  # nothing is learnt, nothing can be held back
        return scored(whole)
    of_first, of_second = (plain.fit(x_RL, within_RL, rows | pieces) for within_RL in (first_RL, ~first_RL))
    rows |= whole
    return torch.where(first_RL, scored(of_second), scored(of_first))


def prototype_views(
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
        value_RNT, there, valid_RN = pool(x_RL, scale, count)
        ends_N = torch.arange(scale - 1, length, device=x_RL.device)
        enough_R = (points_R >= TIMES * scale)[:, None]
        complete_RN = valid_RN & enough_R
        if there is not None:
            # Prototypes are learnt from whole windows only; a row that has none learns from what it has.
            whole_RN = complete_RN & there.all(-1)
            complete_RN = torch.where(whole_RN.any(-1, keepdim=True), whole_RN, complete_RN)
        first_RN, second_RN = halves.first(ends_N), halves.second(ends_N, scale)
        spans = [complete_RN & first_RN, complete_RN & second_RN, complete_RN]
        many = min(count, windows_max)
        sizes = (max(1, many // 2), max(1, many // 2), many)
        part_RNT = [pick(value_RNT, choose(span, n)) for span, n in zip(spans, sizes, strict=True)]
        both = kmeans(torch.cat(part_RNT[:2]), layout.prototypes, BAND_POINTS)
        whole = kmeans(part_RNT[2], layout.prototypes, BAND_POINTS)
        _store(rows, scale, whole)
        size = len(x_RL)
        for half, scored_RN, trained_RN in ((0, second_RN, spans[0]), (1, first_RN, spans[1])):
            model: Rows = {}
            _store(model, scale, Prototypes(*(t[half * size : (half + 1) * size] for t in both)))
            distance_RN, _, _ = prototypes(x_RL, model, scale, count)
            usable_RN = scored_RN & enough_R & trained_RN.any(-1, keepdim=True) & torch.isfinite(distance_RN)
            held_RLQ[:, scale - 1 :, q] = torch.where(usable_RN, distance_RN, held_RLQ[:, scale - 1 :, q])
    return held_RLQ


def strangeness(x_RL: Tensor, rows: Rows, held_RLQ: Tensor, layout: Layout) -> Tensor:
    """Ratio of high quantiles of distance: windows held back from the model over windows it was made of.

    About 1.0 with thousands of slots, 1.5 with 256; several times that where each half lives on its own level.
    """
    view = min(1, len(layout.scales) - 1)  # the second scale: long enough for a level, short enough to be plenty
    scale = layout.scales[view]
    if x_RL.shape[1] < scale:
        return torch.ones(len(x_RL), device=x_RL.device)
    own_RN, _, _ = prototypes(x_RL, rows, scale, x_RL.shape[1] - scale + 1)
    held_RN = held_RLQ[:, scale - 1 :, view]
    ratio_R = torch.ones(len(x_RL), device=x_RL.device)
    for share in (0.9, 0.98):
        high_R = torch.nanquantile(held_RN, share, dim=-1).clamp_min(TAIL_FLOOR)
        ratio_R = ratio_R * (high_R / torch.nanquantile(own_RN, share, dim=-1).clamp_min(TAIL_FLOOR)).sqrt()
    return torch.nan_to_num(ratio_R, nan=1.0).clamp_min(1.0)


def _store(rows: Rows, scale: int, found: Prototypes) -> None:
    for name, value in zip(("proto", "radius", "band", "used"), found, strict=True):
        rows[f"{name}.{scale}"] = value


def _empty(rows: Rows, layout: Layout, scale: int, x_RL: Tensor) -> None:
    known = layout.row_fields()
    for name in ("proto", "radius", "band", "used"):
        key = f"{name}.{scale}"
        rows[key] = torch.zeros(len(x_RL), *known[key], device=x_RL.device)

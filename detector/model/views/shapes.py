"""Shape memory: windows of a row's own history stand for the shapes that are normal, and how far a window is from them.

A view is a width and a kind. Its memory are *medoids*: windows of the history, kept as their ends, each with its own
distance to the rest of the history, so that an odd one out that happens to be normal does not excuse what is near it.

Shapes: R rows (stream, channel), L slots, V views kept for a row, K scored slots, X slots before averaging, T = 24 points
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.row_types import Rows
from detector.model.views.medoids import nearest
from detector.model.views.shape_windows import POINTS, WIDTH_MAX, signals, windows

# Slots the fused score is averaged over: a share of the windows' mean width. Short shapes pass soon; of wide ones an
# average over 8 slots finds 83 % of the UCR archive, over 24 85 %, over 40 87 %.
SMOOTH_SHARE, SMOOTH_MIN, SMOOTH = 0.5, 8, 40
REACH = WIDTH_MAX + SMOOTH  # slots that a shape score depends on
_LARGE = ("shape.medoid", "shape.norm", "shape.own", "shape.ends")
# Rows matched at a time: their medoids (295 KB a row) stay in the cache between being fetched and being multiplied.
_CHUNK = 16
# Windows whose features are made at a time, 1.5 MB: fewer cost calls, more fall out of the cache.
_PASS = 8192


def smoothing(rows: Rows) -> Tensor:
    """Slots (R) that a row's fused score is averaged over."""
    return ((mean_width(rows) * SMOOTH_SHARE).round().clamp(SMOOTH_MIN, SMOOTH)).long()


def mean_width(rows: Rows) -> Tensor:
    """Weighted mean width (R) of a row's views."""
    return (rows["shape.weight"] * rows["shape.width"]).sum(1)


class ShapeScore(NamedTuple):
    """Scores of the newest slots by the shape memory."""

    fused_RK: Tensor  # weighted, averaged over `smoothing` slots; NaN where no window is whole
    view_RK: Tensor  # index of the view that contributes most
    width_RK: Tensor  # its width
    trail_RX: Tensor  # (R, SMOOTH − 1) weighted means of the newest slots, not yet averaged: what the next call needs


def score(x_RL: Tensor, tables: Rows, at_R: Tensor, count: int, follows: bool = False) -> ShapeScore:
    """Fused score of the last `count` slots; a view's score is 0 at its training median and 1 at its 99 % quantile.

    Row r stands at `at_R[r]` of the tables. With `follows` their "trail" is that of a call which ended just before
    these slots; without it, the slots before are worked out again.
    """
    slots = count if follows else count + SMOOTH - 1
    many = max(1, _PASS // (tables["shape.width"].shape[1] * slots))
    parts = [
        _score(x_RL[at : at + many], tables, at_R[at : at + many], count, follows) for at in range(0, len(x_RL), many)
    ]
    return parts[0] if len(parts) == 1 else ShapeScore(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _score(x_RL: Tensor, tables: Rows, at_R: Tensor, count: int, follows: bool) -> ShapeScore:
    rows = {name: table[at_R] for name, table in tables.items() if name not in _LARGE}
    many = count if follows else count + SMOOTH - 1
    x_RL = x_RL[:, -(many + WIDTH_MAX) :]
    length = x_RL.shape[1]
    views = rows["shape.width"].shape[1]
    end_K = torch.arange(length - many, length, device=x_RL.device).clamp_min(0)
    shape = (len(x_RL), views, many)
    width, kind = (rows[f"shape.{n}"].long()[..., None].expand(shape).flatten(1) for n in ("width", "kind"))
    feature, whole = windows(signals(x_RL, rows), end_K.expand(shape).flatten(1), width, kind)
    feature_RVKT, whole_RVK = feature.reshape(*shape, POINTS), whole.reshape(shape)
    chunks = zip(torch.split(feature_RVKT, _CHUNK), torch.split(at_R, _CHUNK), strict=True)
    raw_RVK = torch.cat([nearest(feature, tables, at) for feature, at in chunks])
    unit_RVK = ((raw_RVK - rows["shape.centre"][..., None]) / rows["shape.unit"][..., None]).float()
    unit_RVK = torch.where(whole_RVK, unit_RVK, torch.nan)
    return fuse(unit_RVK, rows, count, rows["trail"] if follows else None)


def fuse(unit_RVX: Tensor, rows: Rows, count: int, trail_RX: Tensor | None) -> ShapeScore:
    """Weighted mean over the views that are there, then over the newest slots."""
    mean_RX, there_RX = weighted(unit_RVX, rows["shape.weight"])
    mean_RX = torch.where(there_RX, mean_RX, torch.nan)
    if trail_RX is not None:
        mean_RX = torch.cat([trail_RX, mean_RX], 1)
    there_RX = torch.isfinite(mean_RX)
    sums_2RX = torch.stack([mean_RX.nan_to_num(nan=0.0), there_RX.to(mean_RX.dtype)]).double().cumsum(-1)
    sums_2RX = torch.nn.functional.pad(sums_2RX, (1, 0))
    end_K = torch.arange(mean_RX.shape[1] - count + 1, mean_RX.shape[1] + 1, device=mean_RX.device)
    begin_RK = (end_K - smoothing(rows)[:, None]).clamp_min(0)
    sum_RK, many_RK = sums_2RX[..., -count:] - sums_2RX.gather(2, begin_RK.expand(2, -1, -1))
    fused_RK = torch.where(many_RK > 0, sum_RK / many_RK.clamp_min(1.0), torch.nan)
    part_RVK = unit_RVX[..., -count:].nan_to_num(nan=0.0) * rows["shape.weight"][..., None]
    view_RK = part_RVK.argmax(1)
    width_RK = rows["shape.width"].long().gather(1, view_RK)
    return ShapeScore(fused_RK.float(), view_RK, width_RK, mean_RX[:, -(SMOOTH - 1) :])


def weighted(unit_RVX: Tensor, weight_RV: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (R, X) over the views that are there, 0 where none is; and where one is (R, X)."""
    there_RVX = torch.isfinite(unit_RVX)
    weight_RVX = weight_RV[..., None] * there_RVX
    total_RX = weight_RVX.sum(1)
    mean_RX = (torch.where(there_RVX, unit_RVX, 0.0) * weight_RVX).sum(1) / total_RX.clamp_min(1e-12)
    return mean_RX, total_RX > 0

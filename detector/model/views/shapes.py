"""Shape memory: windows of a row's own history that say which shapes are normal, and how far a window is from them.

A view is a width and a kind. Its memory are *medoids*: windows of the history, kept as their ends, each with its own
distance to the rest of the history, so that an odd one out that happens to be normal does not excuse what is near it.

Shapes: R rows, L slots, V views kept a row, K scored slots, X windows, N any windows, T points (24), P medoids.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.row_types import Rows

POINTS = 24  # points a window is averaged to: more gained nothing on the shapes of the UCR archive
KINDS = ("level", "shape", "form", "change")
LEVEL, SHAPE, FORM, CHANGE = range(4)
# Denominators std + x of the two centred kinds: a flat window must not be blown up to its noise.
_SOFT = {SHAPE: 0.5, FORM: 0.05}
CLIP = 20.0  # standard deviations of the training part
_CHANGE_CLIP = 30.0  # mean changes of the training part
OWN = 0.625  # share of the medoid's own distance that is taken off
# Slots the fused score is averaged over: a share of the windows' mean width. Short shapes pass soon; of wide ones an
# average over 8 slots finds 83 % of the UCR archive, over 24 85 %, over 40 87 %.
SMOOTH_SHARE, SMOOTH_MIN, SMOOTH = 0.5, 8, 40
WIDTH_MAX = 512  # slots of the widest window: 1 600 found no more, and cost context, delay and memory
FIXED = (16, 32, 64, 128, 256)
PERIODS = ((0.5, 8, 200), (1.0, 16, 400), (2.0, 32, WIDTH_MAX), (4.0, 64, WIDTH_MAX))
SCALES = len(FIXED) + len(PERIODS)
REACH = WIDTH_MAX + SMOOTH


def widths(period_R: Tensor, slots_R: Tensor) -> Tensor:
    """Widths (R, 9) in slots: fixed ones and multiples of the row's period, at most a quarter of its history."""
    fixed_RS = torch.tensor(FIXED, device=period_R.device).expand(len(period_R), -1)
    own_RS = torch.stack([(period_R * m).long().clamp(low, high) for m, low, high in PERIODS], 1)
    quarter_R1 = (slots_R // 4).clamp_min(4).long()[:, None]
    return torch.minimum(torch.cat([fixed_RS, own_RS], 1), quarter_R1)


_LARGE = ("shape.medoid", "shape.norm", "shape.own", "shape.ends")
# Rows matched at a time: their medoids (295 KB a row) stay in the cache between being fetched and being multiplied.
_CHUNK = 16
# Windows whose features are made at a time, 1.5 MB: fewer cost calls, more fall out of the cache.
_PASS = 8192


class Signals(NamedTuple):
    """Running sums of rows, with a leading 0: the mean of any window is two look-ups."""

    sum_RX: Tensor  # float64 (R, 2(L + 1)): values, then the size of changes
    gap_RX: Tensor  # (R, L + 1): slots missing


def signals(x_RL: Tensor, rows: Rows) -> Signals:
    """Running sums of standardised rows (NaN = gap), brought to mean 0 and standard deviation 1 of training."""
    own_RL = ((x_RL - rows["shape.mean"][:, None]) / rows["shape.std"][:, None]).clamp(-CLIP, CLIP)
    return running(own_RL, rows["shape.step"])


def running(own_RL: Tensor, step_R: Tensor) -> Signals:
    """The same of rows that are standardised already."""
    gap_RL = torch.isnan(own_RL)
    own_RL = torch.where(gap_RL, 0.0, own_RL)
    change_RL = torch.nn.functional.pad(own_RL.diff(dim=1).abs(), (1, 0))
    change_RL = (change_RL / step_R[:, None]).clamp_max(_CHANGE_CLIP)
    lead = (1, 0)
    sums = [torch.nn.functional.pad(part.double().cumsum(1), lead) for part in (own_RL, change_RL)]
    return Signals(torch.cat(sums, 1), torch.nn.functional.pad(gap_RL.long().cumsum(1), lead))


def windows(of: Signals, end_RX: Tensor, width_RX: Tensor, kind_RX: Tensor) -> tuple[Tensor, Tensor]:
    """Features (R, X, T) of windows that end at slots `end_RX`, and which of them are whole (R, X)."""
    length = of.gap_RX.shape[1]
    first_RX = end_RX + 1 - width_RX
    whole_RX = first_RX >= 0
    first_RX = first_RX.clamp_min(0)
    whole_RX = whole_RX & (of.gap_RX.gather(1, end_RX + 1) == of.gap_RX.gather(1, first_RX))
    edge_T = torch.arange(POINTS + 1, device=end_RX.device, dtype=torch.float64) / POINTS
    at_RXT = first_RX[..., None] + edge_T * width_RX[..., None]
    low_RXT = at_RXT.floor().long().clamp_max(length - 2)
    part_RXT = at_RXT - low_RXT
    low_RXT = low_RXT + (kind_RX == CHANGE)[..., None] * length
    flat_RX = low_RXT.flatten(1)
    low_value, high_value = of.sum_RX.gather(1, flat_RX), of.sum_RX.gather(1, flat_RX + 1)
    sum_RXT = torch.lerp(low_value, high_value, part_RXT.flatten(1)).reshape(at_RXT.shape)
    mean_RXT = (sum_RXT.diff(dim=-1) * (POINTS / width_RX[..., None])).float()
    return normalised(mean_RXT, kind_RX), whole_RX


def normalised(mean_RXT: Tensor, kind_RX: Tensor) -> Tensor:
    """What a kind keeps of a window: its level, its shape with a soft or a hard norm, or the size of its changes."""
    centred_RXT = mean_RXT - mean_RXT.mean(-1, keepdim=True)
    std_RX = centred_RXT.square().mean(-1).sqrt()
    soft_RX = torch.where(kind_RX == SHAPE, _SOFT[SHAPE], _SOFT[FORM])
    is_centred_RX1 = ((kind_RX == SHAPE) | (kind_RX == FORM))[..., None]
    return torch.where(is_centred_RX1, centred_RXT / (std_RX + soft_RX)[..., None], mean_RXT)


def memory(history_RL: Tensor, rows: Rows) -> Tensor:
    """Features (R, V, T, P) of the medoids of stored histories (R, L): what a student is unpacked to when it loads."""
    end_RVP = rows["shape.ends"].long()
    shape = end_RVP.shape
    width_RX, kind_RX = (rows[f"shape.{n}"].long()[..., None].expand(shape).flatten(1) for n in ("width", "kind"))
    feature_RXT, _ = windows(signals(history_RL, rows), end_RVP.flatten(1), width_RX, kind_RX)
    return feature_RXT.reshape(*shape, POINTS).mT.contiguous()


def nearest(feature_RVKT: Tensor, tables: Rows, at_R: Tensor) -> Tensor:
    """Distance (R, V, K) to the nearest medoid, less its own, of rows that stand at `at_R` of the tables."""
    at = together(at_R)
    medoid_BTP, norm_BP, own_BP = (tables[f"shape.{name}"][at].flatten(0, 1) for name in ("medoid", "norm", "own"))
    feature_BKT = feature_RVKT.flatten(0, 1)
    off_BKP = torch.baddbmm(norm_BP[:, None], feature_BKT, medoid_BTP, alpha=-2.0)
    index_BK = off_BKP.argmin(-1)
    mine_BTK = medoid_BTP.gather(2, index_BK[:, None].expand(-1, POINTS, -1))
    distance_BK = (feature_BKT - mine_BTK.mT).square().sum(-1).sqrt() - OWN * own_BP.gather(1, index_BK)
    return distance_BK.reshape(feature_RVKT.shape[:3])


def together(at_R: Tensor) -> Tensor | slice:
    """The same index, as a slice where rows stand one after another: tables are then not copied."""
    first, many = int(at_R[0]), len(at_R)
    one_by_one = bool((at_R == torch.arange(first, first + many, device=at_R.device)).all())
    return slice(first, first + many) if one_by_one else at_R


def smoothing(rows: Rows) -> Tensor:
    """Slots (R) that a row's fused score is averaged over."""
    return ((mean_width(rows) * SMOOTH_SHARE).round().clamp(SMOOTH_MIN, SMOOTH)).long()


def mean_width(rows: Rows) -> Tensor:
    """Weighted mean width (R) of a row's views."""
    return (rows["shape.weight"] * rows["shape.width"]).sum(1)


class ShapeScore(NamedTuple):
    """What the shape memory says of the newest slots."""

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
    width_RX, kind_RX = (rows[f"shape.{n}"].long()[..., None].expand(shape).flatten(1) for n in ("width", "kind"))
    feature_RXT, whole_RX = windows(signals(x_RL, rows), end_K.expand(shape).flatten(1), width_RX, kind_RX)
    feature_RVKT = feature_RXT.reshape(*shape, POINTS)
    chunks = zip(torch.split(feature_RVKT, _CHUNK), torch.split(at_R, _CHUNK), strict=True)
    raw_RVK = torch.cat([nearest(feature, tables, at) for feature, at in chunks])
    unit_RVK = ((raw_RVK - rows["shape.centre"][..., None]) / rows["shape.unit"][..., None]).float()
    unit_RVK = torch.where(whole_RX.reshape(shape), unit_RVK, torch.nan)
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

"""Modes of rows: groups of values with hardly any between them, between which a row goes to and fro.

A pump runs for an hour at most, a bit rate changes every hour or two: one that runs for five hours, or changes every
minute, does nothing unusual in any single slot.

Shapes: R rows, L slots, B coarse blocks, M modes, X slots or blocks
"""

import math

import torch
from torch import Tensor

from detector.model.views.runs import CONTEXT
from detector.model.views.season import DAY_S
from detector.model.views.season_modes import CHANGES, LONGEST, MODES, Modes, at_modes, changes, lasting

_BINS, _END = 64, 0.002  # bins from one quantile of the values to the other
_SPARSE, _WIDE = 0.15, 8  # of the usual number in a bin, in so many in a row: between two modes
_SHARE, _OFTEN, _LONG = 0.02, 8, 4.0  # of the slots, stays, and slots of a stay on average: of every mode
_REACH = 0.25  # of the way to the next mode within which values are still at one
# Twice the longest stay is longer than ever; more where stays are few, or as unlike as the longest is unlike the third.
_FEW, _TWICE, _SPREAD = 3.0, 2.0, 4.0
_WEEK_S = 5 * DAY_S  # of slots, which have a weekend and workdays then
_MORE, _AND = 1.5, 3.0  # the same of changes: so many times the most, and so many


def modes(slot_RL: Tensor, block_RB: Tensor, per_block: int, interval_s: float) -> Modes:
    """Modes of rows; `per_block` slots of so many seconds are a block. NaN is no value, and interrupts nothing."""
    rows = [_modes(slot_L, block_B, per_block, interval_s) for slot_L, block_B in zip(slot_RL, block_RB, strict=True)]
    return Modes(*(torch.stack(part) for part in zip(*rows, strict=True)))


def _modes(slot_L: Tensor, block_B: Tensor, per_block: int, interval_s: float) -> Modes:
    [there] = torch.isfinite(slot_L).nonzero(as_tuple=True)
    slot_L, block_B = slot_L[there], block_B[torch.isfinite(block_B)]
    zero_M = torch.zeros(MODES)
    none = Modes(zero_M, zero_M, zero_M, torch.zeros(()))
    ranges = _ranges(slot_L)
    if not ranges:
        return none
    low_M, high_M = torch.full((2, MODES), torch.nan)
    low_M[: len(ranges)], high_M[: len(ranges)] = torch.tensor(ranges).T
    slot_mode_L, block_mode_B = (at_modes(x[None], low_M[None], high_M[None]) for x in (slot_L, block_B))
    last_L = lasting(slot_mode_L)
    fine = [_stays(last_L, m) for m in range(len(ranges))]
    if any(len(each) < _OFTEN for each in fine):
        return none
    stay_M = torch.full((MODES,), torch.inf)
    for m, each in enumerate(fine):
        # Within a block that is at a mode all slots are, mostly; it begins before the first and ends after the last.
        stay_M[m] = _longer(each, (_stays(block_mode_B, m) + 1) * per_block)
    # Of changes nothing is known but by slots: those of a weekend say nothing of a Monday.
    known = int(there[-1] - there[0] + 1) * interval_s >= _WEEK_S
    often = changes(last_L).max() * _MORE + _AND if known else torch.tensor(torch.inf)
    return Modes(
        low_M, high_M, torch.where(stay_M < LONGEST, stay_M, torch.inf), torch.where(often < CHANGES, often, torch.inf)
    )


def _stays(mode_1X: Tensor, mode: int) -> Tensor:
    """Lengths of the stays at a mode, as far as they are followed."""
    value, many = torch.unique_consecutive(mode_1X[0], return_counts=True)
    found: Tensor = many[value == mode].clamp_max(CONTEXT).float()
    return found


def _longer(*lengths: Tensor) -> Tensor:
    """What would be longer than ever, by stays of slots and of blocks."""
    longest, third = (
        torch.stack([s.topk(place).values[-1] for s in lengths if len(s) >= place]).max() for place in (1, 3)
    )
    return longest * (1.0 + _FEW / len(lengths[0])) * (longest / third).clamp(_TWICE, _SPREAD)


def _ranges(values: Tensor) -> list[tuple[float, float]]:
    """Lowest and highest of each mode; none of a row that has no two."""
    if len(values) < CONTEXT:
        return []
    low, high = values.quantile(torch.tensor([_END, 1.0 - _END])).tolist()
    gaps = _gaps(values, low, high)
    while gaps:
        which = torch.bucketize(values, torch.tensor([0.5 * (start + end) for start, end in gaps]))
        many, stays = (x.bincount(minlength=len(gaps) + 1) for x in (which, which[1:][which.diff() != 0]))
        poor = ((many < _SHARE * len(values)) | (stays < _OFTEN) | (many < _LONG * stays)).nonzero().flatten().tolist()
        if not poor:
            break
        beside = {i for mode in poor for i in (mode - 1, mode) if 0 <= i < len(gaps)}
        gaps.pop(min(beside, key=lambda i: gaps[i][1] - gaps[i][0]))
    if not gaps:
        return []
    reach = [_REACH * (end - start) for start, end in gaps]
    starts = [-math.inf, *(end - by for (_, end), by in zip(gaps, reach, strict=True))]
    ends = [*(start + by for (start, _), by in zip(gaps, reach, strict=True)), math.inf]
    return list(zip(starts, ends, strict=True))


def _gaps(values: Tensor, low: float, high: float) -> list[tuple[float, float]]:
    """The widest gaps, at most one fewer than there may be modes, in order."""
    width = (high - low) / _BINS
    if not width > 0:
        return []
    many = ((values - low) / width).long().clamp(0, _BINS - 1).bincount(minlength=_BINS)
    sparse = (many < _SPARSE * len(values) / _BINS).tolist()
    gaps, begun = [], 0
    for at in range(_BINS + 1):
        if at == _BINS or not sparse[at]:
            if at - begun >= _WIDE and begun > 0 and at < _BINS:
                gaps.append((low + begun * width, low + at * width))
            begun = at + 1
    return sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[: MODES - 1])

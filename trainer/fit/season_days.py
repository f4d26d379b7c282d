"""Histories as days: what the fit of a season bank learns from, laid out by local day and phase.

Shapes: R rows, B coarse blocks, L slots, D days (the last AHEAD are still to come), K phases (blocks of a day).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.views.season import DAY_S

MEMORY_DAYS = 35  # a day is forecast from the newest of these
AHEAD = 7


class History(NamedTuple):
    """Blocks and slots to learn from, those of incidents included."""

    block_RB: Tensor  # consecutive, oldest first
    block_local_RB: Tensor  # local Unix seconds of their starts
    slot_RL: Tensor
    slot_local_RL: Tensor
    interval_s: int
    block_s: int
    out_RB: Tensor  # blocks and slots that an incident covers
    out_RL: Tensor
    since: Tensor  # block at which a lasting new level began; what is older is brought to it


class Days(NamedTuple):
    value_RDK: Tensor
    first_R: Tensor  # local day of the first
    weekday_RD: Tensor
    at_RB: Tensor  # place of each block in a row's D·K


def levelled(h: History) -> History:
    """What was before a lasting new level, moved to it: by the median of what each phase of the day has changed."""
    block_RB, slot_RL = h.block_RB.clone(), h.slot_RL.clone()
    for row in torch.nonzero(h.since > 0).flatten().tolist():
        since = int(h.since[row])
        per_week = 14 * DAY_S // h.block_s
        old = _usual(h, row, slice(max(0, since - per_week), since))
        new = _usual(h, row, slice(since, since + per_week))
        factor, by = _line(old, new)
        block_RB[row, :since] = block_RB[row, :since] * factor + by
        older = h.slot_local_RL[row] < h.block_local_RB[row, since]
        slot_RL[row, older] = slot_RL[row, older] * factor + by
    return h._replace(block_RB=block_RB, slot_RL=slot_RL)


def _usual(h: History, row: int, part: slice) -> Tensor:
    """Median of each phase of workdays, then of weekends, in a part of one row's history."""
    per_day = DAY_S // h.block_s
    local, value = h.block_local_RB[row, part], h.block_RB[row, part]
    value = torch.where(h.out_RB[row, part], torch.nan, value)
    day, phase = local // DAY_S, local % DAY_S // h.block_s
    end = ((day + 3) % 7 >= 5).long()
    grid = torch.full((2, per_day, int(day[-1] - day[0]) + 1), torch.nan)
    grid[end, phase, day - day[0]] = value
    return median(grid).flatten()


def _line(old_K: Tensor, new_K: Tensor) -> tuple[float, float]:
    """Factor and offset that bring an old day to the new one; 1 and the median change where the day has no shape."""
    both = torch.isfinite(old_K) & torch.isfinite(new_K)
    if int(both.sum()) < 24:
        return 1.0, float(median(new_K - old_K).nan_to_num())
    old, new = old_K[both], new_K[both]
    around_old, around_new = old - old.mean(), new - new.mean()
    like = float((around_old * around_new).sum() / (around_old.norm() * around_new.norm() + 1e-12))
    factor = float(around_new.norm() / (around_old.norm() + 1e-12)) if like > 0.8 else 1.0
    return factor, float((new - factor * old).median())


def recent(h: History) -> History:
    """The history without what is older than the memory."""
    keep = MEMORY_DAYS * DAY_S // h.block_s
    return h._replace(
        block_RB=h.block_RB[:, -keep:].float(), block_local_RB=h.block_local_RB[:, -keep:], out_RB=h.out_RB[:, -keep:]
    )


def block_of(h: History) -> Tensor:
    """Which block each slot (R, L) lies in; −1: in one that is older, not complete yet or not known.

    In the hour that comes twice when clocks are set back, it may be the other one.
    """
    starts_RB = h.block_local_RB.cummax(-1).values.contiguous()
    at_RL = torch.searchsorted(starts_RB, h.slot_local_RL.contiguous(), right=True) - 1
    inside = (at_RL >= 0) & (h.slot_local_RL - starts_RB.gather(1, at_RL.clamp_min(0)) < h.block_s)
    return torch.where(inside, at_RL, -1)


def habits(days: Days, left_out: Days) -> Tensor:
    """Left-out blocks (R, B) whose phase was left out on most days of that part of the week: that is how things are."""
    known, out = torch.isfinite(days.value_RDK), torch.isfinite(left_out.value_RDK)
    end = (days.weekday_RD >= 5)[..., None]
    newest = (torch.arange(known.shape[1]) >= known.shape[1] - AHEAD - 14)[None, :, None]
    habit_RDK = torch.zeros_like(known)
    weeks = (torch.arange(known.shape[1]) >= known.shape[1] - AHEAD - 28)[None, :, None]
    weekdays = [(days.weekday_RD == w)[..., None] & weeks for w in range(7)]
    for part in (end & newest, ~end & newest, *weekdays):
        many_out, many = ((x & part).sum(1, keepdim=True) for x in (out, known | out))
        habit_RDK |= part & (many_out >= 2) & (2 * many_out >= many)
    # the first two days of a part of the week, if others were known before: what was surprising was the day itself
    for part in (end, ~end):
        seen = (known | out).any(-1, keepdim=True)
        before, others = ((seen & p).cumsum(1) for p in (part, ~part))
        habit_RDK |= part & (before <= 2) & (others >= 2)
    return habit_RDK.flatten(1).gather(-1, days.at_RB)


def place_of(local: Tensor, first_R: Tensor, per_day: int) -> Tensor:
    """Place in D·K of local seconds (what is older than the first day: its phase in the first)."""
    at = (local - first_R[:, None] * DAY_S) // (DAY_S // per_day)
    return torch.where(at < 0, at % per_day, at)


def grid(h: History, without_RB: Tensor) -> Days:
    """Days of blocks, NaN where there is none or it is to be left out."""
    per_day = DAY_S // h.block_s
    first_R = h.block_local_RB[:, 0] // DAY_S
    last = int((h.block_local_RB[:, -1] // DAY_S - first_R).max())
    count = last + 1 + AHEAD
    rows = h.block_RB.shape[0]
    at_RB = place_of(h.block_local_RB, first_R, per_day)
    value = torch.full((rows, count * per_day), torch.nan).scatter(
        1, at_RB, torch.where(without_RB, torch.nan, h.block_RB)
    )
    weekday_RD = (first_R[:, None] + torch.arange(count) + 3) % 7
    return Days(value.view(rows, count, per_day), first_R, weekday_RD, at_RB)


def median(x: Tensor) -> Tensor:
    """Median along the last dimension of what is there, the mean of the middle two; NaN where nothing is."""
    many = torch.isfinite(x).sum(-1, keepdim=True)
    ordered = torch.where(torch.isfinite(x), x, torch.inf).sort(-1).values
    low, high = ((many - 1) // 2).clamp_min(0), (many // 2).clamp_max(x.shape[-1] - 1)
    mid = 0.5 * (ordered.gather(-1, low) + ordered.gather(-1, high))
    return torch.where(many > 0, mid, torch.nan)[..., 0]


def quantile(x: Tensor, share: float) -> Tensor:
    """Quantile along the last dimension of what is there; NaN where nothing is."""
    many = torch.isfinite(x).sum(-1, keepdim=True)
    ordered = torch.where(torch.isfinite(x), x, torch.inf).sort(-1).values
    at = ((many - 1).clamp_min(0) * share).round().long()
    return torch.where(many > 0, ordered.gather(-1, at), torch.nan)[..., 0]

"""Fits a season bank: which season a row has, what is usual at each of its phases, how widely it scatters there.

A day is forecast from earlier days alone (of the row, of workdays or weekends, of the same weekday; as values or from
the level of the day before), which is what the bank will do for the next week. The forecast that errs least is the
row's season, and its errors are what scales and tails are made of: nothing is calibrated on what it was learnt from.

Shapes: R rows, B coarse blocks, L slots, D days (the last 7 are still to come), K phases (blocks of a day), N others.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from detector import season, tailfit
from detector.season import DAY_S, FEW, STATISTICS, Bank

# Season and whether values are counted from the level of the day before.
SEASONS = ("none", "day", "weekend", "weekday")
_KINDS = tuple((s, anchored) for anchored in (False, True) for s in SEASONS)
# What a richer forecast must save to be believed: it has fewer days to learn from.
_PRICE = torch.tensor([1.0, 1.0, 0.97, 0.94, 0.97, 0.97, 0.94, 0.91])
MEMORY_DAYS = 35  # a day is forecast from the newest of these
_OTHERS = 7  # days a forecast is the median of
_AHEAD = 7
_SCALE_DAYS = 21


class History(NamedTuple):
    """Blocks and slots to learn from; NaN where there is nothing or an incident was."""

    block_RB: Tensor  # consecutive, oldest first
    block_local_RB: Tensor  # local Unix seconds of their starts
    slot_RL: Tensor
    slot_local_RL: Tensor
    interval_s: int
    block_s: int
    since_R: Tensor  # block at which a lasting new level began; what is older is brought to it


class _Days(NamedTuple):
    value_RDK: Tensor
    first_R: Tensor  # local day of the first
    weekday_RD: Tensor
    at_RB: Tensor  # place of each block in a row's D·K


def fit(history: History, previous: Bank | None = None) -> Bank:
    """Students of all rows; rows without two days of data have no season and hardly a tail."""
    history = _recent(_levelled(history))
    days = _grid(history)
    forecast_RDK, season_R = _forecast(days)
    per_day = days.value_RDK.shape[-1]
    mid_RW = _week(days, forecast_RDK)
    low_RDK, high_RDK = (f.reshape(forecast_RDK.shape) for f in season.envelope(forecast_RDK.flatten(1)))

    floor_R = _floor(history)
    error_RDK = (days.value_RDK - forecast_RDK)[:, : -_AHEAD]
    block_scale_RK = _scales(error_RDK[:, -_SCALE_DAYS:, :, None], floor_R)
    slot_at_RL = _place(history.slot_local_RL, days.first_R, per_day)
    error_RL = history.slot_RL - forecast_RDK.flatten(1).gather(-1, slot_at_RL)
    slot_scale_RK = _slot_scales(error_RL, history, block_scale_RK, floor_R)

    flat_low, flat_high = low_RDK.flatten(1), high_RDK.flatten(1)
    phase_RB, phase_RL = days.at_RB % per_day, slot_at_RL % per_day
    slot_z_RL = season.departures(
        history.slot_RL, flat_low.gather(-1, slot_at_RL), flat_high.gather(-1, slot_at_RL), slot_scale_RK.gather(-1, phase_RL)
    )
    scale_RB = block_scale_RK.gather(-1, phase_RB)
    loose_RB = season.departures(history.block_RB, flat_low.gather(-1, days.at_RB), flat_high.gather(-1, days.at_RB), scale_RB)
    mid_RB = forecast_RDK.flatten(1).gather(-1, days.at_RB)
    plain_RB = season.departures(history.block_RB, mid_RB, mid_RB, scale_RB)
    stats = season.averages(slot_z_RL, loose_RB, plain_RB, history.interval_s, history.block_s)
    day_RB, day_RL = days.at_RB // per_day, slot_at_RL // per_day
    count = days.value_RDK.shape[1] - _AHEAD
    # Slots of slow streams tell no more than their blocks, which reach further back than the fine ring.
    coarse_RB = loose_RB * scale_RB / slot_scale_RK.gather(-1, phase_RB)
    day_R = days.first_R + count - 1
    tails, worsts = [], []
    for sign in (1.0, -1.0):
        for s, stat in zip(STATISTICS, stats, strict=True):
            worst_RD = tailfit.worst(sign * stat, day_RL if s.fine else day_RB, count)
            if s.fine:
                worst_RD = _remembered(worst_RD, len(worsts), day_R, previous)
                worsts.append(_newest(worst_RD))
                worst_RD = torch.maximum(worst_RD, tailfit.worst(sign * coarse_RB, day_RB, count))
            tails.append(tailfit.fit(sign * stat, worst_RD))
    few_R, values_RV, longest_RV = _states(history.slot_RL, previous)
    return Bank(
        mid_RW=mid_RW,
        slot_scale_RK=slot_scale_RK,
        block_scale_RK=block_scale_RK,
        tails_RSC=torch.stack(tails, 1),
        trust_RD=_trust(days),
        few_R=few_R,
        values_RV=values_RV,
        longest_RV=longest_RV,
        worst_RSD=torch.stack(worsts, 1),
        day_R=day_R,
        season_R=season_R,
    )


def _newest(worst_RD: Tensor) -> Tensor:
    """The last MEMORY_DAYS days, −inf where there are not so many."""
    return torch.nn.functional.pad(worst_RD, (MEMORY_DAYS, 0), value=-torch.inf)[:, -MEMORY_DAYS:]


def _remembered(worst_RD: Tensor, which: int, day_R: Tensor, previous: Bank | None) -> Tensor:
    """Largest departures of days that the fine ring no longer holds, from the previous students."""
    if previous is None:
        return worst_RD
    days = torch.arange(worst_RD.shape[1]) - worst_RD.shape[1] + 1
    at_RD = MEMORY_DAYS - 1 + days + (day_R - previous.day_R)[:, None]
    known = (at_RD >= 0) & (at_RD < MEMORY_DAYS)
    old_RD = previous.worst_RSD[:, which].gather(-1, at_RD.clamp(0, MEMORY_DAYS - 1))
    return torch.where(torch.isfinite(worst_RD) | ~known, worst_RD, old_RD)


def _levelled(h: History) -> History:
    """What was before a lasting new level, moved to it: by the median of what each phase of the day has changed."""
    blocks = h.block_RB.shape[1]
    per_day = DAY_S // h.block_s
    at = torch.arange(blocks)
    block_RB, slot_RL = h.block_RB.clone(), h.slot_RL.clone()
    for row in torch.nonzero(h.since_R > 0).flatten().tolist():
        since = int(h.since_R[row])
        phase = (at + int(h.block_local_RB[row, 0]) // h.block_s) % per_day
        old = torch.full((7, per_day), torch.nan)
        new = torch.full((7, per_day), torch.nan)
        before, after = at[max(0, since - 7 * per_day) : since], at[since : since + 7 * per_day]
        old[(before - before[0]) // per_day, phase[before]] = block_RB[row, before]
        new[(after - after[0]) // per_day, phase[after]] = block_RB[row, after]
        by = median(median(new.T) - median(old.T)).nan_to_num()
        block_RB[row, :since] += by
        slot_RL[row, h.slot_local_RL[row] < h.block_local_RB[row, since]] += by
    return h._replace(block_RB=block_RB, slot_RL=slot_RL)


def _recent(h: History) -> History:
    """The history without what is older than the memory."""
    keep = MEMORY_DAYS * DAY_S // h.block_s
    return h._replace(block_RB=h.block_RB[:, -keep:].float(), block_local_RB=h.block_local_RB[:, -keep:])


def _place(local: Tensor, first_R: Tensor, per_day: int) -> Tensor:
    """Place in D·K of local seconds (what is older than the first day: its phase in the first)."""
    at = (local - first_R[:, None] * DAY_S) // (DAY_S // per_day)
    return torch.where(at < 0, at % per_day, at)


def _grid(h: History) -> _Days:
    per_day = DAY_S // h.block_s
    first_R = h.block_local_RB[:, 0] // DAY_S
    last = int((h.block_local_RB[:, -1] // DAY_S - first_R).max())
    count = last + 1 + _AHEAD
    rows = h.block_RB.shape[0]
    at_RB = _place(h.block_local_RB, first_R, per_day)
    value = torch.full((rows, count * per_day), torch.nan).scatter(1, at_RB, h.block_RB)
    weekday_RD = (first_R[:, None] + torch.arange(count) + 3) % 7
    return _Days(value.view(rows, count, per_day), first_R, weekday_RD, at_RB)


def _forecast(days: _Days) -> tuple[Tensor, Tensor]:
    """The least erring forecast (R, D, K) of each row, and its season."""
    value_RDK = days.value_RDK
    shape_RK = median(torch.where(_full(value_RDK), value_RDK - median(value_RDK)[..., None], torch.nan).transpose(1, 2))
    level_RD = _carried(median(value_RDK - torch.nan_to_num(shape_RK)[:, None]))
    before_RD = torch.cat([level_RD[:, :1], level_RD[:, :-1]], 1)[..., None]
    groups = list(zip(_groups(days.weekday_RD), (1, 1, 2), strict=True))
    forecasts = []
    for base in (torch.zeros_like(before_RD), before_RD):
        found = [_from_others(value_RDK - base, member, least) + base for member, least in groups]
        flat = _flat(value_RDK - base, groups[0][0]) + base
        forecasts += [flat.expand_as(value_RDK), *found]
    errors = torch.stack([_against(value_RDK, f, forecasts[1]) for f in forecasts], 1)
    # What a richer season has not seen yet is forecast from a plainer one.
    for i in range(len(forecasts)):
        for plainer in (*range(i - 1, i - i % 4 - 1, -1), 0):
            forecasts[i] = torch.where(torch.isfinite(forecasts[i]), forecasts[i], forecasts[plainer])
    best_R = (errors * _PRICE).nan_to_num(torch.inf).argmin(-1)
    stacked = torch.stack(forecasts, 1)
    chosen = stacked.gather(1, best_R[:, None, None, None].expand(-1, 1, *value_RDK.shape[1:]))[:, 0]
    middle = median(value_RDK.flatten(1))[:, None, None]
    return torch.where(torch.isfinite(chosen), chosen, middle).nan_to_num(), best_R % 4


def _full(value_RDK: Tensor) -> Tensor:
    return (torch.isfinite(value_RDK).float().mean(-1, keepdim=True) > 0.9).expand_as(value_RDK)


def _carried(level_RD: Tensor) -> Tensor:
    """Levels of days, the last known where one has none."""
    known = torch.isfinite(level_RD)
    at = torch.where(known, torch.arange(level_RD.shape[1]), -1).cummax(-1).values
    first = torch.where(known, torch.arange(level_RD.shape[1]), level_RD.shape[1] - 1).amin(-1, keepdim=True)
    return level_RD.gather(-1, torch.where(at < 0, first, at)).nan_to_num()


def _groups(weekday_RD: Tensor) -> list[Tensor]:
    """Which days may say something about which (R, D, D): all, those of the same part of the week, the same weekday."""
    end = weekday_RD >= 5
    return [
        torch.ones_like(end)[:, :, None].expand(-1, -1, end.shape[1]),
        end[:, :, None] == end[:, None],
        weekday_RD[:, :, None] == weekday_RD[:, None],
    ]


def _nearest(value_RDK: Tensor, member_RDD: Tensor) -> tuple[Tensor, Tensor]:
    """Newest earlier days of the group (later ones for days that have fewer than two), as indices and whether there are so many."""
    count = value_RDK.shape[1]
    day = torch.arange(count)
    back = day[:, None] - day[None]
    there = (torch.isfinite(value_RDK).float().mean(-1) > 0.25)[:, None]
    earlier = member_RDD & there & (back > 0)
    few = earlier.sum(-1, keepdim=True) < 2
    later = member_RDD & there & (back < 0) & few
    key = torch.where(earlier, back.float(), torch.where(later, count - back.float(), torch.inf))
    near = key.topk(min(_OTHERS, count), -1, largest=False)
    return near.indices, torch.isfinite(near.values)


def _from_others(value_RDK: Tensor, member_RDD: Tensor, least: int) -> Tensor:
    """Median of the other days at each phase; days that have but later ones take no more than two of them."""
    which, known = _nearest(value_RDK, member_RDD)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    known = known & (known.sum(-1, keepdim=True) >= least)
    others = torch.where(known[..., None], value_RDK[rows, which], torch.nan)
    return median(others.transpose(2, 3))


def _flat(value_RDK: Tensor, member_RDD: Tensor) -> Tensor:
    """One number a day: the median of all phases of the other days' medians."""
    which, known = _nearest(value_RDK, member_RDD)
    middle_RD = median(value_RDK)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    return median(torch.where(known, middle_RD[rows, which], torch.nan))[..., None]


def _against(value_RDK: Tensor, forecast_RDK: Tensor, plain_RDK: Tensor) -> Tensor:
    """Mean error of a forecast in that of the day's profile, where both are known: at least two days.

    The worst 2 % of the blocks count no more than those that follow.
    """
    both = torch.isfinite(value_RDK) & torch.isfinite(forecast_RDK) & torch.isfinite(plain_RDK)
    means = []
    for f in (forecast_RDK, plain_RDK):
        error = torch.where(both, (value_RDK - f).abs(), torch.nan).flatten(1)
        means.append(torch.minimum(error, quantile(error, 0.98)[:, None]).nanmean(-1))
    enough = both.flatten(1).sum(-1) >= 1.5 * value_RDK.shape[-1]
    return torch.where(enough, means[0] / (means[1] + 1e-12), torch.inf)


def _week(days: _Days, forecast_RDK: Tensor) -> Tensor:
    """The forecast of the next seven days, from Monday on."""
    order = days.weekday_RD[:, -_AHEAD:].argsort(-1)
    ahead = forecast_RDK[:, -_AHEAD:]
    return ahead.gather(1, order[..., None].expand_as(ahead)).flatten(1)


def _floor(h: History) -> Tensor:
    """Smallest scale of a row: a twentieth of what one slot usually differs from the next, or of float16's steps."""
    step = (h.slot_RL[:, 1:] - h.slot_RL[:, :-1]).double()
    many = torch.isfinite(step).sum(-1).clamp_min(1)
    size = torch.sqrt(step.nan_to_num().square().sum(-1) / many).float()
    return 0.05 * size + 1e-4 * h.slot_RL.abs().nan_to_num().amax(-1) + 1e-9


def _near(error_RDKM: Tensor, reach: int, step: int) -> Tensor:
    """All errors of the neighbouring phases (R, K, N)."""
    rolled = [error_RDKM.roll(s, 2) for s in range(-reach, reach + 1, step)]
    return torch.cat(rolled, -1).transpose(1, 2).flatten(2)


def _scales(error_RDKM: Tensor, floor_R: Tensor) -> Tensor:
    """Scale of each phase: of the bulk, of the 90 % quantile and of what is rare within the hour, whichever is largest."""
    per_day = error_RDKM.shape[2]
    reach = max(1, round(600 * per_day / DAY_S))
    near = _near(error_RDKM.abs(), reach, 1)
    bulk, rare = quantile(near, 0.5) / 0.6745, quantile(near, 0.9) / 1.645
    wide = _near(error_RDKM.abs(), max(1, 3600 * per_day // DAY_S), max(1, 600 * per_day // DAY_S))
    cap = quantile(wide, 0.995)[..., None]
    many = torch.isfinite(wide).sum(-1).clamp_min(1)
    root = torch.sqrt(torch.minimum(wide, cap).nan_to_num().square().sum(-1) / many)
    whole = (quantile(error_RDKM.abs().flatten(1), 0.5) / 0.6745)[:, None]
    scale = torch.stack([bulk, rare, 0.6 * root, (0.3 * whole).expand_as(bulk)]).nan_to_num().amax(0)
    soft = max(1, round(900 * per_day / DAY_S))
    smooth = torch.stack([scale.roll(s, -1) for s in range(-soft, soft + 1)]).mean(0)
    return torch.maximum(smooth, floor_R[:, None])


def _slot_scales(error_RL: Tensor, h: History, block_scale_RK: Tensor, floor_R: Tensor) -> Tensor:
    """Scale of single slots by phase; phases the ring does not hold: as much wider than blocks as elsewhere."""
    per_day = block_scale_RK.shape[-1]
    first = (h.slot_local_RL[:, 0] // DAY_S)[:, None] * DAY_S
    place = (h.slot_local_RL - first) // h.interval_s
    slots = DAY_S // h.interval_s
    count = int(place.max()) // slots + 1
    grid = torch.full((error_RL.shape[0], count * slots), torch.nan).scatter(1, place, error_RL)
    grid = grid.view(error_RL.shape[0], count, per_day, slots // per_day)
    # a fine ring of one second has 300 slots a block: 30 of them say the same
    grid = grid[..., :: max(1, slots // per_day // 30)]
    scale = _scales(grid, floor_R)
    known = torch.isfinite(grid).flatten(3).any(-1).any(1)
    ratio = quantile(torch.where(known, scale / block_scale_RK, torch.nan), 0.5)[:, None].nan_to_num(1.0)
    return torch.where(known, scale, torch.maximum(ratio * block_scale_RK, floor_R[:, None]))


def _trust(days: _Days) -> Tensor:
    """By weekday, how far a row's history can speak of it: less in its first days, and of a part of the week never seen."""
    seen = torch.isfinite(days.value_RDK).float().mean(-1) > 0.5
    end = days.weekday_RD >= 5
    known = seen.sum(-1, keepdim=True)
    ends, works = (seen & end).sum(-1, keepdim=True), (seen & ~end).sum(-1, keepdim=True)
    like = torch.where(torch.arange(7)[None] >= 5, ends, works).float()
    young = (known / 4.0).clamp_max(1.0)
    return young * torch.where(like >= 1, 1.0, 0.3)


def _states(slot_RL: Tensor, previous: Bank | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of few values: which, and the longest run of each; of other rows the longest run of any."""
    rows = []
    runs_RL = season.run_lengths(slot_RL)
    for x, run in zip(slot_RL, runs_RL, strict=True):
        there = torch.isfinite(x)
        values, counts = torch.unique(x[there], return_counts=True)
        rows.append(_row_states(x, run, values, counts))
    few, value, longest = (torch.stack(part) for part in zip(*rows, strict=True))
    return few, value, longest


def _row_states(x: Tensor, run: Tensor, values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    few = len(values) <= FEW
    value, longest = torch.full((FEW,), torch.nan), torch.zeros(FEW)
    if few:
        value[: len(values)] = values
        for i, v in enumerate(values):
            longest[i] = run[x == v].max()
    elif len(values):
        longest[0] = run.max()
    return torch.tensor(few), value, longest


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

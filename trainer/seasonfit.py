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
SEASONS = (
    *("none", "day", "weekend", "weekday"),
    *("none, from yesterday's level", "day, from yesterday's level"),
    *("weekend, from yesterday's level", "weekday, from yesterday's level"),
)
# What a richer forecast must save to be believed: it has fewer days to learn from.
_PRICE = math.log(0.97)
MEMORY_DAYS = 35  # a day is forecast from the newest of these
_OTHERS = 7  # days a forecast is the median of
_AHEAD = 7
_SCALE_DAYS = 21
_LEAST = 0.25  # smallest scale of a tail, in scales of the departures: calm history says little about how calm
_STAYS = 5  # slots that each value of a row of states has lasted
_GRAINS = 1.2  # a count more or less is no departure where counts are rare


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
    since_R: Tensor  # block at which a lasting new level began; what is older is brought to it


class _Days(NamedTuple):
    value_RDK: Tensor
    first_R: Tensor  # local day of the first
    weekday_RD: Tensor
    at_RB: Tensor  # place of each block in a row's D·K


def fit(history: History, previous: Bank | None = None) -> Bank:
    """Students of all rows; rows without two days of data have no season and hardly a tail."""
    history = _recent(_levelled(history))
    days = _grid(history, history.out_RB)
    out_RB = history.out_RB & ~_habits(days, _grid(history, ~history.out_RB))
    days = _grid(history, out_RB)
    forecast_RDK, mean_RDK, own_RDK, season_R = _forecast(days)
    per_day = days.value_RDK.shape[-1]
    mid_RW, mean_RW = _week(days, forecast_RDK), _week(days, mean_RDK)
    flat_low, flat_high = season.envelope(forecast_RDK.flatten(1))

    floor_R = _floor(history)
    slot_at_RL = _place(history.slot_local_RL, days.first_R, per_day)
    slot_low_RL, slot_high_RL = flat_low.gather(-1, slot_at_RL), flat_high.gather(-1, slot_at_RL)
    own_RB, own_RL = own_RDK.flatten(1).gather(-1, days.at_RB), own_RDK.flatten(1).gather(-1, slot_at_RL)
    kept_RL = torch.where(history.out_RL | ~own_RL, torch.nan, history.slot_RL)
    kept_RB = torch.where(out_RB | ~own_RB, torch.nan, history.block_RB)
    kept_RDK = torch.where(own_RDK, days.value_RDK, torch.nan)
    # What onsets shift by is no scatter: a job that starts when it likes within ten minutes is missed all the same.
    loose_RDK = outside(kept_RDK, flat_low.view_as(forecast_RDK), flat_high.view_as(forecast_RDK))
    grain_R = _grain(history)
    per_block = history.block_s // history.interval_s
    plain_scale_RK = _scales((kept_RDK - mean_RDK)[:, -_SCALE_DAYS - _AHEAD : -_AHEAD, :, None], floor_R)
    block_floor_RK = torch.maximum(torch.maximum(floor_R, grain_R / per_block)[:, None], 0.3 * plain_scale_RK)
    block_scale_RK = _scales(loose_RDK[:, -_SCALE_DAYS - _AHEAD : -_AHEAD, :, None], floor_R).maximum(block_floor_RK)
    plain_scale_RK = plain_scale_RK.maximum(block_floor_RK)
    slot_scale_RK = _slot_scales(
        outside(kept_RL, slot_low_RL, slot_high_RL), history, block_scale_RK, torch.maximum(floor_R, grain_R)
    )

    phase_RB, phase_RL = days.at_RB % per_day, slot_at_RL % per_day
    scale_RB, scale_RL = block_scale_RK.gather(-1, phase_RB), slot_scale_RK.gather(-1, phase_RL)
    plain_scale_RB = plain_scale_RK.gather(-1, phase_RB)
    day_RB, day_RL = days.at_RB // per_day, slot_at_RL // per_day
    count = days.value_RDK.shape[1] - _AHEAD
    day_R = days.first_R + count - 1
    mid_RB = mean_RDK.flatten(1).gather(-1, days.at_RB)

    def departed(slot_RL: Tensor, block_RB: Tensor) -> tuple[list[Tensor], Tensor]:
        slot_z_RL = season.departures(slot_RL, slot_low_RL, slot_high_RL, scale_RL)
        loose_RB = season.departures(block_RB, flat_low.gather(-1, days.at_RB), flat_high.gather(-1, days.at_RB), scale_RB)
        plain_RB = season.departures(block_RB, mid_RB, mid_RB, plain_scale_RB)
        # Slots of slow streams tell no more than their blocks, which reach further back than the fine ring.
        coarse_RB = loose_RB * scale_RB / slot_scale_RK.gather(-1, phase_RB)
        scaled_RB = block_RB / plain_scale_RB
        return season.averages(slot_z_RL, loose_RB, plain_RB, scaled_RB, history.interval_s, history.block_s), coarse_RB

    kept, kept_coarse_RB = departed(kept_RL, kept_RB)
    whole, whole_coarse_RB = departed(
        torch.where(own_RL, history.slot_RL, torch.nan), torch.where(own_RB, history.block_RB, torch.nan)
    )
    sum_scale_RNK = torch.stack([_sum_scale(kept[i], days.at_RB, per_day) for i in season.SUMS], 1)
    for stats in (kept, whole):
        for i, s in enumerate(season.SUMS):
            stats[s] = stats[s] / sum_scale_RNK[:, i].gather(-1, phase_RB)
    slow_R = _slowness(kept_RB - mid_RB, history.block_s)
    tails, worsts = [], []
    for sign in (1.0, -1.0):
        for s, stat, all_stat in zip(STATISTICS, kept, whole, strict=True):
            place = day_RL if s.fine else day_RB
            both = [tailfit.worst(sign * x, place, count) for x in (stat, all_stat)]
            if s.fine:
                both = [_remembered(x, len(worsts) + i, day_R, previous) for i, x in enumerate(both)]
                worsts += [_newest(x) for x in both]
                more = [tailfit.worst(sign * x, day_RB, count) for x in (kept_coarse_RB, whole_coarse_RB)]
                both = [torch.maximum(x, y) for x, y in zip(both, more, strict=True)]
            blocks = 1 if s.fine else season.slots_of(s.seconds, history.block_s)
            tails.append(tailfit.fit(sign * stat, both[0], both[1], _LEAST / math.sqrt(blocks), slow_R))
    few_R, values_RV, longest_RV = _states(torch.where(history.out_RL, torch.nan, history.slot_RL), previous)
    return Bank(
        mid_RW=mid_RW,
        mean_RW=mean_RW,
        slot_scale_RK=slot_scale_RK,
        block_scale_RK=block_scale_RK,
        plain_scale_RK=plain_scale_RK,
        sum_scale_RNK=sum_scale_RNK,
        tails_RSC=torch.stack(tails, 1),
        trust_RD=_trust(days),
        few_R=few_R,
        values_RV=values_RV,
        longest_RV=longest_RV,
        worst_RSD=torch.stack(worsts, 1),
        day_R=day_R,
        season_R=season_R,
    )


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
    block_RB, slot_RL = h.block_RB.clone(), h.slot_RL.clone()
    for row in torch.nonzero(h.since_R > 0).flatten().tolist():
        since = int(h.since_R[row])
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
        factor, by = _line(median(old.T), median(new.T))
        block_RB[row, :since] = block_RB[row, :since] * factor + by
        older = h.slot_local_RL[row] < h.block_local_RB[row, since]
        slot_RL[row, older] = slot_RL[row, older] * factor + by
    return h._replace(block_RB=block_RB, slot_RL=slot_RL)


def _recent(h: History) -> History:
    """The history without what is older than the memory."""
    keep = MEMORY_DAYS * DAY_S // h.block_s
    return h._replace(
        block_RB=h.block_RB[:, -keep:].float(), block_local_RB=h.block_local_RB[:, -keep:], out_RB=h.out_RB[:, -keep:]
    )


def _habits(days: _Days, left_out: _Days) -> Tensor:
    """Left-out blocks (R, B) whose phase was left out on most days of that part of the week: that is how things are."""
    known, out = torch.isfinite(days.value_RDK), torch.isfinite(left_out.value_RDK)
    end = (days.weekday_RD >= 5)[..., None]
    newest = (torch.arange(known.shape[1]) >= known.shape[1] - _AHEAD - 14)[None, :, None]
    habit_RDK = torch.zeros_like(known)
    weeks = (torch.arange(known.shape[1]) >= known.shape[1] - _AHEAD - 28)[None, :, None]
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


def _place(local: Tensor, first_R: Tensor, per_day: int) -> Tensor:
    """Place in D·K of local seconds (what is older than the first day: its phase in the first)."""
    at = (local - first_R[:, None] * DAY_S) // (DAY_S // per_day)
    return torch.where(at < 0, at % per_day, at)


def _grid(h: History, without_RB: Tensor) -> _Days:
    """Days of blocks, NaN where there is none or it is to be left out."""
    per_day = DAY_S // h.block_s
    first_R = h.block_local_RB[:, 0] // DAY_S
    last = int((h.block_local_RB[:, -1] // DAY_S - first_R).max())
    count = last + 1 + _AHEAD
    rows = h.block_RB.shape[0]
    at_RB = _place(h.block_local_RB, first_R, per_day)
    value = torch.full((rows, count * per_day), torch.nan).scatter(1, at_RB, torch.where(without_RB, torch.nan, h.block_RB))
    weekday_RD = (first_R[:, None] + torch.arange(count) + 3) % 7
    return _Days(value.view(rows, count, per_day), first_R, weekday_RD, at_RB)


def _forecast(days: _Days) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The least erring forecast (R, D, K) of each row, the same of means, where it is its own, and its season."""
    value_RDK = days.value_RDK
    members = _groups(days.weekday_RD)
    plain = [_flat(value_RDK, members[0]).expand_as(value_RDK)]
    found = [_from_others(value_RDK, m, least) for m, least in zip(members, (1, 1, 2), strict=True)]
    plain += [f[0] for f in found]
    means = [plain[0], *(f[1] for f in found)]
    # Growth and lasting changes: what yesterday was above its forecast, today is.
    levels = [_before(median(value_RDK - f))[..., None] for f in plain]
    forecasts = plain + [f + by for f, by in zip(plain, levels, strict=True)]
    means += [f + by for f, by in zip(means, levels, strict=True)]
    best_R, least_RD = torch.zeros(len(value_RDK), dtype=torch.long), _daily(value_RDK, forecasts[0])
    for i, forecast in enumerate(forecasts[1:], 1):
        error_RD = _daily(value_RDK, forecast)
        better_R = _better(error_RD, least_RD)
        best_R = torch.where(better_R, i, best_R)
        least_RD = torch.where(better_R[:, None] & torch.isfinite(error_RD), error_RD, least_RD)
    # What a richer season has not seen yet is forecast from a plainer one.
    middle = median(value_RDK.flatten(1))[:, None, None]
    # A plainer season's errors are not the row's: weekends forecast from workdays would make all scales wide.
    own_RDK = torch.isfinite(torch.stack(forecasts, 1)[torch.arange(len(best_R)), best_R])
    own_RDK |= ~own_RDK[:, :-_AHEAD].flatten(1).any(-1)[:, None, None]
    chosen = []
    for kinds in (forecasts, means):
        for i in range(len(kinds)):
            for plainer in (*range(i - 1, i - i % 4 - 1, -1), 0):
                kinds[i] = torch.where(torch.isfinite(kinds[i]), kinds[i], kinds[plainer])
        one = torch.stack(kinds, 1)[torch.arange(len(best_R)), best_R]
        chosen.append(torch.where(torch.isfinite(one), one, middle).nan_to_num())
    return chosen[0], chosen[1], own_RDK, best_R


def _before(level_RD: Tensor) -> Tensor:
    """Levels of the days before."""
    level_RD = _carried(level_RD)
    return torch.cat([level_RD[:, :1], level_RD[:, :-1]], 1)


def _daily(value_RDK: Tensor, forecast_RDK: Tensor) -> Tensor:
    """Mean error of each day's forecast; NaN where little of it is known. The worst 2 % of the blocks count no more than those that follow."""
    error = (value_RDK - forecast_RDK).abs()
    cut = quantile(error.flatten(1), 0.98)[:, None, None]
    enough = torch.isfinite(error).float().mean(-1) > 0.25
    return torch.where(enough, torch.minimum(error, cut).nanmean(-1), torch.nan)


def _better(error_RD: Tensor, than_RD: Tensor) -> Tensor:
    """Whether a richer forecast errs less by more than chance: by its price and a standard error of its days."""
    gain_RD = torch.log((error_RD + 1e-12) / (than_RD + 1e-12))
    many_R = torch.isfinite(gain_RD).sum(-1)
    mean_R = gain_RD.nanmean(-1)
    spread_R = (gain_RD - mean_R[:, None]).square().nanmean(-1).sqrt()
    return (many_R >= 2) & (mean_R + spread_R / (many_R - 1).clamp_min(1).sqrt() < _PRICE)


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


def _from_others(value_RDK: Tensor, member_RDD: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Median and mean of at least so many other days at each phase; of five and more the mean without the extremes."""
    which, known = _nearest(value_RDK, member_RDD)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    known = known & (known.sum(-1, keepdim=True) >= least)
    others = torch.where(known[..., None], value_RDK[rows, which], torch.nan).transpose(2, 3)
    there = torch.isfinite(others)
    many = there.sum(-1)
    total = others.nan_to_num().sum(-1)
    extremes = torch.where(there, others, -torch.inf).amax(-1) + torch.where(there, others, torch.inf).amin(-1)
    mean = torch.where(many >= 5, (total - extremes) / (many - 2), total / many)
    return median(others), mean


def _flat(value_RDK: Tensor, member_RDD: Tensor) -> Tensor:
    """One number a day: the median of all phases of the other days' medians."""
    which, known = _nearest(value_RDK, member_RDD)
    middle_RD = median(value_RDK)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    return median(torch.where(known, middle_RD[rows, which], torch.nan))[..., None]


def _week(days: _Days, forecast_RDK: Tensor) -> Tensor:
    """The forecast of the next seven days, from Monday on."""
    order = days.weekday_RD[:, -_AHEAD:].argsort(-1)
    # The newest day's own forecast and not next week's: windows still look back at it.
    ahead = torch.cat([forecast_RDK[:, -_AHEAD:-1], forecast_RDK[:, -_AHEAD - 1 : -_AHEAD]], 1)
    return ahead.gather(1, order[..., None].expand_as(ahead)).flatten(1)


def _floor(h: History) -> Tensor:
    """Smallest scale of a row: a twentieth of what one slot usually differs from the next, or of float16's steps."""
    step = (h.slot_RL[:, 1:] - h.slot_RL[:, :-1]).double()
    many = torch.isfinite(step).sum(-1).clamp_min(1)
    size = torch.sqrt(step.nan_to_num().square().sum(-1) / many).float()
    return 0.05 * size + 1e-4 * h.slot_RL.abs().nan_to_num().amax(-1) + 1e-9


def outside(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far values lie outside their band."""
    return x - torch.minimum(torch.maximum(x, low), high)


def _grain(h: History) -> Tensor:
    """Smallest scale of a slot of counts and other values that come in steps: a step more or less says nothing."""
    ordered = torch.where(torch.isfinite(h.slot_RL), h.slot_RL, torch.inf).sort(-1).values
    steps = ordered[:, 1:] - ordered[:, :-1]
    steps = torch.where((steps > 0) & torch.isfinite(steps), steps, torch.inf).amin(-1)
    # values without steps differ by next to nothing somewhere among 8 192
    return torch.where(torch.isfinite(steps), _GRAINS * steps, 0.0)


def _sum_scale(sum_RB: Tensor, at_RB: Tensor, per_day: int) -> Tensor:
    """Scale of an average by the phase at which it ends, in that of all phases.

    The hour that ends within a job's jitter has two jobs or none, all the others have one: pooled, nothing would miss it.
    """
    whole = quantile(sum_RB.abs(), 0.9)[:, None] / 1.645 + 1e-6
    count = int(at_RB.max()) // per_day + 1
    grid = torch.full((sum_RB.shape[0], count * per_day), torch.nan).scatter(1, at_RB, sum_RB)
    grid = grid.view(-1, count, per_day).abs()[:, -_SCALE_DAYS:]
    reach = 1 if per_day >= 96 else 0
    near = torch.cat([grid.roll(s, 2) for s in range(-reach, reach + 1)], 1).transpose(1, 2)
    many = torch.isfinite(near).sum(-1)
    scale = torch.maximum(quantile(near, 0.5) / 0.6745, quantile(near, 0.9) / 1.645)
    # few days say little of a single phase: as if forty more had had the scale of all
    mixed = (many * scale.nan_to_num() + 40.0 * whole) / (many + 40.0)
    return (mixed / whole).clamp(0.3, 10.0)


def _slowness(error_RB: Tensor, block_s: int) -> Tensor:
    """Share of the blocks' variance that is left in averages over four hours, 0 to 1."""
    long_RB = season.trailing(error_RB, season.slots_of(14_400, block_s))
    wide, narrow = (quantile(x.abs(), 0.8).square() for x in (error_RB, long_RB))
    return (narrow / (wide + 1e-12)).nan_to_num().clamp(0.0, 1.0)


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
    return young * torch.where(like >= 2, 1.0, 0.5)


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
        lengths = torch.stack([run[x == v].max() for v in values]) if len(values) else longest[:0]
        # states stay; counts that are mostly 0 do not, and one more than ever is no new state
        few = bool((lengths >= _STAYS).all())
    if few:
        value[: len(values)], longest[: len(values)] = values, lengths
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

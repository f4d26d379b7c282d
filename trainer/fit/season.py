"""Fits a season bank: what is usual at each phase of a row's day and week, how widely it scatters there, how its tails fall.

Scales and tails are made of the errors of forecasts of days from other days: nothing is calibrated on what it was
learnt from.

Shapes: R rows, B coarse blocks, L slots, D days (the last AHEAD are still to come), K phases (blocks of a day),
V levels.
"""

import math

import torch
from torch import Tensor

from detector import persistence
from detector.model import tails
from detector.model.views import season
from detector.model.views.season import SEASONS, SeasonTables
from detector.model.views.stabilised import restored, slope, stabilised
from detector.persistence import STATISTICS
from trainer.fit.season_days import (
    AHEAD,
    MEMORY_DAYS,
    Days,
    History,
    block_of,
    grid,
    habits,
    levelled,
    median,
    place_of,
    recent,
)
from trainer.fit.season_forecast import forecast, week
from trainer.fit.season_knee import knees
from trainer.fit.season_levels import levels
from trainer.fit.season_modes import modes
from trainer.fit.season_records import joined, records
from trainer.fit.season_scale import (
    GRAINS,
    SCALE_DAYS,
    calmer,
    floor,
    grain,
    outside,
    scales,
    slot_scales,
    slowness,
    sum_scale,
)
from trainer.fit.season_shift import shifts
from trainer.fit.season_states import states

__all__ = ["SEASONS", "History", "fit"]

_LEAST = 0.25  # smallest scale of a tail, in scales of the departures: calm history says little about how calm
_GRAINED = 0.1  # scales that values of a row must differ by at least to be counts
_KNOWN_DAYS = 8.0  # of data before surprises count whole: a week, and a first day of the next one


def fit(history: History, previous: SeasonTables | None = None) -> SeasonTables:
    """Students of all rows; rows without two days of data have no season and hardly a tail."""
    told, per_block = recent(history), history.block_s // history.interval_s
    out_RB = told.out_RB & ~habits(grid(told, told.out_RB), grid(told, ~told.out_RB))
    at_RL = block_of(told)
    out_RL = told.out_RL & ((at_RL < 0) | out_RB.gather(1, at_RL.clamp_min(0)))
    stay_RL, stay_RB = torch.where(out_RL, torch.nan, told.slot_RL), torch.where(out_RB, torch.nan, told.block_RB)
    few_R, values, longest = states(stay_RL, stay_RB, per_block)
    mode_low, mode_high, mode_stay, mode_changes = modes(stay_RL, stay_RB, per_block, history.interval_s)
    level_RV, around_RV = levels(told, at_RL)
    record = records(grid(told, out_RB), stay_RL, at_RL, grain(stay_RL))
    history = recent(levelled(history))
    raw_RL = history.slot_RL
    grain_R = grain(raw_RL)
    if bool((history.since > 0).any()):
        record = joined(record, records(grid(history, out_RB), torch.where(out_RL, torch.nan, raw_RL), at_RL, grain_R))
    knee_R = knees(grid(history, history.out_RB), grain_R, None if previous is None else previous.knee)
    history = history._replace(
        block_RB=stabilised(history.block_RB, knee_R[:, None]), slot_RL=stabilised(raw_RL, knee_R[:, None])
    )
    days = grid(history, out_RB)
    forecast_RDK, mean_RDK, own_RDK, season_R = forecast(days)
    per_day = days.value_RDK.shape[-1]
    mid_week, mean_week = week(days, forecast_RDK, season_R), week(days, mean_RDK, season_R)
    down_RK, up_RK = shifts(days, mid_week, per_block)
    flat_low, flat_high = season.envelope(forecast_RDK.flatten(1))

    floor_R1 = floor(history)[:, None]
    amount_R = history.block_RB.nan_to_num().amin(-1) >= 0.0
    ratio_R1 = season.in_ratios(amount_R, knee_R)[:, None]
    slot_at_RL = place_of(history.slot_local_RL, days.first_R, per_day)
    slot_low_RL, slot_high_RL = flat_low.gather(-1, slot_at_RL), flat_high.gather(-1, slot_at_RL)
    own_RB, own_RL = own_RDK.flatten(1).gather(-1, days.at_RB), own_RDK.flatten(1).gather(-1, slot_at_RL)
    kept_RL = torch.where(history.out_RL | ~own_RL, torch.nan, history.slot_RL)
    kept_RB = torch.where(out_RB | ~own_RB, torch.nan, history.block_RB)
    kept_RDK = torch.where(own_RDK, days.value_RDK, torch.nan)
    # What onsets shift by is no scatter: a job that starts when it likes within ten minutes is missed all the same.
    count = days.value_RDK.shape[1] - AHEAD
    newest = slice(max(0, count - SCALE_DAYS), count)
    loose_RDK = outside(kept_RDK, flat_low.view_as(forecast_RDK), flat_high.view_as(forecast_RDK))[:, newest]
    plain_RDK = (kept_RDK - mean_RDK)[:, newest]
    usual_RK = restored(median(forecast_RDK[:, :-AHEAD].transpose(1, 2)), knee_R[:, None]).nan_to_num()
    grain_RK = GRAINS * grain_R[:, None] * slope(usual_RK, knee_R[:, None])

    def both_scales(plain_RDK: Tensor, loose_RDK: Tensor) -> tuple[Tensor, Tensor]:
        plain_RK, loose_RK = (scales(x[..., None], floor_R1) for x in (plain_RDK, loose_RDK))
        least_RK = torch.maximum(torch.maximum(floor_R1, grain_RK / per_block), 0.3 * plain_RK)
        return plain_RK.maximum(least_RK), loose_RK.maximum(least_RK)

    plain_scale_RK, block_scale_RK = both_scales(plain_RDK, loose_RDK)
    calm_RK = torch.ones_like(block_scale_RK)
    parts_R = season.kind_of(season_R) >= SEASONS.index("weekend")
    if bool(parts_R.any()):
        end_RD1 = (days.weekday_RD >= 5)[:, newest, None]
        work = [torch.where(end_RD1, torch.nan, x) for x in (plain_RDK, loose_RDK)]
        part_RK = calmer(both_scales(*work), (plain_scale_RK, block_scale_RK), torch.isfinite(work[0]).sum(1))
        calm_RK = torch.where(parts_R[:, None], part_RK, calm_RK)
    slot_scale_RK = slot_scales(
        outside(kept_RL, slot_low_RL, slot_high_RL), history, block_scale_RK, torch.maximum(floor_R1, grain_RK)
    )

    phase_RB, phase_RL = days.at_RB % per_day, slot_at_RL % per_day
    work_RB, work_RL = (season.phases(at, 1) < 5 for at in (history.block_local_RB, history.slot_local_RL))
    calm_RB, calm_RL = (
        torch.where(work, calm_RK.gather(-1, phase), 1.0) for work, phase in ((work_RB, phase_RB), (work_RL, phase_RL))
    )
    scale_RB, scale_RL = block_scale_RK.gather(-1, phase_RB) * calm_RB, slot_scale_RK.gather(-1, phase_RL) * calm_RL
    plain_scale_RB = plain_scale_RK.gather(-1, phase_RB) * calm_RB
    # the newest slots may lie in a day of which no block is complete yet
    day_RB, day_RL = days.at_RB // per_day, (slot_at_RL // per_day).clamp_max(count - 1)
    day_R = days.first_R + count - 1
    mid_RB = mean_RDK.flatten(1).gather(-1, days.at_RB)

    def departed(slot_RL: Tensor, block_RB: Tensor) -> tuple[list[Tensor], Tensor]:
        slot_z_RL = season.departures(slot_RL, slot_low_RL, slot_high_RL, scale_RL, ratio_R1)
        loose_RB = season.departures(
            block_RB, flat_low.gather(-1, days.at_RB), flat_high.gather(-1, days.at_RB), scale_RB, ratio_R1
        )
        plain_RB = season.departures(block_RB, mid_RB, mid_RB, plain_scale_RB, ratio_R1)
        # Slots of slow streams tell no more than their blocks, which reach further back than the fine ring.
        coarse_RB = loose_RB * block_scale_RK.gather(-1, phase_RB) / slot_scale_RK.gather(-1, phase_RB)
        scaled_RB = (block_RB - mid_RB) / plain_scale_RB
        return season.averages(slot_z_RL, loose_RB, plain_RB, scaled_RB, history.interval_s, history.block_s), coarse_RB

    kept, kept_coarse_RB = departed(kept_RL, kept_RB)
    whole, whole_coarse_RB = departed(
        torch.where(own_RL, history.slot_RL, torch.nan), torch.where(own_RB, history.block_RB, torch.nan)
    )
    late_RB = torch.where(own_RB, (mid_RB - mid_RB.roll(1, -1)) / plain_scale_RB, torch.nan)
    late_RB[:, 0] = torch.nan
    steps = [
        season.trailing(late_RB, persistence.slots_of(STATISTICS[i].seconds, history.block_s)) for i in persistence.SUMS
    ]
    sum_scale_rows = torch.stack(
        [sum_scale(kept[i], step_RB, days.at_RB, per_day) for i, step_RB in zip(persistence.SUMS, steps, strict=True)],
        1,
    )
    for stats in (kept, whole):
        for i, which in enumerate(persistence.SUMS):
            stats[which] = stats[which] / sum_scale_rows[:, i].gather(-1, phase_RB)
    # Counts are equal for an hour by chance; how long they may be is known otherwise.
    counts_R = median(grain_RK) > _GRAINED * per_block * median(plain_scale_RK)
    slow_R = slowness(kept_RB - mid_RB, history.block_s)
    found: list[Tensor] = []
    worsts: list[Tensor] = []
    for sign in (1.0, -1.0):
        for s, stat, all_stat in zip(STATISTICS, kept, whole, strict=True):
            place = day_RL if s.fine else day_RB
            both = [tails.worst(sign * x, place, count) for x in (stat, all_stat)]
            own_RD = both[0]
            if s.fine:
                both = [_remembered(x, len(worsts) + i, day_R, previous) for i, x in enumerate(both)]
                worsts += [_newest(x) for x in both]
                more = [tails.worst(sign * x, day_RB, count) for x in (kept_coarse_RB, whole_coarse_RB)]
                # where a slot is a block, blocks are what slots were
                own_RD = both[0] if per_block > 1 else torch.maximum(both[0], more[0])
                both = [_extended(x, y) for x, y in zip(both, more, strict=True)]
            least = _least(s, history.block_s)
            tail = tails.fit(sign * stat, both[0], both[1], own_RD, least, slow_R, not s.fine)
            tail[..., 2] *= _share(s)
            if s.spread and sign < 0:
                tail[..., 1] = torch.where(counts_R, torch.inf, tail[..., 1])
            found.append(tail)
    return SeasonTables(
        mid=mid_week,
        down=down_RK,
        up=up_RK,
        mean=mean_week,
        slot_scale=slot_scale_RK,
        block_scale=block_scale_RK,
        plain_scale=plain_scale_RK,
        sum_scale=sum_scale_rows,
        tails=torch.stack(found, 1),
        trust=_trust(days),
        few=few_R,
        values=values,
        longest=longest,
        worst=torch.stack(worsts, 1),
        day=day_R,
        season=season_R,
        amount=amount_R,
        knee=knee_R,
        calm=calm_RK,
        levels=level_RV,
        around=around_RV,
        mode_low=mode_low,
        mode_high=mode_high,
        mode_stay=mode_stay,
        mode_changes=mode_changes,
        records=record,
    )


def _newest(worst_RD: Tensor) -> Tensor:
    """The last MEMORY_DAYS days, −inf where there are not so many."""
    return torch.nn.functional.pad(worst_RD, (MEMORY_DAYS, 0), value=-torch.inf)[:, -MEMORY_DAYS:]


def _remembered(worst_RD: Tensor, which: int, day_R: Tensor, previous: SeasonTables | None) -> Tensor:
    """Largest departures of days that the fine ring no longer holds, from the previous students."""
    if previous is None:
        return worst_RD
    days = torch.arange(worst_RD.shape[1]) - worst_RD.shape[1] + 1
    at_RD = MEMORY_DAYS - 1 + days + (day_R - previous.day)[:, None]
    known = (at_RD >= 0) & (at_RD < MEMORY_DAYS)
    old_RD = previous.worst[:, which].gather(-1, at_RD.clamp(0, MEMORY_DAYS - 1))
    return torch.where(torch.isfinite(worst_RD) | ~known, worst_RD, old_RD)


def _extended(fine_RD: Tensor, coarse_RD: Tensor) -> Tensor:
    """Largest departures also of days of which only blocks are known: theirs, and what slots usually have more.

    Blocks alone would say of most days that they were calmer than any of the few days of slots.
    """
    both_RD = torch.isfinite(fine_RD) & torch.isfinite(coarse_RD)
    more_R = median(torch.where(both_RD, fine_RD - coarse_RD, torch.nan)).nan_to_num().clamp_min(0.0)
    return torch.where(torch.isfinite(fine_RD), torch.maximum(fine_RD, coarse_RD), coarse_RD + more_R[:, None])


def _least(s: persistence.Statistic, block_s: int) -> float:
    """Smallest scale of a statistic's tail. Plain sums scatter wherever there is anything: theirs is better known."""
    blocks = 1 if s.fine else persistence.slots_of(s.seconds, block_s)
    return (_LEAST if s.loose or s.spread else 0.1) / math.sqrt(blocks)


def _share(s: persistence.Statistic) -> float:
    """Of a tail's scale: what makes tails wide enough for slots and sums is too much for the hour within which onsets may shift."""
    return 0.8 if s.loose and s.seconds == 3_600 else 1.0


def _trust(days: Days) -> Tensor:
    """By weekday, how far a row's history can speak of it: less in its first days, and of a part of the week never seen."""
    seen = torch.isfinite(days.value_RDK).float().mean(-1) > 0.5
    end = days.weekday_RD >= 5
    known = seen.sum(-1, keepdim=True)
    ends, works = (seen & end).sum(-1, keepdim=True), (seen & ~end).sum(-1, keepdim=True)
    like = torch.where(torch.arange(7)[None] >= 5, ends, works).float()
    young = (known / _KNOWN_DAYS).clamp_max(1.0)
    return young * torch.where(like >= 2, 1.0, 0.5)

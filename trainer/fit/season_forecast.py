"""The season of a row: the forecast of its days from others that errs least.

A day is forecast from earlier days alone (of the row, of workdays or weekends, of the same weekday; as values or from
the level of the day before), which is what the bank will do for the next week. A richer season must prove itself day by
day: on noise its errors differ by chance, and a wandering row would get a season that pages it.

Shapes: R rows, D days (the last AHEAD are still to come), K phases (blocks of a day), N days that a forecast is made of.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detector.model.views.season import DAY_S, SEASONS
from trainer.fit.season_days import AHEAD, Days, median, quantile

# What a richer forecast must save to be believed: it has fewer days to learn from.
_PRICE = math.log(0.97)
# Days that a season has to forecast: three Mondays say nothing of the other weekdays.
_PROVED = (2, 2, 2, 6)
# The same of weekdays where days are not alike otherwise: a saw tooth falls into step with the week for some days.
_ALONE = 18
# Standard errors by which the first season of a row must be better than none: a saw tooth wanders into phase for weeks.
_SURE = 2.0
_OTHERS = 7  # days a forecast is the median of
_AROUND_S = (1_200, 3_600)  # on each side of a phase
_ERRS, _SIGNIFICANT = 1.25 / 0.6745, 2.5  # standard errors of a median, of its median departure


def forecast(days: Days) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The least erring forecast (R, D, K) of each row, the same of means, where it is its own, and its season."""
    value_RDK = days.value_RDK
    members = _groups(days.weekday_RD)
    plain = [_flat(value_RDK, members[0], median(value_RDK)).expand_as(value_RDK)]
    found: list[tuple[Tensor, Tensor]] = []
    for m, least in zip(members, (1, 1, 2), strict=True):
        found.append(_from_others(value_RDK, m, least, found[-1][0] if found else None))
    plain += [f[0] for f in found]
    means = [_flat(value_RDK, members[0], value_RDK.nanmean(-1)).expand_as(value_RDK), *(f[1] for f in found)]
    # Growth and lasting changes: what yesterday was above its forecast, today is.
    levels = [_before(median(value_RDK - f))[..., None] for f in plain]
    forecasts = plain + [f + by for f, by in zip(plain, levels, strict=True)]
    means += [f + by for f, by in zip(means, levels, strict=True)]
    best_R, least_RD = torch.zeros(len(value_RDK), dtype=torch.long), _daily(value_RDK, forecasts[0])
    weekday = len(_PROVED) - 1
    for i, forecast in enumerate(forecasts[1:], 1):
        error_RD = _daily(value_RDK, forecast)
        gain_RD = torch.log((error_RD + 1e-12) / (least_RD + 1e-12))
        first_R = best_R % 4 == 0
        errors_R = torch.where(first_R & (i % 4 in (1, 2)), _SURE, 1.0)
        better_R = _better(gain_RD, _PROVED[i % 4], errors_R)
        if i % 4 == weekday:
            apart_RD = (forecast - forecasts[0]).abs().nanmean(-1)
            better_R &= ~first_R | _always(gain_RD, apart_RD)
        best_R = torch.where(better_R, i, best_R)
        least_RD = torch.where(better_R[:, None] & torch.isfinite(error_RD), error_RD, least_RD)
    # What a richer season has not seen yet is forecast from a plainer one.
    middle = median(value_RDK.flatten(1))[:, None, None]
    # A plainer season's errors are not the row's: weekends forecast from workdays would make all scales wide.
    own_RDK = torch.isfinite(torch.stack(forecasts, 1)[torch.arange(len(best_R)), best_R])
    own_RDK |= ~own_RDK[:, :-AHEAD].flatten(1).any(-1)[:, None, None]
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


def _better(gain_RD: Tensor, days: int, errors_R: Tensor) -> Tensor:
    """Whether a richer forecast errs less by more than chance: by its price and standard errors of its days, so many at least."""
    many_R = torch.isfinite(gain_RD).sum(-1)
    mean_R = gain_RD.nanmean(-1)
    spread_R = (gain_RD - mean_R[:, None]).square().nanmean(-1).sqrt()
    return (many_R >= days) & (mean_R + errors_R * spread_R / (many_R - 1).clamp_min(1).sqrt() < _PRICE)


def _always(gain_RD: Tensor, apart_RD: Tensor) -> Tensor:
    """Whether a forecast errs less on one day as on another, by how far `apart` from having no season it is on each."""
    weight_RD = torch.where(torch.isfinite(gain_RD), apart_RD, 0.0).nan_to_num()
    weight_RD = weight_RD / weight_RD.sum(-1, keepdim=True).clamp_min(1e-12)
    mean_R = (weight_RD * gain_RD.nan_to_num()).sum(-1)
    spread_R = (weight_RD * (gain_RD - mean_R[:, None]).nan_to_num().square()).sum(-1).sqrt()
    return (torch.isfinite(gain_RD).sum(-1) >= _ALONE) & (mean_R + spread_R < _PRICE)


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


def _from_others(
    value_RDK: Tensor, member_RDD: Tensor, least: int, plainer_RDK: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Median and mean of at least so many other days at each phase; of five and more the mean without the extremes.

    Of two that disagree, the one that is nearer to the plainer forecast: the other was an incident that nobody noticed.
    """
    which, known = _nearest(value_RDK, member_RDD)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    known = known & (known.sum(-1, keepdim=True) >= least)

    def of_others(x_RDK: Tensor) -> Tensor:
        return torch.where(known[..., None], x_RDK[rows, which], torch.nan).transpose(2, 3)

    others = of_others(value_RDK)
    there = torch.isfinite(others)
    many = there.sum(-1)
    total = others.nan_to_num().sum(-1)
    extremes = torch.where(there, others, -torch.inf).amax(-1) + torch.where(there, others, torch.inf).amin(-1)
    mean = torch.where(many >= 5, (total - extremes) / (many - 2), total / many)
    middle = median(others)
    middle, mean = _calmed(middle, mean, many, value_RDK, of_others)
    if plainer_RDK is not None:
        off = (others - plainer_RDK[..., None]).abs()
        off = torch.where(torch.isfinite(off), off, torch.inf)
        nearer = others.gather(-1, off.argmin(-1, keepdim=True))[..., 0]
        far = torch.where(torch.isfinite(off), off, -torch.inf).amax(-1)
        apart = torch.where(there, others, -torch.inf).amax(-1) - torch.where(there, others, torch.inf).amin(-1)
        alone = (many == 2) & (apart > 0.5 * far) & torch.isfinite(far)
        middle, mean = torch.where(alone, nearer, middle), torch.where(alone, nearer, mean)
    return middle, mean


def _around(x_RDK: Tensor, seconds: int) -> Tensor:
    """Mean over the phases up to so far on each side, the day's ends joined."""
    rows, days, per_day = x_RDK.shape
    reach = seconds * per_day // DAY_S

    def pooled(x: Tensor) -> Tensor:
        joined = torch.nn.functional.pad(x.reshape(rows * days, 1, per_day), (reach, reach), mode="circular")
        return torch.nn.functional.avg_pool1d(joined, 2 * reach + 1, 1).view_as(x)

    return pooled(x_RDK.nan_to_num()) / pooled(torch.isfinite(x_RDK).to(x_RDK))


def _calmed(
    middle_RDK: Tensor, mean_RDK: Tensor, many_RDK: Tensor, value_RDK: Tensor, of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """A forecast without what the median of few noisy days errs by; `of`: values of the `many` days it is made of (R, D, K, N).

    A phase whose difference from those around it the days do not agree on has none: first from its neighbours, then, of
    what these have on average, from the hours around.
    """
    sure_RDK = many_RDK < 3  # two days that disagree say nothing of noise
    for seconds in _AROUND_S:
        near_RDK = _around(value_RDK, seconds)
        off_RDKN = of(value_RDK - near_RDK)
        off_RDK = median(off_RDKN)
        # of few days the spread at one phase says little
        spread_RDK = _around(median((off_RDKN - off_RDK[..., None]).abs()), seconds)
        error_RDK = _ERRS * spread_RDK / torch.isfinite(off_RDKN).sum(-1).sqrt()
        sure_RDK |= ~(off_RDK.abs() <= _SIGNIFICANT * error_RDK)
        middle_RDK = torch.where(sure_RDK, middle_RDK, _around(middle_RDK, seconds))
        mean_RDK = torch.where(sure_RDK, mean_RDK, _around(mean_RDK, seconds))
        value_RDK = near_RDK
    return middle_RDK, mean_RDK


def _flat(value_RDK: Tensor, member_RDD: Tensor, middle_RD: Tensor) -> Tensor:
    """One number a day: the median of the other days' middles."""
    which, known = _nearest(value_RDK, member_RDD)
    rows = torch.arange(value_RDK.shape[0])[:, None, None]
    return median(torch.where(known, middle_RD[rows, which], torch.nan))[..., None]


def week(days: Days, forecast_RDK: Tensor, season_R: Tensor) -> Tensor:
    """The forecast of the next seven days, from Monday on."""
    order = days.weekday_RD[:, -AHEAD:].argsort(-1)
    # The newest day's own forecast and not next week's: windows still look back at it. Where levels are those of the day
    # before, at that day's own level once it is over, which is where the next day begins.
    last_RK, value_RK = forecast_RDK[:, -AHEAD - 1], days.value_RDK[:, -AHEAD - 1]
    over_R = torch.isfinite(value_RK[:, -1]) & (season_R >= len(SEASONS) // 2)
    last_RK = last_RK + torch.where(over_R, median(value_RK - last_RK).nan_to_num(), 0.0)[:, None]
    ahead = torch.cat([forecast_RDK[:, -AHEAD:-1], last_RK[:, None]], 1)
    return ahead.gather(1, order[..., None].expand_as(ahead)).flatten(1)

"""Bands at the time scales of people's systems: what a week usually looks like, and how surprising the newest slots are.

A bank knows for each phase of the week what a row's blocks (5 min, or the interval if that is longer) usually are, and
how widely slots and blocks scatter at each phase of the day. Departures from it are averaged over the slot, 5 and 20
minutes, one and four hours; each average has its own calibration, and the largest surprise counts. Windows of 20
minutes and more are formed over complete blocks, so that a score depends on the data alone and neither on how slots
are batched nor on when a worker was started.

Shapes: R rows (stream, channel), L slots, B coarse blocks, S statistics and states, V values of a row that has few, X any
number. Tables of a bank have a phase of five minutes (2 016 of a week, 288 of a day) as their last dimension.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.tails import reached, surprise
from detector.model.views.runs import more_than_ever, newest_runs
from detector.model.views.season_modes import Modes, brief, score_modes
from detector.model.views.season_records import among, score_records, within
from detector.model.views.stabilised import restored, stabilised
from detector.persistence import COLUMNS, RECORD, SAME, STATISTICS, STAYS, SUMS, UNSEEN, slots_of

# Season and whether values are counted from the level of the day before.
SEASONS = (
    *("none", "day", "weekend", "weekday"),
    *("none, from yesterday's level", "day, from yesterday's level"),
    *("weekend, from yesterday's level", "weekday, from yesterday's level"),
)
DAY_S = 86_400
WEEK_S = 7 * DAY_S
_MONDAY_S = 4 * DAY_S  # the first Monday after the Unix epoch's Thursday

FEW = 6  # distinct values of a state, a flag, a level
_APART = 0.3  # of the way from one of them to the next within which a value is still that one
ROUNDED = 2.0**-9  # of the span of a row of few values: what blocks may be off by, as they are stored
LEVELS = 8  # that a row stays at
BAND = 3.0  # surprise at which a single slot has left its band
_NIGHT_S = 4 * 3_600  # for which what rests by night is at least the same
_STILL = 0.01  # scales that blocks may differ by and still be called equal
_SOFT = 1.0  # scales above zero below which a ratio says no more than a difference
_STRETCH = 2.0  # what a ratio may say, in differences
CLIP = (
    100.0  # scales by which one slot may depart: further it says nothing more, and would fill every window with itself
)


@dataclass
class SeasonTables:
    """What students of R rows have learnt; every tensor has R in front."""

    mid: Tensor  # usual mean of each block of a local week from Monday 00:00
    down: Tensor  # by phase of the day: how much lower than the next phases a slot may be, as onsets shift (≤ 0) …
    up: Tensor  # … and how much higher
    mean: Tensor  # expectation of sums, where a median says 0 of what comes every other time
    slot_scale: Tensor  # of single slots, by phase of the day
    block_scale: Tensor  # of block means, where onsets may shift
    plain_scale: Tensor  # of block means, where they may not
    sum_scale: Tensor  # of the averages that allow no shift, by the phase at which they end
    tails: Tensor  # calibrations: statistics, upwards first, then downwards
    trust: Tensor  # by weekday: 1, less where the row's history has no such day yet
    few: Tensor  # few distinct values
    values: Tensor  # which, NaN filled
    longest: Tensor  # longest run of each in slots; of other rows the longest of any, in the first
    worst: Tensor  # largest departure of each of the last days, of the fine statistics: the fine ring is short
    day: Tensor  # the last of those days, in local days since 1970
    season: Tensor  # index in SEASONS
    amount: Tensor  # never negative
    knee: Tensor  # of the stabilised scale that all but `values` is on; 0: the values' own
    calm: Tensor  # by phase of the day: what part of the scales a workday has, where weekends are what scatters
    levels: Tensor  # that the row has stayed at for weeks …
    around: Tensor  # … and how far slots scatter around each; 0: there is no such level
    mode_low: Tensor  # `Modes`
    mode_high: Tensor
    mode_stay: Tensor
    mode_changes: Tensor
    records: Tensor  # `season_records`

    low: Tensor = None  # type: ignore[assignment]  # lowest and highest expectation of a slot: derived
    high: Tensor = None  # type: ignore[assignment]
    near: Tensor = None  # type: ignore[assignment]  # how far from one of `values` is still that one: derived

    def __post_init__(self) -> None:
        if self.low is None:
            self.low, self.high = envelope_of(self)
        if self.near is None:
            self.near = near_of(self.values)

    @classmethod
    def of_tables(cls, tables: Mapping[str, Tensor]) -> "SeasonTables":
        """All rows of stacked tables."""
        return cls(**{f.name: tables[f.name] for f in fields(cls)})

    def rows(self, which_R: Tensor) -> "SeasonTables":
        """The bank of some of the rows."""
        return SeasonTables(**{f.name: getattr(self, f.name)[which_R] for f in fields(self)})


@dataclass
class Scores:
    """What is said of each scored slot."""

    surprise_RL: Tensor  # −log10 p, joined; uncapped, so that the order among alerts means something
    each_RLS: Tensor  # (…, COLUMNS) surprise of each statistic, then of states and modes
    low_RL: Tensor  # band expected without the incident
    high_RL: Tensor
    expected_RL: Tensor
    sign_RL: Tensor  # +1 above, −1 below what was expected, 0 for neither


def kind_of(season_R: Tensor) -> Tensor:
    """Index in SEASONS, from whatever level values are counted.

    >>> kind_of(torch.tensor([1, 5, 7])).tolist()
    [1, 1, 3]
    """
    return season_R % (len(SEASONS) // 2)


def near_of(values_RV: Tensor, span: Tensor | float = 0.0) -> Tensor:
    """How far from one of a row's few values, NaN filled, is still that one, where blocks span so much at least."""
    gap_RV = torch.where(torch.isfinite(values_RV), values_RV, torch.inf).sort(-1).values.diff()
    there_RV = torch.isfinite(gap_RV)
    span_R = torch.where(there_RV, gap_RV, 0.0).sum(-1).clamp_min(span)
    least_R = torch.nn.functional.pad(torch.where(there_RV, gap_RV, torch.inf), (0, 1), value=torch.inf).amin(-1)
    return torch.minimum(ROUNDED * span_R, _APART * least_R)


def envelope_of(bank: SeasonTables) -> tuple[Tensor, Tensor]:
    """Lowest and highest expectation of the neighbouring phases."""
    low_week, high_week = envelope(bank.mid)
    low_week, high_week = low_week + bank.down.repeat(1, 7), high_week + bank.up.repeat(1, 7)
    # A first Saturday may be like any hour of the days before it.
    new_day = _unlike(bank.trust, bank.trust)
    new_week = new_day.repeat_interleave(bank.mid.shape[-1] // 7, -1)
    low_week = torch.where(new_week, bank.mid.amin(-1, True), low_week)
    return low_week, torch.where(new_week, bank.mid.amax(-1, True), high_week)


def envelope(mid_week: Tensor, reach: int = 1) -> tuple[Tensor, Tensor]:
    """Lowest and highest of so many neighbouring phases on each side, around the end of the week."""
    near = torch.stack([mid_week.roll(by, -1) for by in range(-reach, reach + 1)])
    return near.amin(0), near.amax(0)


def phases(local: Tensor, per_day: int) -> Tensor:
    """Index into a week's blocks of local Unix seconds."""
    return (local - _MONDAY_S) % WEEK_S // (DAY_S // per_day)


def blocks_needed(block_s: int) -> int:
    """Complete blocks before a scored slot that count."""
    return max(slots_of(s.seconds, block_s) for s in STATISTICS if not s.fine) + 1


def windows(x_RL: Tensor, window: int, ends: int) -> Tensor:
    """The values up to each of the newest `ends` ones, NaN before the first."""
    reach = min(ends + window - 1, x_RL.shape[-1])
    return torch.nn.functional.pad(x_RL[..., -reach:], (ends + window - 1 - reach, 0), value=torch.nan).unfold(
        -1, window, 1
    )


def trailing(x_RL: Tensor, window: int, ends: int | None = None) -> Tensor:
    """Mean of the newest `window` values up to each (of the newest `ends`); NaN where fewer than half are there."""
    padded = windows(x_RL, window, ends or x_RL.shape[-1])
    there = torch.isfinite(padded)
    many = there.sum(-1)
    mean = torch.where(there, padded, 0.0).sum(-1) / many.clamp_min(1)
    return torch.where(many * 2 >= window, mean, torch.nan)


def in_ratios(amount: Tensor, knee: Tensor) -> Tensor:
    """Whether a row falls in ratios: it was never negative, and is not on a scale where it does so by itself."""
    return (amount > 0) & (knee == 0)


def departures(x: Tensor, low: Tensor, high: Tensor, scale: Tensor, ratio: Tensor) -> Tensor:
    """How many scales a value lies outside its band; 0 within, NaN without a value.

    Below its band, a row that falls in ratios (`ratio`) departs by them: what is 300 give or take 100 has fallen further
    when it is 0 than it has risen at 600.
    """
    out = x - torch.minimum(torch.maximum(x, low), high)
    soft, base = _SOFT * scale, low.clamp_min(0.0)
    by = (torch.asinh(x.clamp_min(0.0) / soft) - torch.asinh(base / soft)) * torch.hypot(base, soft)
    fallen = torch.maximum(torch.minimum(by, out), _STRETCH * out)
    return (torch.where(ratio & (x < base), fallen, out) / scale).clamp(-CLIP, CLIP)


def lower(low: Tensor, amount: Tensor) -> Tensor:
    """The low end of a band, which is never below what cannot be below zero."""
    return torch.where(amount > 0, low.clamp_min(0.0), low)


def averages(
    slot_RL: Tensor,
    loose_RB: Tensor,
    plain_RB: Tensor,
    block_RB: Tensor,
    interval_s: float,
    block_s: int,
    count: int | None = None,
    ends: int | None = None,
) -> list[Tensor]:
    """Each statistic on its own grid: (R, L) of the fine ones, (R, B) of the others; `block_RB` in scales.

    Of the newest `count` slots and `ends` blocks only, where that is asked.
    """
    out = []
    for s in STATISTICS:
        if s.fine:
            out.append(trailing(slot_RL, slots_of(s.seconds, interval_s), count))
        elif s.spread:
            out.append(spread(block_RB, max(6, slots_of(s.seconds, block_s)), ends))
        else:
            out.append(trailing(loose_RB if s.loose else plain_RB, slots_of(s.seconds, block_s), ends))
    return out


def spread(block_RB: Tensor, window: int, ends: int | None = None) -> Tensor:
    """Logarithm of what the newest blocks differ by from one to the next, with a floor for those that do not differ at all.

    Of the three quarters that differ least: what moves to another level now and then is not nervous.
    """
    step_RB = torch.nn.functional.pad((block_RB[..., 1:] - block_RB[..., :-1]).abs(), (1, 0), value=torch.nan)
    near = windows(step_RB, window, ends or block_RB.shape[-1]).sort(-1).values  # NaN last
    many = torch.isfinite(near).sum(-1)
    calm = 4 * torch.arange(window, device=near.device) < 3 * many[..., None]
    mean = torch.where(calm, near, 0.0).sum(-1) / calm.sum(-1).clamp_min(1)
    return torch.where(2 * many >= window, torch.log(mean + _STILL), torch.nan)


class Timed(NamedTuple):
    """Slots and blocks of rows to be scored, in local time: Unix seconds plus the zone's offset."""

    x_RL: Tensor
    local_RL: Tensor
    block_RB: Tensor
    block_local_RB: Tensor  # of their starts
    done_RL: Tensor  # index of the newest block that was complete when the slot was (−1: none)
    interval_s: float
    block_s: int


class _Rows(NamedTuple):
    """Rows of a bank. Tables have a place for each phase of five minutes, of which longer blocks fill several."""

    bank: "SeasonTables"
    row_R: Tensor
    step: int  # phases of a block

    def at(self, name: str, phase_RX: Tensor) -> Tensor:
        """Entries of a table by phases in blocks."""
        table: Tensor = getattr(self.bank, name)
        return table[self.row_R[:, None], phase_RX * self.step]

    def calm(self, at_RX: Tensor, per_day: int) -> Tensor:
        """Part of the scales at phases of the week in blocks."""
        return torch.where(at_RX // per_day < 5, self.at("calm", at_RX % per_day), 1.0)

    def whole(self, name: str) -> Tensor:
        """All that the rows have of a table."""
        table: Tensor = getattr(self.bank, name)
        return table[self.row_R]


def score(bank: "SeasonTables", row_R: Tensor, timed: Timed, count: int) -> Scores:
    """Surprises of the newest `count` of L slots of some rows of a bank; those before them, CONTEXT at most, are context."""
    x_RL, local_RL, block_RB, block_local_RB, done_RL, interval_s, block_s = timed
    per_day = DAY_S // block_s
    rows = _Rows(bank, row_R, bank.slot_scale.shape[-1] // per_day)
    modes = Modes(*(rows.whole(f"mode_{name}") for name in ("low", "high", "stay", "changes")))
    modes_RLS, may_RL = score_modes(modes, x_RL, count)
    states_RLS = torch.cat([_states(rows, x_RL, count, interval_s), modes_RLS], -1)
    record = rows.whole("records")
    record_RB = score_records(record, block_RB)
    knee_R1 = rows.whole("knee")[:, None]
    reach = min(x_RL.shape[-1], count + max(slots_of(s.seconds, interval_s) for s in STATISTICS if s.fine) - 1)
    x_RL, block_RB = stabilised(x_RL[:, -reach:], knee_R1), stabilised(block_RB, knee_R1)
    local_RL, done_RL = local_RL[:, -reach:], done_RL[:, -count:]
    ends = block_RB.shape[-1] - int(done_RL.clamp_min(0).min())
    at_RL, block_at_RB = phases(local_RL, per_day), phases(block_local_RB, per_day)
    low_RL, high_RL = rows.at("low", at_RL), rows.at("high", at_RL)
    scale_RL = rows.at("slot_scale", at_RL % per_day) * rows.calm(at_RL, per_day)
    amount_R1 = rows.whole("amount")[:, None] > 0
    ratio_R1 = in_ratios(amount_R1, knee_R1)
    slot_RL = departures(x_RL, low_RL, high_RL, scale_RL, ratio_R1)
    calm_RB = rows.calm(block_at_RB, per_day)
    mean_RB, block_scale_RB = rows.at("mean", block_at_RB), rows.at("block_scale", block_at_RB % per_day) * calm_RB
    loose_RB = departures(block_RB, rows.at("low", block_at_RB), rows.at("high", block_at_RB), block_scale_RB, ratio_R1)
    plain_scale_RB = rows.at("plain_scale", block_at_RB % per_day) * calm_RB
    plain_RB = departures(block_RB, mean_RB, mean_RB, plain_scale_RB, ratio_R1)
    stats = averages(
        slot_RL, loose_RB, plain_RB, (block_RB - mean_RB) / plain_scale_RB, interval_s, block_s, count, ends
    )
    sum_scale = rows.whole("sum_scale")
    for i, s in enumerate(SUMS):
        end_at = block_at_RB[:, -ends:] % per_day * rows.step
        stats[s] = stats[s] / sum_scale[:, i].gather(-1, end_at)
    done_RL = done_RL - (block_RB.shape[-1] - ends)
    x_RL, at_RL = x_RL[:, -count:], at_RL[:, -count:]
    low_RL, high_RL, scale_RL = low_RL[:, -count:], high_RL[:, -count:], scale_RL[:, -count:]

    tails = rows.whole("tails")
    signed = []
    for i, stat in enumerate(stats):
        up, down = tails[:, i], tails[:, len(STATISTICS) + i]
        above = surprise(stat, up[:, None]), surprise(-stat, down[:, None])
        both = torch.where(above[0] >= above[1], above[0], -above[1])
        if not STATISTICS[i].fine:
            both = _at_blocks(both, done_RL)
        signed.append(torch.nan_to_num(both))
    signed_RLS = torch.stack(signed, -1)
    trust_RLS, new_RLS = _trust(rows, timed.local_RL[:, -count:], block_s)
    record_RL1 = _at_blocks(record_RB[:, -ends:], done_RL)[..., None]
    each_RLS = torch.cat([signed_RLS.abs(), states_RLS, record_RL1.abs()], -1) * trust_RLS
    rests_RL = _may_rest(rows, timed.local_RL[:, -count:])
    nights_R1 = rows.whole("longest").amax(-1, keepdim=True) * interval_s >= _NIGHT_S
    each_RLS[..., SAME] *= ~(rests_RL & nights_R1)
    each_RLS[..., STAYS] *= ~rests_RL
    timeless_R1 = kind_of(rows.whole("season"))[:, None] == SEASONS.index("none")
    known_RL = timeless_R1 & among(timed.x_RL[:, -count:], record)
    # What a stay that is not too long brings with it is no news.
    each_RLS[..., :SAME] *= ~(known_RL[..., None] & brief(may_RL, interval_s))
    # no sum is known of a kind of day that has not been there
    each_RLS[..., 2:SAME] *= torch.where(new_RLS[..., 2:SAME], _loose_only(each_RLS), 1.0)
    best_RL = each_RLS.max(-1)
    sign_RLS = torch.nn.functional.pad(signed_RLS.sign(), (0, COLUMNS - SAME))
    off_RL = (x_RL - torch.minimum(torch.maximum(x_RL, low_RL), high_RL)).sign().nan_to_num()
    sign_RLS[..., UNSEEN:RECORD] = off_RL[..., None]
    sign_RLS[..., RECORD] = record_RL1[..., 0].sign()
    above_R, below_R = reached(tails[:, 0], BAND), reached(tails[:, len(STATISTICS)], BAND)
    band = low_RL - scale_RL * below_R[:, None], rows.at("mid", at_RL), high_RL + scale_RL * above_R[:, None]
    low_RL, mid_RL, high_RL = (restored(curve_RL, knee_R1) for curve_RL in band)
    low_RL, high_RL = within(low_RL, mid_RL, high_RL, record)
    return Scores(
        surprise_RL=best_RL.values,
        each_RLS=each_RLS,
        low_RL=lower(low_RL, amount_R1),
        high_RL=high_RL,
        expected_RL=mid_RL,
        sign_RL=sign_RLS.gather(-1, best_RL.indices[..., None])[..., 0],
    )


def _at_blocks(x_RB: Tensor, done_RL: Tensor) -> Tensor:
    """Of each slot what its newest complete block has, 0 where it has none."""
    return torch.where(done_RL >= 0, x_RB.gather(-1, done_RL.clamp_min(0)), 0.0)


def _unlike(trust: Tensor, known_R7: Tensor) -> Tensor:
    """Whether a trust is of a kind of day that has not been there, among those of its row."""
    most = known_R7.amax(-1).view(-1, *[1] * (trust.dim() - 1))
    return trust < 0.75 * most


def _trust(rows: _Rows, local_RL: Tensor, block_s: int) -> tuple[Tensor, Tensor]:
    """How far each statistic is believed, and which speak of a new kind of day: by the least known day that it looks at."""
    known_R7 = rows.whole("trust")
    reach = [s.seconds if s.fine else s.seconds + 2 * block_s for s in STATISTICS]
    back_S = torch.tensor([*reach, *[0] * (COLUMNS - SAME)], device=local_RL.device)
    since_RLS = phases(local_RL[..., None] - back_S, 1)
    then_RLS = known_R7.gather(-1, since_RLS.flatten(1)).view(since_RLS.shape)
    least_RLS = torch.minimum(then_RLS, known_R7.gather(-1, phases(local_RL, 1))[..., None])
    return least_RLS, _unlike(least_RLS, known_R7)


def _may_rest(rows: _Rows, local_RL: Tensor) -> Tensor:
    """Whether a row may stay where it is longer than is known: on days of a new kind, and on the day after."""
    known_R7 = rows.whole("trust")
    least_RL = torch.minimum(*(known_R7.gather(-1, phases(local_RL - back_s, 1)) for back_s in (0, DAY_S)))
    return _unlike(least_RL, known_R7)


def least_run(interval_s: float) -> float:
    """Slots of one value that no row is too lively for: a quarter of an hour, 6 at least and 15 at most."""
    return min(15.0, max(6.0, 900.0 / interval_s))


def _loose_only(like: Tensor) -> Tensor:
    """1 for the block statistics within whose band an onset may shift, 0 for the others."""
    return torch.tensor([float(s.loose) for s in STATISTICS if not s.fine], device=like.device)


def _states(rows: _Rows, x_RL: Tensor, count: int, interval_s: float) -> Tensor:
    """Surprise (R, L, 2) of a value that has not changed for longer than ever, and of one that a row of few values never had."""
    runs_RL, x_RL = newest_runs(x_RL, count), x_RL[:, -count:]
    few_R, values_RV, longest_RV = rows.whole("few") > 0, rows.whole("values"), rows.whole("longest")
    is_RLV = (x_RL[..., None] - values_RV[:, None]).abs() <= rows.whole("near")[:, None, None]
    longest_RL = torch.where(few_R[:, None], torch.where(is_RLV, longest_RV[:, None], 0.0).amax(-1), longest_RV[:, :1])
    # twice as long as ever, and never less than a quarter of an hour of slots
    limit_RL = (2.0 * longest_RL).clamp_min(least_run(interval_s))
    same_RL = torch.where(longest_RL > 0, more_than_ever(runs_RL / limit_RL), 0.0)
    unseen_RL = torch.where(few_R[:, None] & ~is_RLV.any(-1) & torch.isfinite(x_RL), 8.0, 0.0)
    return torch.stack([same_RL, unseen_RL], -1)

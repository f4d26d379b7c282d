"""What the season family promises of its scores: they depend on the data alone, and say when a day is not as usual."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from detector import persistence
from detector.model import tails
from detector.model.seasons import FIELDS, LATER, Seasons, stored
from detector.model.views import runs, season
from detector.model.views.season import FEW, SeasonTables
from tests.trainer.fit.test_season import BLOCK, INTERVAL, MONDAY, PER_DAY
from tests.trainer.fit.test_season import fitted as fitted_on

DAYS = 15


def stream(seed: int = 0, days: int = DAYS + 1) -> Tensor:
    """A day's cycle, a job of half an hour at two that shifts by minutes, noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(days * PER_DAY)
    value = 50 + 20 * np.sin(2 * np.pi * at / PER_DAY) + rng.normal(size=len(at))
    for day in range(days):
        start = day * PER_DAY + 24 + rng.integers(0, 2)
        value[start : start + 6] += 30
    return torch.from_numpy(value.astype(np.float32))


def local(first: int, last: int) -> Tensor:
    return MONDAY + torch.arange(first, last) * INTERVAL


def fitted(x_RL: Tensor, days: int = DAYS) -> SeasonTables:
    return fitted_on(x_RL[:, : days * PER_DAY])


def scored(bank: SeasonTables, x_RL: Tensor, first: int, last: int) -> season.Scores:
    rows, begin = x_RL.shape[0], first - runs.CONTEXT
    when = local(begin, last).expand(rows, -1)
    done = torch.arange(last - begin).expand(rows, -1)
    x_RL = x_RL[:, begin:last]
    timed = season.Timed(x_RL, when, x_RL, when, done, INTERVAL, BLOCK)
    return season.score(bank, torch.arange(rows), timed, last - first)


LAST = slice(DAYS * PER_DAY, (DAYS + 1) * PER_DAY)


def test_usual_day_is_quiet_and_its_season_is_found() -> None:
    x = torch.stack([stream(s) for s in range(4)])
    bank = fitted(x)
    assert all(season.SEASONS[i].startswith("day") for i in bank.season.tolist())
    assert scored(bank, x, LAST.start, LAST.stop).surprise_RL.max() < 5.0


@pytest.mark.parametrize(
    ("what", "where", "sign"),
    [
        ("the missing job", slice(24, 31), -1),
        ("an outage at noon", slice(140, 152), -1),
        ("a second job", slice(200, 206), 1),
    ],
)
def test_what_is_not_as_usual_is_told(what: str, where: slice, sign: int) -> None:
    x = stream()[None].clone()
    at = slice(LAST.start + where.start, LAST.start + where.stop)
    if what == "the missing job":
        x[0, at] = x[0, at.start - PER_DAY - 12 : at.stop - PER_DAY - 12]
    else:
        x[0, at] += sign * 30
    found = scored(fitted(x), x, LAST.start, LAST.stop)
    inside = found.surprise_RL[0, where]
    assert inside.max() > 6.0, what
    assert int(found.sign_RL[0, where][inside.argmax()]) == sign


def test_noise_at_night_says_nothing_about_noon() -> None:
    x = stream()[None].clone()
    night = (torch.arange(x.shape[1]) % PER_DAY) < 60
    x[0, night] += 25 * torch.randn(int(night.sum()), generator=torch.Generator().manual_seed(1))
    x[0, LAST.start + 150 : LAST.start + 160] -= 15
    assert scored(fitted(x), x, LAST.start, LAST.stop).surprise_RL[0, 150:160].max() > 6.0


def routes(seed: int, shaky: slice) -> Tensor:
    """Calm on one of three levels, changed now and then; by a tenth in `shaky`."""
    rng = np.random.default_rng(seed)
    many = (DAYS + 1) * PER_DAY
    kept = np.maximum.accumulate(np.where(rng.random(many) < 1 / 200, np.arange(many), 0))
    value = 20 * rng.choice([1.0, 1.2, 1.5], size=many)[kept]
    value *= 1 + 0.003 * rng.normal(size=many)
    value[shaky] *= 1 + 0.1 * rng.normal(size=shaky.stop - shaky.start)
    return torch.from_numpy(value.astype(np.float32))[None]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_keeps_to_levels_wavers_on_none_of_them(seed: int) -> None:
    """An hour with a change of level differs more within itself than one that wavers, and is no news."""
    shaky = slice(LAST.start + 100, LAST.start + 118)
    x = routes(seed, shaky)
    found = scored(fitted(x), x, LAST.start, LAST.stop)
    wavering = found.each_RLS[0, :, [s.spread for s in persistence.STATISTICS].index(True)]
    assert wavering[100:118].max() > 4.0
    assert found.surprise_RL[0, :100].max() < 4.3


def test_holes_make_no_level_waver() -> None:
    x = routes(3, slice(0, 0))
    x[:, LAST] = torch.where(torch.arange(PER_DAY) % 12 < 2, torch.nan, x[:, LAST])
    found = scored(fitted(x), x, LAST.start, LAST.stop)
    assert found.each_RLS[0, :, [s.spread for s in persistence.STATISTICS].index(True)].max() < 3.5


def test_whole_numbers_that_are_no_counts_may_be_too_still() -> None:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(np.round(20_000 * (1 + 0.02 * rng.normal(size=(1, (DAYS + 1) * PER_DAY)))).astype(np.float32))
    spread = [s.spread for s in persistence.STATISTICS]
    assert torch.isfinite(fitted(x).tails[0, len(spread) :][spread][:, 1]).all()


def test_a_state_that_has_been_there_once_is_stuck_some_day() -> None:
    up = torch.ones(1, (DAYS + 1) * PER_DAY)
    up[:, 3500:3545] = 0.0
    up[:, LAST] = 0.0
    found = scored(fitted(up), up, LAST.start, LAST.stop)
    assert found.each_RLS[0, :100, persistence.SAME].max() == 0.0
    assert found.each_RLS[0, -1, persistence.SAME] == 0.0  # a day of five minutes is not yet twice 150 slots
    longer = torch.cat([up, torch.zeros(1, PER_DAY)], 1)
    assert scored(fitted(up), longer, LAST.stop, LAST.stop + PER_DAY).each_RLS[0, -1, persistence.SAME] > 6.0


def test_counts_are_equal_for_an_hour_by_chance() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.poisson(5, (4, (DAYS + 1) * PER_DAY)).astype(np.float32))
    x[:, LAST.start + 100 : LAST.start + 114] = torch.tensor([5.0, 6.0]).repeat(7)
    found = scored(fitted(x), x, LAST.start, LAST.stop)
    assert found.surprise_RL[:, 100:120].max() < 4.3


def test_what_rests_by_night_may_rest_on_its_first_weekend() -> None:
    """From Friday evening to Monday morning, which is longer than any night; what never rests is stuck after half an hour."""
    rng = np.random.default_rng(2)
    at = np.arange(8 * PER_DAY)
    at_work = (at % PER_DAY >= 96) & (at % PER_DAY < 216) & (at // PER_DAY % 7 < 5)
    office = rng.poisson(5 * at_work).astype(np.float32)
    lively = 50 + rng.normal(size=len(at)).astype(np.float32)
    lively[5 * PER_DAY :] = 50.0
    x = torch.from_numpy(np.stack([office, lively]))
    for days, last in ((5, 6), (6, 7), (7, 8)):
        found = scored(fitted(x, days), x, days * PER_DAY, last * PER_DAY).each_RLS[..., persistence.SAME]
        assert found[0].max() == 0.0
        assert days > 5 or found[1].max() > 3.0


def test_a_saturday_that_ends_at_noon_does_not_hide_a_machine_that_stands_still_on_a_workday() -> None:
    rng = np.random.default_rng(4)
    days = 14
    at = np.arange((days + 1) * PER_DAY)
    weekday, hour = at // PER_DAY % 7, at % PER_DAY / 12
    on = (hour >= 6) & (hour < 22) & ((weekday < 5) | ((weekday == 5) & (hour < 12)))
    value = np.where(on, 42 + 4 * rng.normal(size=len(at)), 2 + 0.4 * rng.normal(size=len(at)))
    still = slice(days * PER_DAY + 90, days * PER_DAY + 108)  # from 7:30 to 9:00 of the third Monday
    value[still] = 2.0 + 0.4 * rng.normal(size=18)
    x = torch.from_numpy(value.astype(np.float32))[None]
    bank = fitted(x, days)
    assert season.SEASONS[int(bank.season[0])].startswith("weekend")
    found = scored(bank, x, days * PER_DAY, (days + 1) * PER_DAY)
    assert found.surprise_RL[0, :90].max() < 4.3
    assert found.surprise_RL[0, 90:108].max() > 5.0


def test_tables_of_earlier_versions_have_one_scale_a_week_and_no_spread() -> None:
    made = stored(fitted(stream()[None]), INTERVAL, BLOCK, torch.zeros(1))
    flat = Seasons([0], made).flat()

    def part(name: str, low: int, high: int) -> Tensor:
        return torch.zeros(high - low, *FIELDS[name]) if name in LATER else flat[name][low:high]

    [old], [new] = (
        Seasons.read(part, 0, 1, 0).rows["tails"],
        Seasons.read(lambda n, a, b: flat[n][a:b], 0, 1, 0).rows["tails"],
    )
    spread = [s.spread for s in persistence.STATISTICS] * 2
    assert torch.isinf(old[spread, 1]).all()
    assert torch.equal(old[~torch.tensor(spread)], new[~torch.tensor(spread)])
    assert torch.isfinite(new[spread, 1]).all()
    assert (Seasons.read(part, 0, 1, 0).rows["calm"] == 1.0).all()


def jittered(seed: int, late: int, days: int = 11) -> Tensor:
    """Four humps a day, three of them five minutes early or late on some days; the last day's fourth is `late` blocks late."""
    rng = np.random.default_rng(seed)
    value = 0.1 * rng.normal(size=days * PER_DAY)
    hump = 7 * np.sin(np.pi * (np.arange(10) + 0.5) / 10)
    for day in range(days):
        for phase in (36, 108, 180, 252):
            by = int(rng.integers(-1, 2)) if phase < 252 else late * (day == days - 1)
            start = day * PER_DAY + phase + by
            value[start : start + 10] += hump
    return torch.from_numpy(value.astype(np.float32))[None]


def test_what_onsets_shift_by_at_three_times_a_day_they_may_at_the_fourth() -> None:
    days = 11
    for late, quiet in ((1, True), (12, False)):
        x = jittered(3, late)
        found = scored(fitted(x, days - 1), x, (days - 1) * PER_DAY, days * PER_DAY)
        most = float(found.surprise_RL[0, 240:].max())
        assert most < 4.3 if quiet else most > 6.0


def test_scores_do_not_depend_on_the_batch() -> None:
    x = torch.stack([stream(s) for s in range(3)])
    bank = fitted(x)
    whole = scored(bank, x, LAST.start, LAST.stop).each_RLS
    some = torch.tensor([2])
    parts = [
        scored(bank.rows(some), x[some], at, min(at + 7, LAST.stop)).each_RLS for at in range(LAST.start, LAST.stop, 7)
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole[some], rtol=1e-3, atol=1e-3)


def test_scores_do_not_depend_on_what_follows() -> None:
    x = stream()[None]
    bank, later = fitted(x), x.clone()
    later[:, LAST.start + 100 :] = 1e4
    a, b = (scored(bank, y, LAST.start, LAST.stop).each_RLS[:, :100] for y in (x, later))
    torch.testing.assert_close(a, b)


def test_units_do_not_matter() -> None:
    x = stream()[None].clone()
    x[0, LAST.start + 140 : LAST.start + 150] -= 20
    there = scored(fitted(x), x, LAST.start, LAST.stop).surprise_RL
    y = 1e3 * x + 2e3
    here = scored(fitted(y), y, LAST.start, LAST.stop).surprise_RL
    torch.testing.assert_close(here, there, rtol=0.1, atol=0.3)


def test_unseen_and_unchanging_values() -> None:
    up = torch.ones(1, (DAYS + 1) * PER_DAY)
    up[0, LAST.start + 9] = 0.0
    assert scored(fitted(up), up, LAST.start, LAST.stop).each_RLS[0, 9, persistence.UNSEEN] == 8.0
    stuck = stream()[None].clone()
    stuck[0, LAST.start + 100 : LAST.start + 140] = stuck[0, LAST.start + 100]
    found = scored(fitted(stuck), stuck, LAST.start, LAST.stop).each_RLS[0, :, persistence.SAME]
    assert found[139] > 6.0
    assert found[:100].max() == 0.0


def test_slots_of_five_minutes_are_stuck_after_half_an_hour() -> None:
    assert [season.least_run(s) for s in (1, 15, 60, 100, 300, 3600)] == [15, 15, 15, 9, 6, 6]


def test_what_scatters_by_shares_falls_by_shares() -> None:
    """The link that is down: on its own scale 3 % of what is usual lay within the band, which began below nothing."""
    noise = np.random.default_rng(5).normal(size=(DAYS + 1) * PER_DAY).astype(np.float32)
    x = stream()[None] * torch.from_numpy(np.exp(0.5 * noise))
    x[0, LAST.start + 150 : LAST.start + 174] *= 0.03
    bank = fitted(x)
    assert bank.knee[0] > 0
    found = scored(bank, x, LAST.start, LAST.stop)
    assert found.surprise_RL[0, 150:174].max() > 6.0
    assert (found.low_RL[0, :150] > 0).all()
    assert scored(fitted(stream()[None]), x, LAST.start, LAST.stop).high_RL[0, 150] < found.high_RL[0, 150]


def test_gaps_are_no_event() -> None:
    x = stream()[None].clone()
    x[0, LAST.start + 50 : LAST.start + 80] = torch.nan
    found = scored(fitted(x), x, LAST.start, LAST.stop)
    assert torch.isfinite(found.surprise_RL).all()
    assert found.surprise_RL.max() < 5.0


def test_tails_keep_the_order_of_what_is_far_out() -> None:
    sample = torch.randn(1, 4000, generator=torch.Generator().manual_seed(3))
    days = torch.arange(4000)[None] // 288
    worst = tails.worst(sample, days, 14)
    tail = tails.fit(sample, worst, worst, worst, 0.25, torch.zeros(1))
    said = tails.surprise(torch.tensor([[0.0, 2.0, 5.0, 50.0, 500.0]]), tail[:, None])[0]
    assert (said.diff() > 0).all()
    assert said[1] < 4.0 < said[3]
    torch.testing.assert_close(tails.surprise(tails.reached(tail, 3.0)[:, None], tail[:, None]), torch.tensor([[3.0]]))


def test_what_is_never_negative_falls_further_than_it_rises() -> None:
    x = torch.tensor([0.0, 30.0, 290.0, 320.0, 610.0])
    band = torch.tensor(300.0), torch.tensor(310.0), torch.tensor(60.0)
    by = [season.departures(x, *band, torch.tensor(amount)) for amount in (True, False)]
    torch.testing.assert_close(by[1], torch.tensor([-5.0, -4.5, -1 / 6, 1 / 6, 5.0]))
    torch.testing.assert_close(by[0][2:], by[1][2:], atol=0.01, rtol=0.0)
    assert -10.0 <= by[0][0] < by[0][1] < -5.5


def test_an_average_is_believed_as_far_as_the_least_known_day_in_it() -> None:
    x = stream()[None]
    bank = fitted(x)
    at = DAYS * PER_DAY + 18  # half past one: four hours before it begin on the day before
    day = DAYS % 7  # the first day is a Monday
    bank.trust[:] = 1.0
    sure = scored(bank, x + 40.0, at, at + 1).each_RLS[0, 0]
    bank.trust[:, (day - 1) % 7] = 0.5
    less = scored(bank, x + 40.0, at, at + 1).each_RLS[0, 0]
    names = [s.name for s in persistence.STATISTICS]
    for name, share in (("slot", 1.0), ("5 min", 1.0), ("4 h", 0.5)):
        where = names.index(name)
        torch.testing.assert_close(less[where], share * sure[where])
        assert sure[where] > 1.0


def test_one_event_beyond_the_start_of_a_tail_of_averages_makes_it_no_steeper_than_a_normal_one() -> None:
    """A cleanup's twelve hours are 5 % of ten days: the tail began where they lay, and ended there."""
    rng = torch.Generator().manual_seed(0)
    sample = torch.randn(1, 2880, generator=rng)
    event = sample.clone()
    event[:, 1000:1150] = 40 + 0.1 * torch.randn(1, 150, generator=rng)
    none, still = torch.full((1, 10), -torch.inf), torch.zeros(1)
    steep, normal = (tails.fit(event, none, none, none, 0.25, still, runs=runs) for runs in (False, True))
    beyond = torch.tensor([80.0])
    assert float(tails.surprise(beyond, steep)) > 3 * float(tails.surprise(beyond, normal))
    assert 1.3 < float(tails.surprise(beyond, normal)) < 6
    # A normal sample's tail is what it was.
    torch.testing.assert_close(
        tails.fit(sample, none, none, none, 0.25, still),
        tails.fit(sample, none, none, none, 0.25, still, runs=True),
        rtol=0.15,
        atol=0.1,
    )


@pytest.mark.slow(6)
def test_an_hour_without_is_told_of_shares_that_wander() -> None:
    """A checkout nearly broken for an hour, of visits whose share of buyers wanders by a sixth for hours."""
    rows, days = 24, 28
    rng = np.random.default_rng(7)
    wander = np.zeros((rows, (days + 1) * PER_DAY))
    for at in range(1, wander.shape[1]):
        wander[:, at] = 0.983 * wander[:, at - 1] + 0.18 * rng.normal(size=rows)
    share = np.clip(0.03 * (1 + 0.15 * wander), 0, 1)
    noon = slice(days * PER_DAY + 144, days * PER_DAY + 156)
    share[::2, noon] *= 0.3
    usual = 900 * (1 + 0.9 * np.sin(2 * np.pi * np.arange(wander.shape[1]) / PER_DAY - 1.5))
    visits = np.maximum(rng.poisson(usual, wander.shape), 1)
    x = torch.from_numpy(100.0 * rng.binomial(visits, share) / visits).float()
    most = scored(fitted(x, days), x, days * PER_DAY, (days + 1) * PER_DAY).surprise_RL.amax(1)
    assert (most[::2] >= 4.3).float().mean() > 0.6  # with the tail as wide as the others' .42
    assert most[1::2].max() < 4.3


def test_a_state_is_known_by_blocks_that_are_stored_to_a_thousandth() -> None:
    x = stream()[None]
    bank = fitted(torch.where(x > 50, 6000.0, 800.0))
    # no slot of the ring had it
    values = torch.where(bank.values == 6000.0, 5996.0, bank.values)
    bank = replace(bank, values=values, near=season.near_of(values))
    now = torch.where(x > 50, 6000.0, 800.0)
    unseen = scored(bank, now, LAST.start, LAST.stop).each_RLS[..., persistence.UNSEEN]
    assert unseen.max() == 0.0
    now[0, -1] = 5900.0
    assert scored(bank, now, LAST.start, LAST.stop).each_RLS[0, -1, persistence.UNSEEN] > 5.0


def test_a_value_far_from_all_others_hides_no_unseen_state() -> None:
    x = stream()[None]
    bank = fitted(torch.where(x > 50, 1.0, 0.0))
    values = torch.tensor([[0.0, 1.0, 9999.0, *[torch.nan] * (FEW - 3)]])
    bank = replace(bank, values=values, near=season.near_of(values))
    now = torch.where(x > 50, 1.0, 0.0)
    now[0, -1] = 7.0
    unseen = scored(bank, now, LAST.start, LAST.stop).each_RLS[0, :, persistence.UNSEEN]
    assert unseen[:-1].max() == 0.0
    assert unseen[-1] > 5.0


def test_what_is_beyond_all_that_there_was_is_found_whatever_the_band() -> None:
    """A saw tooth of which every value has been at every time: full to the brim it never was."""
    x_RL = 100 * torch.rand((1, (DAYS + 1) * PER_DAY), generator=torch.Generator().manual_seed(4))
    x_RL[:, LAST.start + 40 : LAST.start + 44] = 125.0
    found = scored(fitted(x_RL), x_RL, LAST.start, LAST.stop)
    told = found.each_RLS[0, :, persistence.RECORD]
    assert told.nonzero().flatten().tolist() == [41, 42, 43]  # the second block on
    assert told.max() > 6.0
    assert found.sign_RL[0, 42] == 1.0
    assert 100.0 < found.high_RL.max() < 125.0


def test_what_a_stay_brings_with_it_is_no_news_but_what_lasts_or_was_never_there_is() -> None:
    """Copies at any time, each as fast as the link is: an hour of one is rare, and nothing to wake anybody for."""
    rng = np.random.default_rng(8)
    value = np.abs(rng.normal(size=(DAYS + 1) * PER_DAY))
    for at in range(20, LAST.start - 20, 60):
        begun = at + int(rng.integers(40))
        value[begun : begun + int(rng.integers(4, 8))] = 100.0
    long, higher = value.copy(), value.copy()
    value[LAST.start + 40 : LAST.start + 53] = long[LAST.start + 40 : LAST.start + 100] = 100.0
    higher[LAST.start + 40 : LAST.start + 53] = 300.0
    rows = torch.from_numpy(np.stack([value, long, higher])).float()
    found_RLS = scored(fitted(rows), rows, LAST.start, LAST.stop).each_RLS[:, 42:110]
    up_to_an_hour = slice(0, 4)
    assert found_RLS[0, :11, up_to_an_hour].max() == 0.0
    assert found_RLS[1, :, persistence.STAYS].max() > 6.0
    assert found_RLS[2, :11, up_to_an_hour].min() > 0.0
    assert found_RLS[2, :, persistence.RECORD].max() > 6.0

"""What a season bank learns: which season a row has, and what it must not learn from."""

import numpy as np
import torch
from torch import Tensor

from detector.model.views.season import DAY_S, SeasonTables
from trainer.fit import season as seasonfit
from trainer.fit.season_days import History

INTERVAL, BLOCK = 300, 300
PER_DAY = DAY_S // INTERVAL
MONDAY = 1_704_067_200


def fitted(
    x_RL: Tensor, out: Tensor | None = None, since: int = 0, zone_s: int = 0, previous: SeasonTables | None = None,
    interval: int = INTERVAL, ring: int = 8192,
) -> SeasonTables:  # fmt: skip
    """Of all blocks and the ring's newest slots."""
    rows, slots = x_RL.shape
    per_block = BLOCK // interval
    when = (MONDAY + zone_s + torch.arange(slots) * interval).expand(rows, -1)
    out = torch.zeros(x_RL.shape, dtype=torch.bool) if out is None else out
    block_RB, out_RB = (v.view(rows, -1, per_block) for v in (x_RL, out))
    history = History(
        block_RB.nanmean(-1), when[:, ::per_block], x_RL[:, -ring:], when[:, -ring:], interval, BLOCK,
        out_RB.any(-1), out[:, -ring:], torch.full((rows,), since),
    )  # fmt: skip
    return seasonfit.fit(history, previous)


def made(days: int, weekend: float = 1.0, growth: float = 0.0, cycle: float = 20.0, noise: float = 1.0) -> Tensor:
    rng = np.random.default_rng(days)
    at = np.arange(days * PER_DAY)
    value = 50 + cycle * np.sin(2 * np.pi * at / PER_DAY)
    value = value * np.where(at // PER_DAY % 7 >= 5, weekend, 1.0) + growth * at / PER_DAY
    return torch.from_numpy((value + noise * rng.normal(size=len(at))).astype(np.float32))[None]


def season_of(bank: SeasonTables) -> str:
    return seasonfit.SEASONS[int(bank.season[0])]


def test_the_history_says_which_season() -> None:
    assert season_of(fitted(made(15, cycle=0.0))) == "none"
    assert season_of(fitted(made(15))) == "day"
    assert season_of(fitted(made(15, weekend=0.5))) == "weekend"
    assert season_of(fitted(made(15, growth=3.0))) == "day, from yesterday's level"


def test_a_weak_season_of_a_noisy_row_is_found_and_smooth() -> None:
    """The median of seven days errs by half of what a slot scatters by: as much as there is of a season here."""
    bank = fitted(made(22, cycle=5.0, noise=8.0))
    assert season_of(bank) == "day"
    true = 50 + 5.0 * np.sin(2 * np.pi * np.arange(PER_DAY) / PER_DAY)
    off = (bank.mid[0].view(7, PER_DAY) - torch.from_numpy(true)).abs()
    assert off.mean() < 1.5
    assert season_of(fitted(made(22, cycle=0.0, noise=8.0))) == "none"


def test_a_nightly_job_keeps_its_edges_in_noise() -> None:
    x = made(15, cycle=5.0, noise=4.0).view(15, PER_DAY)
    x[:, 24:36] += 60.0
    day = fitted(x.reshape(1, -1)).mid[0].view(7, PER_DAY)[2]
    assert day[20:24].max() < 75.0
    assert day[24:36].min() > 95.0
    assert day[36:40].max() < 75.0


def test_days_that_differ_as_a_whole_agree_on_when_a_job_begins() -> None:
    x = made(15, cycle=30.0).view(15, PER_DAY)
    x += 4.0 * torch.from_numpy(np.random.default_rng(5).normal(size=(15, 1))).float()
    x[:, 24:36] += 6.0
    day = fitted(x.reshape(1, -1)).mid[0].view(7, PER_DAY)[2]
    assert day[24] - day[23] > 5.0
    assert day[35] - day[36] > 5.0


def test_three_mondays_that_are_alike_make_no_season_of_weekdays() -> None:
    x = made(15, cycle=0.0).view(15, PER_DAY)
    x[[0, 7, 14], 100:200] += 40.0
    assert not season_of(fitted(x.reshape(1, -1))).startswith("weekday")
    each = made(22, cycle=0.0).view(22, PER_DAY)
    each[[0, 7, 14, 21], 100:200] += 40.0
    assert season_of(fitted(each.reshape(1, -1))) == "weekday"


def test_a_saw_that_is_in_step_with_the_week_for_some_days_has_no_season() -> None:
    """Teeth of 7 hours: 24 of them are a week."""
    rng = np.random.default_rng(3)
    at = np.arange(22 * PER_DAY) + 0.0
    at[17 * PER_DAY :] += 2 * 12  # two hours late from then on
    saw = 30 + 65 * (at / 84 % 1) + rng.normal(size=len(at))
    x = torch.from_numpy(saw.astype(np.float32))[None]
    for days in (17, 22):
        assert season_of(fitted(x[:, : days * PER_DAY])).startswith("none")


def test_weekends_are_expected_after_one() -> None:
    bank = fitted(made(8, weekend=0.5))
    saturday = bank.mid[0].view(7, PER_DAY)[5]
    assert (saturday - made(6, weekend=0.5)[0, -PER_DAY:]).abs().mean() < 3.0


def test_a_first_saturday_is_within_the_range_of_the_week() -> None:
    bank = fitted(made(5, weekend=0.5))
    assert bank.trust[0, 5] == 0.5 * bank.trust[0, 2]
    assert fitted(made(9)).trust[0, 2] == 1.0
    low, high = bank.low[0].view(7, PER_DAY)[5], bank.high[0].view(7, PER_DAY)[5]
    assert low.max() < 35.0
    assert high.min() > 65.0


def test_of_two_sundays_that_disagree_the_one_like_other_days_is_expected() -> None:
    x = made(20)
    x[0] += 15.0 * ((torch.arange(20 * PER_DAY) // PER_DAY % 7) % 4)  # every weekday has a level of its own
    clean = fitted(x)
    assert season_of(clean).startswith("weekday")
    x[0, 14 * PER_DAY - 200 : 14 * PER_DAY - 100] += 200.0  # nobody noticed it
    held = fitted(x)
    torch.testing.assert_close(held.mid.view(7, PER_DAY)[6], clean.mid.view(7, PER_DAY)[6], atol=8.0, rtol=0.0)


def test_an_incident_is_not_expected_again() -> None:
    x, out = made(15), torch.zeros(1, 15 * PER_DAY, dtype=torch.bool)
    clean = fitted(x)
    at = slice(14 * PER_DAY + 100, 14 * PER_DAY + 160)
    x[0, at] = 500.0
    out[0, at] = True
    held = fitted(x, out)
    torch.testing.assert_close(held.mid, clean.mid, atol=1.5, rtol=0.0)
    torch.testing.assert_close(held.block_scale, clean.block_scale, atol=0.5, rtol=0.2)


def test_a_lasting_new_level_is_known_from_its_first_day() -> None:
    x = made(15)
    since = 14 * PER_DAY
    x[0, since:] = x[0, since:] * 0.6 + 100
    bank = fitted(x, since=since)
    usual = made(15)[0, :PER_DAY] * 0.6 + 100
    assert (bank.mid[0].view(7, PER_DAY).median(0).values - usual).abs().mean() < 2.0


def test_the_day_is_the_zones() -> None:
    x = made(15)
    here, there = fitted(x), fitted(x, zone_s=3_600)
    torch.testing.assert_close(there.mid.view(7, PER_DAY)[2], here.mid.view(7, PER_DAY)[2].roll(12), atol=3.0, rtol=0.0)


def test_rows_do_not_depend_on_each_other() -> None:
    both = torch.cat([made(15), made(15, weekend=0.5)])
    together, alone = fitted(both), fitted(both[1:])
    torch.testing.assert_close(together.mid[1:], alone.mid)
    torch.testing.assert_close(together.tails[1:], alone.tails)


def test_just_after_midnight_no_block_of_the_day_is_complete() -> None:
    x_RL = made(4)[:, : 3 * PER_DAY + 1]
    when = (MONDAY + torch.arange(x_RL.shape[1]) * INTERVAL)[None]
    out = torch.zeros(x_RL.shape, dtype=torch.bool)
    history = History(
        x_RL[:, :-1], when[:, :-1], x_RL, when, INTERVAL, BLOCK, out[:, :-1], out, torch.zeros(1, dtype=torch.long)
    )
    assert bool(torch.isfinite(seasonfit.fit(history).tails).all())


def test_short_histories_make_a_bank() -> None:
    for days in (1, 2, 3):
        bank = fitted(made(days))
        assert torch.isfinite(bank.mid).all()
        assert bank.trust.max() < 1.0


def test_days_of_blocks_are_no_calmer_than_days_of_slots() -> None:
    """Slots of a minute are kept for some days, blocks for weeks: a spike a day is gone from most days' blocks."""
    rng = np.random.default_rng(0)
    days, per_day = 28, 1440
    x = torch.from_numpy(50 + rng.normal(size=(1, days * per_day))).float()
    for day in range(days):
        x[0, day * per_day + 600 + 11 * day] += 12.0 + day % 3
    few, all_of_them = (fitted(x, interval=60, ring=n * per_day).tails[0, 0] for n in (4, days))
    assert few[2] > 0.9 * all_of_them[2]


def test_a_weekly_standstill_is_known_though_each_was_an_incident() -> None:
    """Upkeep of an hour on Wednesdays."""
    x = made(24)
    out = torch.zeros(x.shape, dtype=torch.bool)
    for day in (2, 9, 16, 23):
        at = slice(day * PER_DAY + 36, day * PER_DAY + 48)
        x[0, at], out[0, at] = 0.0, True
    assert fitted(x, out).longest[0, 0] == 12.0
    out[0, : 22 * PER_DAY] = False
    x[0, : 22 * PER_DAY] = made(24)[0, : 22 * PER_DAY]
    assert fitted(x, out).longest[0, 0] == 1.0  # the first one

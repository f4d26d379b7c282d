"""The week that a student expects, as `models show` draws it."""

import io

import numpy as np
import torch
from rich.console import Console, Group

from detector.model.seasons import Seasons, stored
from detector.model.views.season import DAY_S
from trainer.cli.season_picture import season_curves
from trainer.fit import season as seasonfit
from trainer.fit.season_days import History

INTERVAL = BLOCK = 300
PER_DAY = DAY_S // INTERVAL
MONDAY = 1_704_067_200


def week(weekend: float) -> Seasons:
    """A season of two weeks whose nights are low and whose weekends are `weekend` of a workday."""
    at = np.arange(15 * PER_DAY)
    value = (50 - 40 * np.cos(2 * np.pi * at / PER_DAY)) * np.where(at // PER_DAY % 7 >= 5, weekend, 1.0)
    x_RL = torch.from_numpy((value + np.random.default_rng(0).normal(size=len(at))).astype(np.float32))[None]
    when = (MONDAY + torch.arange(x_RL.shape[1]) * INTERVAL).expand(1, -1)
    out, since = torch.zeros(x_RL.shape, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
    part = slice(-8192, None)
    bank = seasonfit.fit(
        History(x_RL, when, x_RL[:, part], when[:, part], INTERVAL, BLOCK, out, out[:, part], since), None
    )
    return Seasons([0], stored(bank, INTERVAL, BLOCK, since))


def lines(seasons: Seasons) -> list[str]:
    """As shown."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(Group(*season_curves(seasons, ["value"])))
    return console.export_text().splitlines()


def test_seven_days_with_a_low_weekend() -> None:
    shown = lines(week(0.4))
    assert "season of value: by the time of day, workdays and weekends apart" in shown[1]
    top = next(line for line in shown if "█" in line)
    days = [top[10 + 12 * day : 10 + 12 * (day + 1)] for day in range(7)]
    assert ["█" in day for day in days] == [True] * 5 + [False] * 2
    assert any("░" in line for line in shown)
    assert shown[-1].split() == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def test_a_student_without_a_season_says_so() -> None:
    assert lines(Seasons()) == ["season: none yet (it takes two days)"]

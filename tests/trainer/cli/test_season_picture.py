"""The week that a student expects, as `models show` draws it."""

import io

import numpy as np
import torch
from rich.console import Console, Group

from detector.model.seasons import Seasons, stored
from tests.trainer.fit.test_season import BLOCK, INTERVAL, PER_DAY, fitted
from trainer.cli.season_picture import season_curves


def week(weekend: float) -> Seasons:
    """A season of two weeks whose nights are low and whose weekends are `weekend` of a workday."""
    at = np.arange(15 * PER_DAY)
    value = (50 - 40 * np.cos(2 * np.pi * at / PER_DAY)) * np.where(at // PER_DAY % 7 >= 5, weekend, 1.0)
    x_RL = torch.from_numpy((value + np.random.default_rng(0).normal(size=len(at))).astype(np.float32))[None]
    return Seasons([0], stored(fitted(x_RL), INTERVAL, BLOCK, torch.zeros(1, dtype=torch.long)))


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

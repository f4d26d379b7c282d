"""A budget of alerts is kept over weeks, whatever opens, and by the right incidents."""

import math
import random

import pytest

from detector.incidents.ranking import Weighed, bar_of

DAYS = 35


def _weeks(seed: int, a_day: float, outage_at: int | None) -> list[list[float]]:
    """Ranks of what opens, hour by hour: busy days and calm ones, most of little rank; `outage_at`: 300 at once, grave."""
    draw = random.Random(seed)
    hours = []
    for hour in range(DAYS * 24):
        busy = 1.0 + 0.7 * math.sin(2 * math.pi * hour / 24) + 0.5 * (hour // 24 % 7 == 2)
        count = sum(draw.random() < a_day * busy / 24 / 50 for _ in range(50))
        ranks = [
            round(10.0 * min(2, int(draw.expovariate(1.5))) + min(draw.expovariate(1.0), 9.99), 2) for _ in range(count)
        ]
        hours.append(ranks + ([20.0 + draw.random() for _ in range(300)] if hour == outage_at else []))
    return hours


def _announced(hours: list[list[float]], per_day: float) -> list[list[float]]:
    pool, found = list[Weighed](), []
    for hour, ranks in enumerate(hours):
        bar = bar_of(pool, hour, 0, per_day)
        found.append([rank for rank in ranks if rank >= bar])
        pool += [Weighed(hour, rank) for rank in ranks]
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("per_day", "a_day"), [(3, 12), (10, 15), (10, 150), (40, 30)])
def test_a_budget_is_kept_within_a_factor_of_two_each_week(seed: int, per_day: float, a_day: float) -> None:
    announced = _announced(_weeks(seed, a_day, None), per_day)
    for week in range(DAYS // 7):
        mean = sum(map(len, announced[week * 168 : (week + 1) * 168])) / 7
        assert min(per_day, a_day) / 2 <= mean <= per_day * 2, week


def test_what_is_announced_is_the_gravest() -> None:
    hours = _weeks(5, 60, None)
    announced = _announced(hours, 6)
    late = range(7 * 24, DAYS * 24)
    best = sorted((rank for hour in late for rank in hours[hour]), reverse=True)[: 6 * (DAYS - 7)]
    kept = [rank for hour in late for rank in announced[hour]]
    assert sum(rank >= best[-1] for rank in kept) >= 0.8 * len(kept)


def test_a_great_outage_does_not_silence_the_days_after() -> None:
    hours = _weeks(6, 60, outage_at=400)
    announced = _announced(hours, 6)
    assert len(announced[400]) >= 300  # nobody can rank what comes at once
    after = sum(map(len, announced[401 : 401 + 48])) / 2
    assert after >= 2

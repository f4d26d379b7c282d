"""The dial: how many false alerts a person asks for, as the surprises at which incidents open and close."""

import math

from streamer.contracts import StreamSettings

WEEK_NS = 7 * 86_400 * 10**9
# Bounds of a threshold: below the lower one surprises are no tail any more (1 slot in 30), above the upper one they
# hardly grow (their cap is 12), so that nothing would alert.
LOWEST, HIGHEST = 1.5, 11.0
HYSTERESIS = 1.0  # an incident holds until slots are ten times as likely as the threshold
PER_WEEK = 0.1  # false alerts a stream where nothing is set: a hundred a week of a thousand streams
# A threshold of 5, where nothing else is set; of a young student less: after 600 slots between 0 and 4 a jump to 1000 is
# called 4.7, 1.9 decades more than there were slots.
LEAST_BUDGET, BACKED = 0.1, 50.0
WARMING_BUDGET = 1.0
FINEST = 0.7  # decades more that are asked of students at most: their surprises end at 6.4 to 6.7
BESIDE_SEASON = 3.0  # students that a season helps have a third of what is promised
# Two of three slots at 5 decades came .02 to .22 times per week on streams that nobody had tuned on, asked for .1.
SEASON_OPENS, SEASON_PER_WEEK = 5.0, 0.1
# Slots longer than a minute are fewer chances, down to a fifth of them; from a minute down, slots within a minute are alike.
_MINUTE_NS, _LONGER = 60 * 10**9, 5.0

# Students that would hold an incident open and a season so near to its threshold open one together: a young student and a
# young season each say too little of an outage of ten minutes on the fourth day (docs/decisions/035). Not where many
# alerts are asked for: there both are often near by chance.
NEAR, NEAR_FROM = 0.75, 2.5


def budget_of(settings: StreamSettings, interval_ns: int, warming: bool = False, slots: int | None = None) -> float:
    """Expected false alerts in 10 000 slots of a stream with so many ns a slot, whichever setting gives them.

    Where none does: `PER_WEEK`, but no rarer than a student can tell (`LEAST_BUDGET`; one that has learnt from `slots` once
    in `BACKED` times as many, by steps of 64), and once in 10 000 slots while a stream warms: the generic prior calls a
    jump of 15 sigma after 190 slots 4.98.

    >>> budget_of(StreamSettings(alerts_per_week=6.048), interval_ns=10**9)
    0.1
    >>> budget_of(StreamSettings(), 10**9, slots=600), budget_of(StreamSettings(), 10**9, slots=8192)
    (0.3125, 0.1)
    """
    if settings.alerts_per_week is not None:
        return _in_slots(settings.alerts_per_week, interval_ns)
    if settings.alert_budget is not None:
        return settings.alert_budget
    backed = 10_000 / BACKED / (-(-slots // 64) * 64) if slots else 0.0
    return max(_in_slots(PER_WEEK, interval_ns), WARMING_BUDGET if warming else LEAST_BUDGET, backed)


def _in_slots(per_week: float, interval_ns: int) -> float:
    """So many a week, in 10 000 slots."""
    return per_week * 10_000 * interval_ns / WEEK_NS


def per_week_of(settings: StreamSettings, interval_ns: int) -> float:
    """The same a week, as it is asked for.

    The season can tell what is rarer than `LEAST_BUDGET`: it knows weeks, not slots.

    >>> per_week_of(StreamSettings(), 10**9), per_week_of(StreamSettings(alert_budget=1.0), 60 * 10**9)
    (0.1, 1.008)
    """
    if settings.alerts_per_week is not None:
        return settings.alerts_per_week
    if settings.alert_budget is not None:
        return settings.alert_budget / 10_000 * WEEK_NS / interval_ns
    return PER_WEEK


def finer_of(settings: StreamSettings, interval_ns: int) -> float:
    """Decades that students must have more beside a season, where slots of less than three minutes would be false too often.

    `LEAST_BUDGET` is for students that are alone: at 15 s it is .4 a week.

    >>> [round(finer_of(StreamSettings(), s * 10**9), 2) for s in (300, 60, 15, 1)], finer_of(StreamSettings(alerts_per_week=1), 10**9)
    ([0.0, 0.48, 0.7, 0.7], 0.0)
    """
    if settings.alerts_per_week is not None or settings.alert_budget is not None:
        return 0.0
    return min(FINEST, max(0.0, math.log10(LEAST_BUDGET / _in_slots(PER_WEEK / BESIDE_SEASON, interval_ns))))


def threshold_of(alert_budget: float) -> float:
    """Surprise whose expected number of false alerts in 10 000 slots is `alert_budget`: 4.0 for 1.

    It stays within LOWEST and HIGHEST: one alert a week at 1 000 Hz, or 100 a week of daily values, ask for more than
    surprises can resolve.

    >>> threshold_of(1.0), threshold_of(10.0)
    (4.0, 3.0)
    """
    return min(max(-math.log10(alert_budget / 10_000), LOWEST), HIGHEST)


def season_opens_of(per_week: float, interval_ns: int) -> float:
    """Surprise of the season that opens an incident, by the false alerts expected per week: a decade for a tenth of them.

    >>> season_opens_of(0.1, 10**9), season_opens_of(1.0, 60 * 10**9), round(season_opens_of(0.1, 300 * 10**9), 2)
    (5.0, 4.0, 4.3)
    """
    longer = min(max(interval_ns / _MINUTE_NS, 1.0), _LONGER)
    return max(SEASON_OPENS + math.log10(SEASON_PER_WEEK / per_week / longer), LOWEST)


def season_near_of(per_week: float) -> float:
    """Surprise of the season that opens one together with students that nearly do; longer slots need no help.

    >>> season_near_of(0.1)
    4.25
    """
    return season_opens_of(per_week, _MINUTE_NS) - NEAR


def nearly(threshold: float, season_near: float, students: float, season: float) -> bool:
    """Whether both families are near enough to what opens an incident to open one together.

    >>> nearly(5.0, 4.25, students=4.5, season=4.3), nearly(5.0, 4.25, students=3.9, season=4.9)
    (True, False)
    """
    return threshold >= NEAR_FROM and students >= closing(threshold) and season >= season_near


def closing(threshold: float) -> float:
    """Slots below this are quiet. A low threshold (a large budget) is halved rather than taken below zero.

    >>> closing(4.0), closing(1.0)
    (3.0, 0.5)
    """
    return max(threshold - HYSTERESIS, threshold / 2)

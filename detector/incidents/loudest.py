"""How surprising the students of a stream have found its slots of late, at most: by itself, day by day.

What they need beside a season (docs/decisions/033) is for streams of which they are often wrong. Where weeks have shown
that they are not, what is a good deal more surprising than anything in them is news at less (docs/decisions/062).
"""

from collections.abc import Sequence

from detector.incidents.season_rule import SeasonRule

LISTEN = 3.0  # surprise from which slots are remembered: a stream whose students never say so much is as if they did
NEWS = 0.75  # decades more than anything of so many days, of which so many must be known
DAYS, KNOWN_DAYS = 28, 14


def with_slot(days: list[tuple[int, float]], day: int, surprise: float) -> list[tuple[int, float]]:
    """Days and their largest surprise, oldest first, with one slot more: the first of each day, and what is worth it.

    >>> with_slot([(2, 3.5), (30, 4.0)], day=31, surprise=0.2), with_slot([(30, 4.0)], day=30, surprise=4.1)
    ([(30, 4.0), (31, 3.0)], [(30, 4.1)])
    """
    if surprise < LISTEN and days and days[-1][0] == day:
        return days
    known = dict(days)
    known[day] = max(round(surprise, 2), known.get(day, LISTEN))
    return sorted((at, most) for at, most in known.items() if at >= day - DAYS)


def begins(days: Sequence[tuple[int, float]], rule: SeasonRule | None, slot: int) -> bool:
    """Whether nothing is known yet of the slot's day: its first slot is stepped, however calm."""
    return rule is not None and (not days or days[-1][0] != slot // rule.day)


def news(days: Sequence[tuple[int, float]], day: int) -> float | None:
    """Surprise that no slot of the days before has come near; None where too few of them are known.

    >>> calm = [(at, 3.5) for at in range(3, 17)]
    >>> news(calm, day=17), news(calm, day=16), news(calm, day=32)
    (4.25, None, None)
    """
    before = [most for at, most in days if day - DAYS <= at < day]
    return NEWS + max(before) if len(before) >= KNOWN_DAYS else None

"""How surprising the students of a stream have found its slots of late, at most: by itself, day by day.

What they need beside a season (docs/decisions/033) is for streams of which they are often wrong. Where weeks have shown
that they are not, what is a good deal more surprising than anything in them is news at less (docs/decisions/062).
"""

from collections.abc import Sequence

LISTEN = 3.0  # surprise from which slots are remembered: a stream whose students never say so much is as if they did
NEWS = 0.75  # decades more than anything of so many days, of which that must be known for the first few
DAYS, KNOWN_DAYS = 28, 14


def with_slot(days: Sequence[tuple[int, float]], day: int, surprise: float) -> list[tuple[int, float]]:
    """Days and their largest surprise, oldest first, with one slot more.

    >>> with_slot([(2, 3.5), (30, 4.0)], day=31, surprise=3.2), with_slot([(30, 4.0)], day=30, surprise=4.1)
    ([(30, 4.0), (31, 3.2)], [(30, 4.1)])
    """
    known = dict(days)
    known[day] = max(round(surprise, 2), known.get(day, LISTEN))
    return sorted((at, most) for at, most in known.items() if at >= day - DAYS)


def news(days: Sequence[tuple[int, float]], since: int, day: int) -> float | None:
    """Surprise that no slot of the days before has come near; None where too few are known.

    >>> news([(3, 3.5), (20, 4.0), (21, 6.0)], since=3, day=21), news([(3, 3.5)], since=3, day=15)
    (4.75, None)
    """
    if day - since < KNOWN_DAYS:
        return None
    return NEWS + max((most for at, most in days if day - DAYS <= at < day), default=LISTEN)

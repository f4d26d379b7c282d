"""How surprising a stream's slots have been of late, at most, day by day: to its students and to its season.

Thresholds are for streams of which both are wrong now and then. Where weeks have shown that they are not, what is a good
deal more surprising than anything in them is news at less (docs/decisions/062).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from detector.incidents.dial import HYSTERESIS

LISTEN = 3.0  # surprise from which slots are remembered: what is never so surprising is as if it were
NEWS = 0.75  # decades more than anything of so many days, of which that must be known for the first few
DAYS, KNOWN_DAYS = 28, 14


@dataclass(frozen=True, slots=True)
class Day:
    """The largest surprises of what opened nothing.

    >>> Day(19_723, students=3.5, season=3.0).season
    3.0
    """

    day: int
    students: float
    season: float


def with_slot(days: list[Day], day: int, students: float, season: float) -> list[Day]:
    """Days, oldest first, with one slot more, if it is worth it.

    >>> with_slot([Day(2, 3.5, 3.0), Day(31, 4.0, 3.0)], day=31, students=3.2, season=3.1)
    [Day(day=31, students=4.0, season=3.1)]
    """
    if max(students, season) < LISTEN:
        return days
    known = {at.day: at for at in days if at.day >= day - DAYS}
    before = known.get(day, Day(day, LISTEN, LISTEN))
    known[day] = Day(day, max(students, before.students), max(season, before.season))
    return [known[at] for at in sorted(known)]


def news(days: Sequence[Day], since: int, day: int) -> tuple[float, float] | None:
    """Surprises of students and season that no slot of the days before has come near; None where too few are known.

    >>> news([Day(3, 3.5, 3.2), Day(20, 4.0, 3.0), Day(21, 6.0, 6.0)], since=3, day=21), news([], since=3, day=15)
    ((4.75, 3.95), None)
    """
    if day - since < KNOWN_DAYS:
        return None
    before = [Day(day, LISTEN, LISTEN), *(at for at in days if day - DAYS <= at.day < day)]
    return NEWS + max(at.students for at in before), NEWS + max(at.season for at in before)


def lifted(surprise: float, never: float, least: float, opens: float) -> float:
    """What was `never` so surprising in weeks opens, however much that is, and holds as long as others do.

    >>> [lifted(surprise, never=4.75, least=4.0, opens=5.0) for surprise in (3.5, 4.5, 4.75, 7.0)]
    [0.0, 4.75, 5.0, 5.0]
    """
    short = min(0.0, surprise - max(never, least))
    return opens + short if short > -HYSTERESIS else 0.0

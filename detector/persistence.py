"""The averages that a season is judged by: over how long, and what they are made of. Models and incidents share them."""

from typing import NamedTuple


class Statistic(NamedTuple):
    """An average of departures: over how many seconds, formed of what, and whether onsets may shift by minutes."""

    name: str
    seconds: int
    fine: bool  # over slots; the others over complete blocks
    loose: bool  # what lies within the expectation of the neighbouring phases has not departed
    spread: bool = False  # how much blocks differ from one to the next, in place of their mean: too still, too nervous


# A job that starts 3 minutes late departs from the clock but not from what is usual; over an hour its sum must be there,
# and only the plain departures show that a job of one slot has been missing.
STATISTICS = (
    Statistic("slot", 0, True, True),
    Statistic("5 min", 300, True, True),
    Statistic("20 min", 1_200, False, True),
    Statistic("1 h", 3_600, False, True),
    Statistic("4 h", 14_400, False, True),
    Statistic("1 h sum", 3_600, False, False),
    Statistic("4 h sum", 14_400, False, False),
    Statistic("1 h spread", 3_600, False, False, True),
)
SUMS = tuple(i for i, s in enumerate(STATISTICS) if not s.fine and not s.loose and not s.spread)
# Columns of the surprises that follow: unchanging, never seen, longer in a mode than ever, to and fro more often than ever,
# beyond everything that there was.
SAME, UNSEEN, STAYS, CHANGES, RECORD = (len(STATISTICS) + i for i in range(5))
COLUMNS = RECORD + 1
PAIR = 2  # blocks in a row that must be beyond
NAMES = (*(s.name for s in STATISTICS), "unchanged", "never seen", "stays", "to and fro", "record")


def slots_of(seconds: int, interval_s: float) -> int:
    """Slots of an average over so many seconds; at least 2 where it is more than the slot, else persistence means nothing."""
    return max(2, round(seconds / interval_s)) if seconds else 1

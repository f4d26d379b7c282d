"""How the season's surprises open an incident, hold it open and close it.

Two of three slots as surprising as the threshold open one. It holds while its slots, or the average that opened it, are
outside what was expected without it. Averages that still contain an ended incident are not listened to: they would open
it again. What opens again within the hour is the same incident.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from detector.persistence import COLUMNS, PAIR, RECORD, SAME, STATISTICS, slots_of

# A nightly charge that is missed is made up for a day and some hours later; a new level is told within two days.
LASTING_S = 36 * 3_600
# Hourly jobs that all take too long are one incident, and so is a leak under a sawtooth: what an average says as soon as
# it is listened to again, a quarter of an hour after it has left the incident behind, is more of the same.
_REJOIN_S, _AFTER_S = 3_900, 900
_HIGH_S = 4 * 3_600  # so is what is higher than ever again and again: a saw tooth over a leak
DAY_S = 86_400
AROUND_S = (
    1_800  # on both sides of an incident nothing is learnt from; what begins within it of a time of day is at that time
)
OUTSIDE = 2.0  # surprise of a slot that is outside on its own
HOLDS = 1.3  # the same of the five minutes, where the incident is not one of single slots
# Widths of the band that values of an incident of the students had left it by, and that count as back in it.
LEFT_BAND, IN_BAND = 1.0, 0.5
FAR = 5  # newest slots of which two must be outside: one of 20 is by chance


@dataclass(frozen=True)
class SeasonRule:
    """Times in slots, surprises in decades; by column where there are several.

    >>> rule = season_rule(60 * 10**9, 300 * 10**9)
    >>> rule.quiet, rule.hits, rule.lasting
    (5, 2, 2160)
    """

    windows: tuple[int, ...]  # that each column looks back, with the wait for a block to be complete
    rejoin: tuple[int, ...]  # an incident that opens so soon after one of that column is the same again
    quiet: int  # slots within expectation after which an incident has ended
    hits: int  # of three slots that must be as surprising as the threshold
    lasting: int  # what has been open for so long is how things are now
    around: int
    day: int

    def audible(self, season: Sequence[float], since: int) -> tuple[float, int]:
        """The largest surprise of the columns that no longer contain what ended `since` slots ago, and which it is."""
        most, column = 0.0, 0
        for c, value in enumerate(season):
            if since > self.windows[c] and value > most:
                most, column = value, c
        return most, column

    def outside(self, column: int, far: int, season: Sequence[float], hot: bool) -> bool:
        """Whether the newest slot belongs to an incident of that column; `far`: slots outside among the newest ones.

        The five minutes still hold an incident of single slots when it is over; one that only averages show is closed by
        them, and by slots at the median.
        """
        slot, minutes = season[0], season[1]
        if max(season[SAME:RECORD]) >= OUTSIDE or (column == RECORD and season[RECORD] >= OUTSIDE):
            return True
        if slot >= OUTSIDE and far >= min(2, self.quiet):
            return True
        holds = minutes >= OUTSIDE or (minutes >= HOLDS and hot)
        return column != 0 and holds and slot > 0.3


def returned(reach: float, now: float) -> bool:
    """Whether values that had left the students' band so far are back in it: only windows contain them any more."""
    return reach >= LEFT_BAND and now < IN_BAND


@lru_cache(maxsize=1024)
def season_rule(interval_ns: int, block_ns: int) -> SeasonRule:
    """Of streams with such slots and blocks: five slots or five minutes, whichever is longer, end an incident."""
    interval_s, block_s = interval_ns / 10**9, block_ns / 10**9
    per_block = max(1, round(block_s / interval_s))
    windows = [
        slots_of(s.seconds, interval_s) if s.fine else (slots_of(s.seconds, block_s) + 1) * per_block
        for s in STATISTICS
    ]
    windows += [0] * (COLUMNS - len(windows))
    windows[RECORD] = (PAIR + 1) * per_block
    rejoin = [round(max(_REJOIN_S, _AFTER_S + w * interval_s) / interval_s) for w in windows]
    rejoin[RECORD] = round(_HIGH_S / interval_s)
    hits = 2 if interval_s < 300 else 1
    quiet = max(5, round(300 / interval_s))
    lasting, around, day = (max(1, round(seconds / interval_s)) for seconds in (LASTING_S, AROUND_S, DAY_S))
    return SeasonRule(tuple(windows), tuple(rejoin), quiet, hits, lasting, around, day)

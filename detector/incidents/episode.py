"""One incident, as the machine carries it from its opening on."""

from dataclasses import dataclass, field
from typing import Any, Literal

from detector.incidents.severity import severity_of
from streamer.contracts import Severity

NO_COLUMN = -1  # of an incident that the season has not seen

# Why an incident has ended: its slots are within expectation again; it is how things are now; nothing could be judged
# any more, for no data came, or for they could not be scored; a person called it a false alarm; the stream's grid is
# another one; the stream is deleted.
EndReason = Literal["returned", "baseline", "unseen", "unjudged", "verdict", "grid", "deleted"]


@dataclass(slots=True)
class Episode:
    """One incident. `anchor` (its identity) and `threshold` are fixed at the opening.

    >>> episode = Episode(anchor=98, onset=97, threshold=4.0, peak=6.5, peak_slot=99, hot=104)
    >>> episode.last(), episode.severity
    (104, 'warning')
    """

    anchor: int
    onset: int  # first surprising slot
    threshold: float  # of the stream's alert budget …
    peak: float
    peak_slot: int
    hot: int  # newest slot at or above the closing threshold
    stricter: float = 0.0  # … and how many decades more it took
    revision: int = 0
    announced_from: int | None = 0  # revision that people get as its first; None: a budget holds it back
    revised_peak: float = 0.0  # peak at the newest revision
    calm: int = 0  # scored slots in a row in which it did not go on …
    unseen: int = 0  # … and those of them that could not be judged
    ended: int | None = None
    end_reason: EndReason = "returned"
    contained: int = -1  # newest slot after its end in which the students' windows still contained it
    retracted: bool = False
    verdict: str | None = None  # of a person
    column: int = NO_COLUMN  # average of the season that was most surprised at the opening
    reach: float = 0.0  # farthest that a value lay outside what was usual, in widths of the band; 0: never, or unknown
    grave: float | None = None  # the same as severity goes by it; None: of an earlier version
    off: float = 0.0  # `reach` from what was expected, in the unit of the data …
    channel: int = 0  # … of this channel
    around: int = 0  # slots on both sides of it that teach nothing, where the season has seen it
    evidence: dict[str, Any] = field(default_factory=dict)  # of the peak slot, see detector/live/evidence.py

    @property
    def severity(self) -> Severity:
        """By how rare, how long and how far outside, see `detector.incidents.severity`."""
        over, slots = self.peak - self.threshold - self.stricter, self.last() - self.onset + 1
        reach = self.reach if self.grave is None else self.grave
        return severity_of(over, slots, reach, self.column != NO_COLUMN)

    def last(self) -> int:
        """Its newest slot."""
        return self.hot if self.ended is None else self.ended

    def around_it(self) -> tuple[int, int]:
        """First and last slot of what teaches nothing because of it."""
        return self.onset - self.around, self.last() + self.around

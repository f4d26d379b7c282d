"""A budget of alerts for all streams of a tenant, kept by ranking: the gravest and rarest are announced, the rest is held back.

What opens is weighed against all that opened in the last week, announced or not, so that so many a day are announced on
average, whatever the streams' own dials let through. An incident that is held back goes on as any other, and is
announced once it has become grave or rare enough.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from detector.incidents.episode import Episode
from streamer.contracts import Severity

DAY = 24
WEEK = 7 * DAY
# A step of severity is worth more than any rarity.
_GRAVE: dict[Severity, float] = {"info": 0.0, "warning": 10.0, "critical": 20.0}
_RAREST = 9.99


class Weighed(NamedTuple):
    """An incident as it is weighed: the hour in which it opened (Unix hours), its rank (`rank_of`), whose it is.

    >>> one = Weighed(497_222, 11.5, "shop")
    >>> Weighed.read(one.written()) == one, one.joined(Weighed(497_220, 2.0, "shop"))
    (True, Weighed(hour=497220, rank=11.5, tenant='shop'))
    """

    hour: int
    rank: float
    tenant: str = ""

    @classmethod
    def read(cls, value: bytes) -> "Weighed":
        """As `written`."""
        hour, rank, tenant = value.decode().split(" ", 2)
        return cls(int(hour), float(rank), tenant)

    def written(self) -> bytes:
        """As a field of the ranking in Redis."""
        return f"{self.hour} {self.rank} {self.tenant}".encode()

    def joined(self, other: "Weighed | None") -> "Weighed":
        """The same incident, weighed twice: its first hour and its highest rank."""
        return (
            self if other is None else self._replace(hour=min(self.hour, other.hour), rank=max(self.rank, other.rank))
        )


def rank_of(episode: Episode) -> float:
    """By severity, then by the decades that its peak exceeds what opens one.

    >>> rank_of(Episode(anchor=98, onset=97, threshold=4.0, peak=6.5, peak_slot=99, hot=104))
    12.5
    """
    return rank(episode.severity, episode.peak - episode.threshold - episode.stricter)


def rank(severity: Severity, over: float) -> float:
    """The same of an incident of which no more is known than these.

    >>> rank("info", 0.5), rank("critical", 30.0)
    (0.5, 29.99)
    """
    return round(_GRAVE[severity] + min(max(over, 0.0), _RAREST), 2)


def bar_of(weighed: Iterable[Weighed], hour: int, since: int, per_day: float) -> float:
    """Rank from which on an incident is announced in this hour, `-inf` where all are: so that `per_day` were, of the last week.

    `since`: the hour in which the weighing began; on the first day as many are announced as a day may have, then what
    is above them. An hour counts for a day's alerts at most: a great outage does not make the next days deaf.

    >>> pool = [Weighed(hour, 10.0 * (hour % 2) + hour % 7) for hour in range(168)]
    >>> bar_of(pool, 168, since=0, per_day=24), bar_of(pool, 168, since=0, per_day=6)
    (-inf, 13.0)
    >>> bar_of([Weighed(160, 20.0)] * 500 + pool, 168, since=0, per_day=6)
    14.0
    """
    days = min(max((hour - since) / DAY, 1.0), WEEK / DAY)
    wanted, most = max(1, int(per_day * days)), math.ceil(per_day)
    of_hour: dict[int, list[float]] = {}
    for one in weighed:
        if hour - one.hour < WEEK:
            of_hour.setdefault(one.hour, []).append(one.rank)
    ranks = sorted((rank for ranks in of_hour.values() for rank in sorted(ranks)[-most:]), reverse=True)
    return ranks[wanted - 1] if len(ranks) >= wanted else -math.inf

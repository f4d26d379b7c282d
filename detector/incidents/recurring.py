"""What comes again at the same time of day or week as an incident before: a job that begins a little late every night, a
charge that is due on Mondays.

An incident's slots teach nothing, so the season never learns it, and without this it is told every night. It is told again
where it is a decade rarer than it was, a width of the band (a fourth) further out, half an hour longer (half as long again
where it lasts for more than half a day), or a thousand times rarer than the threshold; and always once a person has
confirmed it. What students alone find outside their band is rarer by being further out. Where values are outside by no more
than they were, in the data's own unit, it is never more than it was (docs/decisions/046).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

# Days ago: of what the season finds, and of all. What students alone say repeats itself by the week, or is a habit where
# it has been at that time on TWICE days of the last WITHIN (docs/decisions/035, 039).
DAILY, WEEKLY = (1, 2), (7, 14)
TWICE, WITHIN = 2, 7
# What lasts longer than half a day, or begins later than usual by up to a quarter of what it lasts, is known when it has
# been there in both weeks before: a cleanup of every Sunday.
LATE = 4
RARER = 1.0  # decades
FURTHER, SHARE = 1.0, 4  # widths of the band, or a fourth of what it was
FLAPS = 3  # incidents of a day; after one with more of them every time of day would be known
MOST = 48  # kept of a stream: 4 KB where there are so many


class Off(NamedTuple):
    """What a value outside of its band differs by, in the unit of the data: it means the same whatever the band has become.

    >>> Off(3.0, width=1.0, channel=0).beyond(2.5), Off(3.0, 1.0, 0).beyond(1.5)
    (False, True)
    >>> Off(3.0, 1.0, 0).beyond(-2.5), Off(3.0, 1.0, 0).beyond(0.0)
    (None, None)
    """

    by: float  # from what is expected; negative: below it
    width: float  # of the band
    channel: int

    def beyond(self, past: float) -> bool | None:
        """Whether it is more than it was, by a width or a fourth; None: it was nothing, or on the other side."""
        if self.by * past <= 0:
            return None
        return abs(self.by) > abs(past) + max(FURTHER * self.width, abs(past) / SHARE)


@dataclass(slots=True)
class Recurrence:
    """One incident, or what was passed over as one again. All in slots but `peak` and `reach`.

    >>> Recurrence(anchor=100, first=100, at=100, last=104, peak=6.5).until
    -1
    """

    anchor: int  # identity of the incident that it is, or repeats …
    first: int  # … and where that opened
    at: int  # where it opened itself
    last: int
    peak: float  # largest surprise
    reach: float = 0.0  # farthest outside, in widths of the band …
    off: float = 0.0  # … from what was expected there, in the unit of the data …
    channel: int = 0  # … of this channel
    until: int = -1  # of what was passed over: so long it may last
    confirmed: bool = False  # a person wants to hear of it
    told: bool = True  # once; a habit of the students never was, and only `habit` goes by it


@dataclass(slots=True)
class Loud:
    """What students alone found unusual enough to open an incident, whether one came of it or not.

    >>> with_loud([Loud(120, 126, 6.8, 2.3)], Loud(128, 128, 7.1, 1.9), day=1440, pause=5)
    [Loud(first=120, last=128, peak=7.1, season=2.3, reach=0.0)]
    """

    first: int  # slot
    last: int
    peak: float  # largest surprise of the students …
    season: float  # … and what the season found then, up to the hour
    reach: float = 0.0


def with_loud(loud: Iterable[Loud], now: Loud, day: int, pause: int) -> list[Loud]:
    """With one more slot, without what is too old to be a habit; after a pause it is another one."""
    known = [past for past in loud if now.first - past.last <= (WITHIN + 1) * day]
    if not known or now.first - known[-1].last > pause:
        return [*known, now][-MOST:]
    old = known[-1]
    most = (max(pair) for pair in ((old.peak, now.peak), (old.season, now.season), (old.reach, now.reach)))
    return [*known[:-1], Loud(old.first, now.last, *most)]


def habit(loud: Sequence[Loud], now: Loud, day: int, around: int) -> Recurrence | None:
    """What a slot that students alone would open an incident at is instead, where they say as much at this time of day on
    TWICE of the WITHIN days before.

    >>> nights = [Loud(120, 126, 6.8, 2.3), Loud(1560, 1566, 6.8, 2.9)]
    >>> again = habit(nights, Loud(3003, 3003, 7.0, 3.3), day=1440, around=30)
    >>> again.until if again else None
    3036
    >>> habit(nights, Loud(3003, 3003, 7.0, 3.9), day=1440, around=30) is None  # the season has never found so much
    True
    >>> habit(nights[:1], Loud(1563, 1563, 6.8, 2.3), day=1440, around=30) is None  # it was there once
    True
    """
    found, slot = dict[int, Loud](), now.first
    for past in loud:
        age = round((slot - past.first) / day)
        there = past.first - around <= slot - age * day <= past.last + around and past.last - past.first <= day // 2
        rarer = now.peak > past.peak + RARER or now.season > past.season + RARER
        further = now.reach > past.reach + max(FURTHER, past.reach / SHARE)
        often = sum(abs(other.first - past.first) < day // 2 for other in loud) > FLAPS
        if 0 < age <= WITHIN and there and not (rarer or further or often):
            found[age] = past
    if len(found) < TWICE:
        return None
    until = max(past.last + age * day for age, past in found.items()) + around
    return Recurrence(slot, slot, slot, slot, now.peak, until=until, told=False)


def with_incident(usual: Iterable[Recurrence], new: Recurrence, teaches: bool) -> list[Recurrence]:
    """With an incident that has ended, once; without it where it does not teach what is usual."""
    known = list(usual)
    new.confirmed |= any(past.confirmed for past in known if past.anchor == new.anchor)
    rest = [past for past in known if past.until >= 0 or past.anchor != new.anchor]
    return [*rest, new][-MOST:] if teaches else rest


def with_repeat(usual: Iterable[Recurrence], new: Recurrence, day: int) -> list[Recurrence]:
    """With one more that is passed over, without what is too old to be repeated."""
    rest = [past for past in usual if past.at != new.at and new.at - past.at <= (WEEKLY[-1] + 1) * day]
    return [*rest, new][-MOST:]


def until(usual: Iterable[Recurrence], slot: int) -> list[Recurrence]:
    """What was known before a slot."""
    return [replace(past, last=min(past.last, slot - 1)) for past in usual if past.at < slot]


def loud_until(loud: Iterable[Loud], slot: int) -> list[Loud]:
    """The same of what students alone found."""
    return [replace(past, last=min(past.last, slot - 1)) for past in loud if past.first < slot]


def _alike(usual: Sequence[Recurrence], slot: int, seasonal: bool, day: int, around: int) -> list[Recurrence]:
    """Those of the same time of day, as it was when they were told: no day's delay adds to the one before."""
    found, both = list[tuple[int, Recurrence]](), list[tuple[int, Recurrence]]()
    for past in usual:
        off, age = abs((slot - past.first + day // 2) % day - day // 2), round((slot - past.at) / day)
        lasted = past.last - past.at
        if not 0 < age <= WEEKLY[-1] or off > max(around, lasted // LATE) or not past.told:
            continue
        if sum(other.until < 0 and abs(other.at - past.at) < day // 2 for other in usual) > FLAPS:
            continue
        if off <= around and lasted <= day // 2:
            found.append((age, past))
        elif age in WEEKLY:
            both.append((age, past))
    habit = not seasonal and len({age for age, _ in found if age <= WITHIN}) >= TWICE
    ages = {*WEEKLY, *(DAILY if seasonal else ()), *(range(1, WITHIN + 1) if habit else ())}
    known = [past for age, past in found if age in ages]
    twice = {age for age, _ in (*found, *both)} >= {*WEEKLY}
    return [*known, *(past for _, past in both)] if twice else known


def confirmed(usual: Sequence[Recurrence], slot: int, day: int, around: int) -> bool:
    """Whether a person has confirmed what opens at a slot, on another day."""
    return any(past.confirmed for past in _alike(usual, slot, True, day, around))


def repeated(
    usual: Sequence[Recurrence],
    slot: int,
    value: float,
    reach: float,
    window: int,
    day: int,
    around: int,
    off: Off | None = None,
    sure: bool = False,
) -> Recurrence | None:
    """What a slot that would open an incident is instead: more of what is passed over already, or one of before again.

    `window`: slots of the season's average that finds it; 0: the students alone do. `around`: slots by which it may begin
    earlier or later, and pause.

    >>> known = with_incident([], Recurrence(100, 100, 100, 104, 6.5), teaches=True)
    >>> repeated(known, 1545, value=7.0, reach=0.0, window=1, day=1440, around=30)
    Recurrence(anchor=100, first=100, at=1545, last=1545, peak=6.5, reach=0.0, off=0.0, channel=0, until=1579, confirmed=False, told=True)
    >>> repeated(known, 1545, value=7.0, reach=0.0, window=0, day=1440, around=30) is None
    True
    >>> repeated(known, 1545, value=7.6, reach=0.0, window=1, day=1440, around=30) is None
    True
    """

    def more(past: Recurrence) -> bool:
        # Decades and bands differ from fit to fit. What is as far out as before in the data's own unit is no more than it was.
        if off is not None and off.channel == past.channel and off.beyond(past.off) is False:
            return False
        # Of what students find beyond all they know only how far out it is says anything.
        compared = window == 0 and reach > 0 and past.reach > 0
        further = reach > past.reach + max(FURTHER, past.reach / SHARE)
        return further or (not compared and (sure or value > past.peak + RARER))

    for past in usual:
        if not past.told:
            continue
        # an average that still contains it says nothing of values that are back in their band
        contained = reach == 0 and slot - window <= past.last < slot
        if past.at <= slot and slot - window <= min(past.until, past.last + around) and (contained or not more(past)):
            past.last = min(slot, past.until)
            return past
    same = _alike(usual, slot, window > 0, day, around)
    if any(past.confirmed for past in same):
        return None
    known = [past for past in same if not more(past)]
    if not known:
        return None
    past = max(known, key=lambda past: past.peak)
    lasted = past.last - past.at
    longer = lasted // 2 if lasted > day // 2 else around
    lasts = past.until - past.at if past.until >= 0 else lasted + longer
    return replace(past, at=slot, last=slot, until=slot + lasts, confirmed=False)


def begun(usual: Iterable[Recurrence], onset: int, slot: int, pause: int) -> int:
    """Where what opens at a slot began: with what was passed over until now, else at its first surprising slot."""
    return min([onset, *(past.at for past in usual if past.until >= 0 and slot - past.last <= pause)])

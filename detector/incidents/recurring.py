"""What comes again at the same time of day or week as an incident before: a job that begins a little late every night, a
charge that is due on Mondays.

An incident's slots teach nothing, so the season never learns it, and without this it is told every night. It is told once
more where it is a decade rarer than it was, lasts longer, or is so rare that no second slot is waited for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# Days ago: of what the season finds, and of all. What students alone say repeats itself by the week (docs/decisions/035).
DAILY, WEEKLY = (1, 2), (7, 14)
RARER = 1.0  # decades
MOST = 32  # kept of a stream


@dataclass(slots=True)
class Recurrence:
    """One incident, or what would have been one. All in slots but `peak`.

    >>> Recurrence(anchor=100, at=100, last=104, peak=6.5).until
    -1
    """

    anchor: int  # of the incident that it repeats, or is
    at: int  # where it opened
    last: int
    peak: float  # largest surprise
    until: int = -1  # of what was passed over: so long it may last


def kept(usual: Iterable[Recurrence], new: Recurrence) -> list[Recurrence]:
    """The newest ones with one more, which replaces itself."""
    return [*(past for past in usual if past.at != new.at), new][-MOST:]


def repeated(
    usual: list[Recurrence], slot: int, value: float, seasonal: bool, day: int, around: int
) -> Recurrence | None:
    """What a slot that would open an incident is instead: more of what is passed over already, or one of before again.

    `seasonal`: the season finds it. `around`: slots by which it may begin earlier or later.

    >>> [again] = kept([], Recurrence(100, 100, 104, 6.5))
    >>> repeated([again], 1545, value=7.0, seasonal=True, day=1440, around=30)
    Recurrence(anchor=100, at=1545, last=1545, peak=6.5, until=1579)
    >>> repeated([again], 1545, value=7.0, seasonal=False, day=1440, around=30) is None
    True
    >>> repeated([again], 1545, value=7.6, seasonal=True, day=1440, around=30) is None
    True
    """
    alike = [past for past in usual if value <= past.peak + RARER]
    for past in alike:
        if past.at <= slot <= past.until:
            past.last = slot
            return past
    ages = (*DAILY, *WEEKLY) if seasonal else WEEKLY
    same = [past for past in alike if any(abs(slot - past.at - age * day) <= around for age in ages)]
    if not same:
        return None
    past = max(same, key=lambda past: past.peak)
    return Recurrence(past.anchor, slot, slot, past.peak, slot + max(past.until, past.last + around) - past.at)

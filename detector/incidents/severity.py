"""How bad an incident is: by how rare it is, how long it lasts, and how far outside of what is usual it has been.

| what | over | slots | reach | severity |
| --- | ---: | ---: | ---: | --- |
| two slots off, then back | 9.0 | 2 | 40 | info |
| a little slower than usual for a few minutes | 0.4 | 8 | 0.3 | info |
| half an hour a little slower than usual | 1.2 | 30 | 0.4 | warning |
| the main metric falls to nothing, third minute | 9.0 | 3 | 1.0 | critical |
| stream without a season: to nothing, fifth slot | 0.5 | 5 | 7.0 | critical |
| an hour a band's width above, a decade rarer than the dial | 1.0 | 60 | 1.1 | critical |
"""

from streamer.contracts import Severity

SHORT = 3  # an incident of fewer slots is a wobble: never more than info
RARE, VERY_RARE = 1.0, 3.0  # decades above the threshold
FAR = 1.0  # widths of the band: the value is three times as far from the middle as anything usual
LONG, NEARLY = 60, 0.8  # slots, and decades above the threshold at which so many of them are as bad as a short outage
# Without a season surprises end less than a decade above the threshold of the default dial: there the effect decides.
ALONE_FAR, ALONE_SLOTS = 3.0, 5
SAME_WIDTH, MAX_REACH = 0.01, 1e6
NOTHING = 0.05  # of what is expected: the value has fallen to nothing, whatever the width of the band


def severity_of(over: float, slots: int, reach: float, seasonal: bool) -> Severity:
    """Severity of an incident.

    Args:
        over: decades by which its peak exceeds what opens one.
        slots: slots that it has lasted.
        reach: farthest that a value lay outside of the usual band, in its widths (`reach_of`).
        seasonal: the season has seen it, whose surprises have no end; those of students have.

    >>> severity_of(9.0, 2, 40.0, True), severity_of(1.2, 30, 0.4, True), severity_of(9.0, 3, 1.0, True)
    ('info', 'warning', 'critical')
    >>> severity_of(0.5, 5, 7.0, False), severity_of(0.5, 5, 7.0, True)
    ('critical', 'info')
    """
    if slots < SHORT:
        return "info"
    outage = over >= VERY_RARE and reach >= FAR
    lasting = over >= NEARLY and slots >= LONG and reach >= FAR
    alone = not seasonal and slots >= ALONE_SLOTS and reach >= ALONE_FAR
    if outage or lasting or alone:
        return "critical"
    return "warning" if over >= RARE or slots >= LONG else "info"


def reach_of(value: float, low: float, high: float, expected: float) -> float:
    """How far a value lies outside of a band, in widths of it: 0 within, at least FAR where it has fallen to nothing.

    A stream that was always the same has a band without a width: there a hundredth of its level counts as one.

    >>> reach_of(30.0, 3.0, 12.0, 7.0), reach_of(5.0, 3.0, 12.0, 7.0), reach_of(3.0, 20.0, 180.0, 100.0)
    (2.0, 0.0, 1.0)
    >>> reach_of(0.5, 1.0, 1.0, 1.0), reach_of(7.0, 0.0, 0.0, 0.0)
    (50.0, 1.0)
    >>> reach_of(float("nan"), 0.0, 1.0, 0.5)
    0.0
    """
    outside = max(low - value, value - high)
    if not outside > 0:
        return 0.0
    width = high - low or SAME_WIDTH * abs(low)
    reach = min(outside / width, MAX_REACH) if width > 0 else FAR
    return max(reach, FAR) if value < low and abs(value) <= NOTHING * expected else reach

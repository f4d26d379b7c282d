"""How bad an incident is: by how rare it is, how long it lasts, and how far outside of what is usual it has been.

| what | over | slots | reach | severity |
| --- | ---: | ---: | ---: | --- |
| two slots off, then back | 1.5 | 2 | 4.0 | info |
| half an hour a little slower than usual | 1.2 | 30 | 0.4 | warning |
| the main metric falls to nothing, third minute | 9.0 | 3 | 2.5 | critical |
| stream without a season, 200 slots at the end of what its history can tell | 0.9 | 200 | 0 | critical |
"""

from streamer.contracts import Severity

SHORT = 3  # an incident of fewer slots is a wobble: never more than info
RARE, VERY_RARE = 1.0, 3.0  # decades above the threshold
FAR = 1.0  # widths of the band: the value is twice as far from the middle as anything usual
# Without a season surprises end less than a decade above the threshold: what stays there for so long is as bad.
LONG, NEARLY = 60, 0.8


def severity_of(over: float, slots: int, reach: float) -> Severity:
    """Severity of an incident.

    Args:
        over: decades by which its peak exceeds what opens one.
        slots: scored slots that it has lasted.
        reach: farthest that a value lay outside of the usual band, in its widths; 0 where that is not known.

    >>> severity_of(1.5, 2, 4.0), severity_of(1.2, 30, 0.4), severity_of(9.0, 3, 2.5), severity_of(0.9, 200, 0.0)
    ('info', 'warning', 'critical', 'critical')
    """
    if slots < SHORT:
        return "info"
    if (over >= VERY_RARE and reach >= FAR) or (over >= NEARLY and slots >= LONG and (reach == 0 or reach >= FAR)):
        return "critical"
    return "warning" if over >= RARE or slots >= LONG else "info"

"""What the incident machine is given of a slot."""

from collections.abc import Sequence
from typing import NamedTuple

from detector.incidents.recurring import Off


class Scored(NamedTuple):
    """One scored slot.

    `surprise` of the students, NaN when the slot could not be scored: that is no evidence, hence quiet. `counts`:
    direction, floors and pauses let the slot count. `season`: surprise by column (detector/persistence.py), None where
    there is no season or its slot does not count. `reach`: widths of the band that the value lies outside it; `off`: the
    same in the unit of the data. `untimed`: weeks have shown no season. `grave`: `reach` as severity goes by it.

    >>> Scored(slot=7, surprise=4.2, counts=True).season is None
    True
    """

    slot: int
    surprise: float
    counts: bool
    season: Sequence[float] | None = None
    reach: float = 0.0
    off: Off | None = None
    untimed: bool = False
    grave: float | None = None  # None: `reach`

"""What a channel's numbers are relative to in the ring, so that float32 holds their changes and not their level.

A ring holds (value − offset) / unit. Both are fixed once a grid version, from the first points, and are 0 and 1 where float32 and
what reads it need no help: most channels. Shapes: C channels, N slots
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A level so many times the usual departure from it is taken off: 24 bits are then left for the departures, and what is
# said of small departures "of the level" (a ten-thousandth is noise) is said of what varies. No fewer times: what is near
# zero, and never below it, is only known of rows that are kept as they are, and a tank changes little in half an hour.
FAR = 1000.0
LARGE = 1e7  # a channel that has not varied yet: from here on float32 steps are 1
# Where sizes lie, no squares overflow and no floor (1e-6) is in the way. Others come in units of about their own size.
SMALLEST, LARGEST = 1e-3, 1e9
PLAIN = (0.0, 1.0)


class Scale(NamedTuple):
    """Offset and unit of each channel, float64 (C,)."""

    offset_C: np.ndarray
    unit_C: np.ndarray

    def ring(self, value_NC: np.ndarray) -> np.ndarray:
        """Values as the ring has them, float64."""
        made_NC: np.ndarray = (value_NC - self.offset_C) / self.unit_C
        return made_NC

    def data(self, ring_NC: np.ndarray) -> np.ndarray:
        """The ring's numbers in the unit of the data, float64."""
        made_NC: np.ndarray = ring_NC.astype(np.float64) * self.unit_C + self.offset_C
        return made_NC


def scale_of(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Offset and unit for a channel that began with these values; NaN are passed over.

    >>> scale_of([100.0, 110.0, 90.0, 105.0])
    (0.0, 1.0)
    >>> scale_of([1.7e9, 1.7e9 + 10, 1.7e9 - 10])
    (1700000000.0, 1.0)
    >>> scale_of([3e-9, 2e-9, 4e-9])
    (0.0, 3.725290298461914e-09)
    """
    known = np.sort(np.asarray(values, np.float64))
    known = known[np.isfinite(known)]
    if not len(known):
        return PLAIN
    level = float(known[len(known) // 2])
    away = np.abs(known - level)
    usual = float(np.quantile(away, 0.75)) or float(away.max())
    far = abs(level) > FAR * usual and (usual > 0 or abs(level) >= LARGE)
    size = usual if far else float(np.abs(known).max())
    unit = 1.0 if size == 0 or SMALLEST <= size <= LARGEST else float(np.exp2(np.rint(np.log2(size))))
    return level if far else 0.0, unit


def scale_from(stored: Sequence[Sequence[float]]) -> Scale | None:
    """As a header stores it, offset and unit a channel; None where all are plain."""
    if not stored:
        return None
    offset_C, unit_C = np.array(stored, np.float64).T
    return Scale(offset_C, unit_C)


def data_of(ring_NC: np.ndarray, stored: Sequence[Sequence[float]]) -> np.ndarray:
    """Numbers of a ring (N, C) in the unit of the data: float64, or as they are where no channel has a scale.

    >>> data_of(np.array([[0.5]], np.float32), [(1.7e9, 10.0)]).tolist()
    [[1700000005.0]]
    """
    scale = scale_from(stored)
    return ring_NC if scale is None else scale.data(ring_NC)


def stored_scale(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """As a header stores it."""
    return [] if all(pair == PLAIN for pair in pairs) else list(pairs)

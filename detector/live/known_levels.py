"""Whether a channel does what it has done for weeks: it stays at levels that are known, and seldom changes between them.

Students whose ring is shorter than what lies between two leaps call each of them rare (docs/decisions/062).

Shapes: S slots, C channels, V levels
"""

import numpy as np

from detector.model.interface import Levels

_KEPT = 0.95  # of the slots that must be at a level: a slot in which it changes is at none
_CHANGES = 2  # a leap there and back: what goes on changing is not at rest


def at_known_levels(values_SC: np.ndarray, levels: Levels) -> np.ndarray:
    """Which channels are, bool (C,), by the newest slots.

    >>> levels = Levels(np.array([[10.0, 15.0]]), np.array([[0.5, 0.5]]))
    >>> [bool(at_known_levels(np.array([values]).T, levels)[0]) for values in ([10.0, 10.2, 15.1], [10, 20, 20], [10, 15, 10, 15.0])]
    [True, False, False]
    """
    off_SCV = np.abs(values_SC[:, :, None] - levels.at_CV)
    near_SCV = (off_SCV <= levels.around_CV) & (levels.around_CV > 0)
    known_SC = np.logical_or.reduce(near_SCV, -1)
    seen_SC = np.isfinite(values_SC)
    many_C = seen_SC.sum(0)
    kept_C = (known_SC.sum(0) >= _KEPT * many_C) & (2 * many_C >= len(values_SC))
    out_C: np.ndarray = np.zeros(values_SC.shape[1], bool)
    for c in np.flatnonzero(kept_C):
        at_S = near_SCV[known_SC[:, c], c].argmax(-1)
        out_C[c] = bool(known_SC[seen_SC[:, c], c][-1]) and (np.diff(at_S) != 0).sum() <= _CHANGES
    return out_C

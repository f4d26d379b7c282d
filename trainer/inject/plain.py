"""A few plain synthetic anomalies: the least that a student must see before it is put into force.

Shapes: S slots, C channels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]
LENGTH = 40  # slots an injected anomaly lasts, and in which it must be seen


def _shift(tail_SC: Values, before_SC: Values, rng: np.random.Generator) -> Values:
    """The level moves by 5 standard deviations."""
    return _float32(tail_SC + 5.0 * _spread(before_SC) * rng.choice([-1.0, 1.0]))


def _burst(tail_SC: Values, before_SC: Values, rng: np.random.Generator) -> Values:
    """Deviations from the median are ten times as large."""
    middle_C = np.nanmedian(before_SC, axis=0)
    return _float32(middle_C + 10.0 * (tail_SC - middle_C))


def _noise(tail_SC: Values, before_SC: Values, rng: np.random.Generator) -> Values:
    """Noise of 4 standard deviations on top."""
    return _float32(tail_SC + 4.0 * _spread(before_SC) * rng.standard_normal(tail_SC.shape))


def _spike(tail_SC: Values, before_SC: Values, rng: np.random.Generator) -> Values:
    """Four slots 12 standard deviations away."""
    out = tail_SC.copy()
    out[:4] += 12.0 * _spread(before_SC) * rng.choice([-1.0, 1.0])
    return out


KINDS: dict[str, Callable[[Values, Values, np.random.Generator], Values]] = {
    "shift": _shift,
    "burst": _burst,
    "noise": _noise,
    "spike": _spike,
}


def inject(values_SC: Values, kind: str, seed: int) -> Values:
    """A copy whose newest `LENGTH` slots hold an anomaly of the kind, in all channels. Deterministic for a seed.

    A channel without data before them is taken for a constant 0.
    """
    cut = len(values_SC) - LENGTH
    out = values_SC.copy()
    before_SC = np.where(np.isfinite(values_SC[:cut]).any(0), values_SC[:cut], np.float32(0.0))
    out[cut:] = KINDS[kind](values_SC[cut:], before_SC, np.random.default_rng(seed))
    return out


def newest_whole(values_SC: Values, slots: int) -> Values:
    """At most so many slots, of which the newest `LENGTH` have data in more than half; the newest ones if there are none.

    What lies after them is a gap, or an anomaly that is never learnt from.
    """
    many_S = np.convolve(np.isfinite(values_SC).any(1), np.ones(LENGTH), "valid")
    [whole] = np.nonzero(many_S > LENGTH / 2)
    stop = int(whole[-1]) + LENGTH if len(whole) else len(values_SC)
    return values_SC[max(0, stop - slots) : stop]


def _spread(values_SC: Values) -> Values:
    """Standard deviation a channel; of an exact constant 5 % of its level, or 1."""
    spread_C = np.nanstd(values_SC, axis=0)
    level_C = np.abs(np.nanmedian(values_SC, axis=0))
    return _float32(np.where(spread_C > 0, spread_C, np.where(level_C > 0, 0.05 * level_C, 1.0)))


def _float32(values: npt.NDArray[np.floating[Any]]) -> Values:
    return values.astype(np.float32)

"""Raw values of a channel: which count up, and what counters become, the increase an interval.

A counter never falls but to begin again near nothing. How much it had counted by then is not known: a reset is a gap.

Shapes: X known values of one channel, in order of their slots
"""

from typing import NamedTuple

import numpy as np

from streamer.windows.grid import DIFFERENCES

# A counter shows itself by whole numbers that never fall, rise in at least half of the steps and have passed 1000, by
# steps that vary (equal steps are more likely a gauge that ramps up).
RISES = 0.5
LEVEL = 1000
# A value after a reset is a small share of what the counter had reached: with more left of it, it is a gauge that fell. Only
# falls from near its highest tell: a process that dies again at once has not got far.
RESTART = 0.1
NEAR_HIGHEST = 0.5
# Whole numbers below are exact in a float32 ring.
EXACT = 1 << 24


class Increases(NamedTuple):
    """What raw values of a counter come to."""

    value_X: (
        np.ndarray
    )  # increase an interval, spread over a gap before it; NaN after a reset and where nothing is known
    gauge: tuple[int, float] | None  # it falls as no counter does: slot and raw value before it first did


def counts_up(value_X: np.ndarray) -> bool | None:
    """Whether finite values are those of a counter; None: they do not speak against it, and not yet for it."""
    step_X = np.diff(value_X)
    if not len(value_X) or value_X[0] < 0 or (step_X < 0).any() or (value_X != np.rint(value_X)).any():
        return None if not len(value_X) else False
    if len(step_X) < DIFFERENCES // 2 or (step_X > 0).mean() < RISES or value_X[-1] < LEVEL or not np.ptp(step_X):
        return None
    return True


def increases(
    raw_X: np.ndarray, slot_X: np.ndarray, before: float | None, before_slot: int, highest: float
) -> Increases:
    """Raw values of a counter → its increases.

    Args:
        before: the newest raw value before them, at `before_slot`; None: unknown.
        highest: the largest raw value ever, for telling a gauge.
    """
    previous_X = np.concatenate([[np.nan if before is None else before], raw_X[:-1]])
    since_X = slot_X - np.concatenate([[before_slot], slot_X[:-1]])
    step_X = raw_X - previous_X
    # a point that comes late, to a slot before that of the raw value kept, is no fall
    falls = np.flatnonzero((step_X < 0) & (since_X > 0))
    gauge = None
    if len(falls):
        high = falls[previous_X[falls] >= NEAR_HIGHEST * np.maximum(np.fmax.accumulate(previous_X)[falls], highest)]
        fallen = high[(raw_X[high] > RESTART * previous_X[high]) | (raw_X[high] < 0)]
        if len(fallen):
            gauge = int(slot_X[fallen[0]] - since_X[fallen[0]]), float(previous_X[fallen[0]])
        step_X[falls] = np.nan
    # a window that began anew may begin at the slot of its last raw value, or before it: nothing is known of those
    step_X = np.where(since_X > 0, step_X, np.nan)
    return Increases((step_X / np.maximum(since_X, 1)).astype(np.float32), gauge)


def raw_before(value_X: np.ndarray, newest: int, raw: float) -> np.ndarray:
    """Raw values (X,) out of a counter's increases, back from `raw` at row `newest`; NaN where unknown.

    The inverse of `increases`, which spreads an increase after a gap over its slots; behind a reset it is off by what the
    counter had counted.
    """
    raw_X = np.full(len(value_X), np.nan)
    if not 0 <= newest < len(value_X):
        return raw_X
    known = np.flatnonzero(np.isfinite(value_X[: newest + 1]))
    at = np.append(known[known < newest], newest)
    increase = np.where(np.isfinite(value_X[at]), value_X[at], 0.0).astype(np.float64) * np.diff(at, prepend=at[0] - 1)
    rise = np.cumsum(increase)
    raw_X[at] = raw - (rise[-1] - rise)
    return raw_X

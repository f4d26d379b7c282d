"""A window's history on another grid, as far as it means the same there.

Shapes: S slots of the old window, N slots of the new one, C channels
"""

import numpy as np

from streamer.windows.grid import Grid, slots_of

# On a grid finer than this share of the old interval most slots would be made up.
FINEST = 0.7


def resample(
    values_SC: np.ndarray, lo: int, before: Grid, after: Grid, counters: list[bool], mean: bool
) -> tuple[int, np.ndarray]:
    """(first slot, float32 (N, C)) of a window that began at slot `lo` of the old grid; no slots on a finer grid.

    A gauge's slot is its newest value, or the mean where the stream's points in one slot are; a counter's is the increase
    over the new interval.
    """
    if not len(values_SC) or after.interval_ns < FINEST * before.interval_ns:
        return 0, np.empty((0, len(counters)), np.float32)
    ts_S = (lo + np.arange(len(values_SC))) * before.interval_ns + before.phase_ns
    slot_S = slots_of(ts_S, after.interval_ns, after.phase_ns)
    # an increase is that of the interval that ends at its slot
    ends_S = -((after.phase_ns - ts_S) // after.interval_ns)
    first = int(min(slot_S[0], ends_S[0]))
    rows = int(max(slot_S[-1], ends_S[-1])) - first + 1
    made_NC = np.full((rows, values_SC.shape[1]), np.nan)
    for c, counts in enumerate(counters):
        row_S = (ends_S if counts else slot_S) - first
        known_S = np.isfinite(values_SC[:, c])
        row, value = row_S[known_S], values_SC[known_S, c].astype(np.float64)
        if counts or mean:
            number_N = np.bincount(row, minlength=rows)
            ratio = after.interval_ns / before.interval_ns if counts else 1.0
            sum_N = np.bincount(row, weights=value, minlength=rows)
            made_NC[:, c] = np.where(number_N > 0, sum_N / np.maximum(number_N, 1) * ratio, np.nan)
        else:
            last = np.append(row[1:] != row[:-1], True)[: len(row)]
            made_NC[row[last], c] = value[last]
    return first, made_NC.astype(np.float32)

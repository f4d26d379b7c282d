"""What ranks slots over time: a stretch of middling surprise is as telling as one loud slot.

Shapes: K slots.
"""

from itertools import accumulate

import numpy as np

# Weight of the newest slot in the running mean. A tenth ranks the days-long episodes of spacecraft better still, and
# outliers of a few slots worse.
NEWEST = 0.25


def sustained(rank_K: np.ndarray) -> np.ndarray:
    """The larger of each slot's rank and the exponential mean up to it (float32, K); NaN stays, and counts as 0.

    Causal, and never above the largest rank so far: where the worst of a stream is does not change.
    """
    known_K = np.nan_to_num(rank_K, nan=0.0)
    mean_K = np.fromiter(accumulate(known_K.tolist(), lambda m, x: m + NEWEST * (x - m), initial=0.0), float)[1:]
    return np.where(np.isnan(rank_K), np.nan, np.maximum(known_K, mean_K)).astype(np.float32)

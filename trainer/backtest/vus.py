"""Volume under the surface of precision/recall and of ROC curves (VUS-PR, VUS-ROC) for labelled ranges.

The figures of the package `vus` (VLDB 2022, `RangeAUC_volume_opt`), which passes over the series once a threshold
and window: hours where this takes a second. Equal to it to rounding, see the tests.

Shapes: N slots, E labelled ranges, T thresholds, X slots near a range, M pairs of such a slot and a range
"""

import numpy as np

THRESHOLDS = 250


def volumes(labels_N: np.ndarray, score_N: np.ndarray, window: int) -> tuple[float, float]:
    """(VUS-PR, VUS-ROC): areas under both curves, averaged over label buffers of 0 to `window` slots.

    Args:
        labels_N: bool, with at least one True.
        score_N: finite; larger is more anomalous.
    """
    labels_N = np.asarray(labels_N, bool)
    n = len(labels_N)
    begin_E, end_E = ranges(labels_N)
    bin_N, predicted_T = _thresholds(score_N)
    inside_T = np.bincount(bin_N[labels_N], minlength=THRESHOLDS).astype(float)
    at_X, distance_M, slot_M = _near(labels_N, begin_E, end_E, window // 2)
    positives = float(labels_N.sum())
    precision_areas, roc_areas = [], []
    for width in range(window + 1):
        half = width // 2
        near = np.searchsorted(distance_M, half, side="right")
        weight_X = np.bincount(slot_M[:near], np.sqrt(1 - distance_M[:near] / max(width, 1)), minlength=len(at_X)).clip(
            max=1.0
        )
        near_T = np.bincount(bin_N[at_X], weight_X, minlength=THRESHOLDS)
        true_T = np.cumsum(inside_T + near_T)
        size_T = positives + np.cumsum(near_T) / 2  # mean of the hard labels and the buffered ones seen so far
        rate_T = np.minimum(true_T / size_T, 1.0) * _reached(bin_N, begin_E, end_E, half)
        false_T = (predicted_T - true_T) / (n - size_T)
        precision_areas.append(float(np.diff(rate_T, prepend=0.0) @ (true_T / predicted_T)))
        roc_areas.append(float(np.trapezoid([0.0, *rate_T, 1.0], [0.0, *false_T, 1.0])))
    return float(np.mean(precision_areas)), float(np.mean(roc_areas))


def ranges(mask_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last slots of the runs of True: (E,), (E,)."""
    step = np.diff(np.concatenate([[False], mask_N, [False]]).astype(np.int8))
    return np.flatnonzero(step == 1), np.flatnonzero(step == -1) - 1


def _thresholds(score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first (highest) threshold a slot reaches (N,), and how many slots reach each one (T,)."""
    ascending_N = np.sort(np.asarray(score_N, float))
    falling = ascending_N[::-1]
    threshold_T = falling[np.linspace(0, len(falling) - 1, THRESHOLDS).astype(int)]
    bin_N = THRESHOLDS - np.searchsorted(threshold_T[::-1], score_N, side="right")
    predicted_T = len(falling) - np.searchsorted(ascending_N, threshold_T, side="left")
    return bin_N, predicted_T.astype(float)


def _near(
    labels_N: np.ndarray, begin_E: np.ndarray, end_E: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unlabelled slots within `reach` of a range (X,), and every (distance, index into X), nearest first."""
    step = np.arange(1, reach + 1)
    slot = np.concatenate([(end_E[:, None] + step).ravel(), (begin_E[:, None] - step).ravel()])
    distance = np.tile(step, 2 * len(begin_E))
    keep = (slot >= 0) & (slot < len(labels_N))
    keep[keep] = ~labels_N[slot[keep]]
    slot, distance = slot[keep], distance[keep]
    order = np.argsort(distance, kind="stable")
    at_X, slot_M = np.unique(slot[order], return_inverse=True)
    return at_X, distance[order], slot_M


def _reached(bin_N: np.ndarray, begin_E: np.ndarray, end_E: np.ndarray, half: int) -> np.ndarray:
    """Share of the ranges, widened by `half` and merged where they overlap, with a slot at each threshold (T,)."""
    apart = end_E[:-1] + half < begin_E[1:] - half
    first = np.clip(begin_E[np.concatenate([[True], apart])] - half, 0, None)
    last = np.clip(end_E[np.concatenate([apart, [True]])] + half, None, len(bin_N) - 1)
    # every second reduction is over the slots between two ranges, and is left out
    bounds = np.stack([first, last + 1], 1).ravel()
    best = np.minimum.reduceat(np.append(bin_N, THRESHOLDS), bounds)[::2]
    share_T: np.ndarray = np.cumsum(np.bincount(best, minlength=THRESHOLDS)[:THRESHOLDS]) / len(best)
    return share_T

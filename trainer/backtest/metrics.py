"""How good a replay was: one series, all figures.

Two latencies are always reported. 0: the value at slot t is the score emitted at t. 8: it is the mean of the scores
emitted at t+1 … t+8. Area figures compare values with labels slot by slot, without moving them. The UCR rule places the
loudest value at the centre of the window that fired. Events and delays are the detector's incidents at decision time.

Shapes: K slots of the test part, S slots of the training part, C channels
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from detector.model.periods import autocorrelation
from trainer.backtest.replay import Alert
from trainer.backtest.vus import ranges, volumes

LATENCIES = (0, 8)
# An alert still counts for an event that ended fewer slots before its onset than this.
TOLERANCE = 10
MAX_BUFFER = 100  # slots of label buffer of VUS, at most
_PERIOD_FROM = 20_000  # newest slots that a period is looked for in
_PEAK = 0.1  # smallest autocorrelation of a period


@dataclass(frozen=True)
class Areas:
    """Figures of one latency; None where they make no sense (nothing labelled; no UCR rule)."""

    found: bool | None
    vus_pr: float | None
    vus_roc: float | None
    auc_pr: float | None
    auc_roc: float | None


@dataclass(frozen=True)
class Events:
    """The detector's alerts against labelled ranges. Precision, recall and F1 are None when nothing is labelled."""

    alerts: int
    false_alerts: int
    events: int
    hits: int
    precision: float | None
    recall: float | None
    f1: float | None
    false_alerts_per_10k: float
    delays: list[int]  # of the hit events, in slots from their beginning to the first alert's opening


def delayed(score_K: np.ndarray, latency: int) -> np.ndarray:
    """Value at t = mean of the scores at t+1 … t+latency, of those there are; the last slot keeps its own."""
    if latency == 0:
        return score_K
    n = len(score_K)
    total = np.concatenate([[0.0], np.cumsum(score_K, dtype=np.float64)])
    begin = np.minimum(np.arange(1, n + 1), n - 1)
    end = np.maximum(np.minimum(begin + latency, n), begin + 1)
    mean_K: np.ndarray = (total[end] - total[begin]) / (end - begin)
    return mean_K


def position(score_K: np.ndarray, lag_K: np.ndarray, latency: int) -> int:
    """Slot of the test part that the loudest value points at: the deciding slot less the lag of what fired there."""
    slot = int(np.argmax(delayed(score_K, latency)))
    if latency:  # the loudest of the scores that the value is the mean of
        begin = min(slot + 1, len(score_K) - 1)
        slot = begin + int(np.argmax(score_K[begin : begin + latency]))
    return slot - int(lag_K[slot])


def areas(
    score_K: np.ndarray,
    lag_K: np.ndarray,
    labels_K: np.ndarray | None,
    found_within: tuple[int, int] | None,
    buffer: int,
    latency: int,
) -> Areas:
    """Figures of one latency.

    Args:
        score_K: larger is more anomalous; NaN counts as 0: what could not be scored is no evidence.
        found_within: first and last slot of the test part at which the UCR rule calls it found.
        buffer: widest label buffer of the volumes, in slots.
    """
    score_K = np.nan_to_num(np.asarray(score_K, np.float64), nan=0.0)
    found = None
    if found_within is not None:
        found = found_within[0] <= position(score_K, lag_K, latency) <= found_within[1]
    if labels_K is None or not labels_K.any():
        return Areas(found, None, None, None, None)
    value_K = delayed(score_K, latency)
    vus_pr, vus_roc = volumes(labels_K, value_K, buffer)
    return Areas(found, vus_pr, vus_roc, *auc(labels_K, value_K))


def auc(labels_K: np.ndarray, value_K: np.ndarray) -> tuple[float, float | None]:
    """Average precision and area under the ROC curve; equal values are one threshold. No ROC when all is labelled."""
    order = np.argsort(-value_K, kind="stable")
    sorted_K = value_K[order]
    last_K = np.append(sorted_K[1:] != sorted_K[:-1], True)
    true = np.cumsum(labels_K[order])[last_K].astype(np.float64)
    seen = np.arange(1, len(order) + 1)[last_K]
    recall = true / true[-1]
    precision = float(np.diff(recall, prepend=0.0) @ (true / seen))
    negatives = len(order) - true[-1]
    if not negatives:
        return precision, None
    return precision, float(np.trapezoid([0.0, *recall], [0.0, *((seen - true) / negatives)]))


def events(alerts: Sequence[Alert], labels_K: np.ndarray | None, count: int) -> Events:
    """A labelled range [a, b) is hit by an alert that overlaps [a, b + 10); an alert that overlaps none is false."""
    spans: list[tuple[int, int]] = []
    if labels_K is not None:
        spans = [(int(a), int(b) + TOLERANCE) for a, b in zip(*ranges(labels_K), strict=True)]
    first = [min((a.opened for a in alerts if a.spans(*span)), default=None) for span in spans]
    delays = [max(0, opened - span[0]) for opened, span in zip(first, spans, strict=True) if opened is not None]
    false = sum(not any(alert.spans(*span) for span in spans) for alert in alerts)
    good, hits = len(alerts) - false, len(delays)
    per_10k = 1e4 * false / count
    return Events(
        len(alerts), false, len(spans), hits, *precision_recall(good, false, hits, len(spans)), per_10k, delays
    )


def precision_recall(good: int, false: int, hits: int, events: int) -> tuple[float | None, float | None, float | None]:
    """Precision over alerts, recall over events, and their F1; None without labelled events."""
    if not events:
        return None, None, None
    precision = good / (good + false) if good + false else None
    recall = hits / events
    if not precision or not recall:
        return precision, recall, 0.0
    return precision, recall, 2 * precision * recall / (precision + recall)


def period_of(values_S: np.ndarray, low: int = 16, high: int = 1500, default: int = 64) -> int:
    """Strongest period of a channel by its autocorrelation, in slots; `default` when there is none.

    A fixed rule for the buffer of the volumes and for the windows of baselines, whatever the detector finds.
    """
    x_S = np.asarray(values_S, np.float64)[-_PERIOD_FROM:]
    high = min(high, len(x_S) // 4)
    known_S = x_S[np.isfinite(x_S)]
    if high <= low or not len(known_S) or np.ptp(known_S) == 0:
        return max(8, min(default, high))
    filled_S = np.where(np.isfinite(x_S), x_S, known_S.mean())  # a gap says nothing for or against a period
    correlation = autocorrelation(torch.from_numpy(filled_S)[None], high)[0].numpy()
    lag = np.arange(low, high)
    higher = (correlation[lag] > correlation[lag - 1]) & (correlation[lag] >= correlation[lag + 1])
    peaks = lag[higher & (correlation[lag] > _PEAK)]
    return int(peaks[np.argmax(correlation[peaks])]) if len(peaks) else min(default, high)


def buffer_of(training_SC: np.ndarray) -> int:
    """Widest label buffer of the volumes: the period of the first channel's training part, at most 100 slots."""
    return min(MAX_BUFFER, period_of(training_SC[:, 0]))


def rounded(areas: Areas) -> dict[str, Any]:
    """For JSON."""
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(areas).items()}

"""The reason of one scored slot, out of the bank's arrays, as plain JSON; and whether the slot may count.

Shapes: K scored slots, C channels, S statistics of the season.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.incidents.machine import closing
from detector.model.interface import SegmentScore
from detector.persistence import NAMES
from streamer.contracts import StreamSettings

MAX_CHANNELS_NAMED = 8  # an event names those with the largest shares; the shares show whether that is most of it
# A channel with less than half of the largest surprise did not make the slot surprising.
LARGE_SHARE = 0.5


def counting(score: SegmentScore, threshold: float, settings: StreamSettings) -> np.ndarray:
    """Which slots may count towards an incident, bool (K,): pause, direction and floors.

    A slot counts when any channel with much of its surprise deviates in the wanted direction and by more than the floors.
    """
    surprise_K = np.nan_to_num(score.surprise_K, nan=0.0)
    counts_K = surprise_K >= closing(threshold)
    if settings.paused:
        return np.zeros_like(counts_K)
    if settings.direction == "both" and not settings.floor_abs and not settings.floor_rel:
        return counts_K
    for k in np.flatnonzero(counts_K):
        channel_C = np.nan_to_num(score.channel_KC[k], nan=0.0)
        deviation_C, expected_C = score.deviation_KC[k], score.expected_KC[k]
        floor_C = np.maximum(settings.floor_abs, settings.floor_rel * np.abs(np.nan_to_num(expected_C)))
        passes_C = np.abs(deviation_C) > floor_C
        if settings.direction == "up":
            passes_C &= deviation_C > 0
        elif settings.direction == "down":
            passes_C &= deviation_C < 0
        counts_K[k] = bool((passes_C & (channel_C >= LARGE_SHARE * channel_C.max())).any())
    return counts_K


def season_counting(score: SegmentScore, settings: StreamSettings, value_K: np.ndarray) -> np.ndarray:
    """The same of what the season says, bool (K,): by the side it departs to, and how far from what is expected."""
    plain = settings.direction == "both" and not settings.floor_abs and not settings.floor_rel
    if settings.paused or plain or score.season_expected_K is None or score.season_sign_K is None:
        return np.full(len(score.surprise_K), not settings.paused)
    off_K = value_K - score.season_expected_K
    floor_K = np.maximum(settings.floor_abs, settings.floor_rel * np.abs(score.season_expected_K))
    passes_K: np.ndarray = np.abs(off_K) > floor_K
    if settings.direction != "both":
        passes_K &= score.season_sign_K * (1 if settings.direction == "up" else -1) > 0
    return passes_K


def reach_of(score: SegmentScore, value_K: np.ndarray) -> np.ndarray:
    """How far values (K,) of the channel that the season means lie outside its band, in widths of it; 0 within."""
    low_K, high_K = score.season_low_K, score.season_high_K
    if low_K is None or high_K is None:
        return np.zeros(len(value_K))
    outside_K = np.maximum(np.maximum(low_K - value_K, value_K - high_K), 0.0)
    reach_K: np.ndarray = np.nan_to_num(outside_K / np.maximum(high_K - low_K, 1e-12)).clip(0.0, 1e6)
    return reach_K


def _seasonal(score: SegmentScore, k: int, channels: Sequence[str], value_C: np.ndarray) -> dict[str, Any]:
    """What the season says of slot k."""
    if score.season_KS is None or score.season_channel_K is None or score.season_sign_K is None:
        return {}
    assert score.season_low_K is not None
    assert score.season_high_K is not None
    assert score.season_expected_K is not None
    c, column = int(score.season_channel_K[k]), int(score.season_KS[k].argmax())
    here = {
        "channel": channels[c],
        "value": _number(value_C[c]),
        "expected": _number(score.season_expected_K[k]),
        "low": _number(score.season_low_K[k]),
        "high": _number(score.season_high_K[k]),
        "reach": round(float(reach_of(score, np.full(len(score.surprise_K), value_C[c]))[k]), 3),
    }
    season = {
        "word": score.season_word,
        "statistic": NAMES[column],
        "surprise": round(float(score.season_KS[k, column]), 2),
        "sign": int(score.season_sign_K[k]),
    }
    return {"season": season, "here": here}


def evidence_at(
    score: SegmentScore, k: int, channels: Sequence[str], value_C: np.ndarray, model: str | None,
    offsets: tuple[int, int],
) -> dict[str, Any]:  # fmt: skip
    """Everything that an event reports of slot k, in JSON types."""
    channel_C = np.nan_to_num(score.channel_KC[k], nan=0.0).clip(0.0)
    total = float(channel_C.sum())
    share_C = channel_C / total if total > 0 else np.full(len(channel_C), 1 / len(channel_C))
    order = np.argsort(-share_C, kind="stable")[:MAX_CHANNELS_NAMED]
    largest = int(order[0])
    view = score.views[max(int(score.view_KC[k, largest]), 0)]
    nearest = int(score.nearest_KC[k, largest])
    return {
        "channels": [
            {
                "channel": channels[c],
                "share": round(float(share_C[c]), 4),
                "value": _number(value_C[c]),
                "expected": _number(score.expected_KC[k, c]),
                "low": _number(score.low_KC[k, c]),
                "high": _number(score.high_KC[k, c]),
            }
            for c in order
        ],
        "deviation": _number(score.deviation_KC[k, largest]),
        "view": view.name,
        "scale": int(score.scale_KC[k, largest]),
        "depth": int(view.depth),
        "nearest": nearest if nearest >= 0 else None,
        "teacher": bool(score.teacher_K[k]),
        "model": None if score.warming else model,
        "warming": score.warming,
        "offsets": [offset for offset in offsets if offset >= 0],
        **_seasonal(score, k, channels, value_C),
    }


def _number(value: Any) -> float | None:
    """A JSON number of float32 precision, None for NaN."""
    number = float(value)
    return float(f"{number:.7g}") if np.isfinite(number) else None

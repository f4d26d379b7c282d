"""The reason of one scored slot, out of the bank's arrays, as plain JSON; and whether the slot may count.

Shapes: K scored slots, C channels, S statistics of the season, or slots of a window.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detector.incidents.dial import closing
from detector.incidents.recurring import Off
from detector.incidents.severity import NOTHING, reach_of
from detector.live.known_levels import at_known_levels
from detector.model.interface import Levels, SegmentScore
from detector.persistence import NAMES
from streamer.contracts import StreamSettings

MAX_CHANNELS_NAMED = 8  # an event names those with the largest shares; the shares show whether that is most of it
# A channel with less than half of the largest surprise did not make the slot surprising.
LARGE_SHARE = 0.5
BAND = 3.0  # surprise of the season from which a slot is told by it


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
    for k in np.flatnonzero(counts_K).tolist():
        deviation_C, expected_C = score.deviation_KC[k], score.expected_KC[k]
        floor_C = np.maximum(settings.floor_abs, settings.floor_rel * np.abs(np.nan_to_num(expected_C)))
        passes_C = np.abs(deviation_C) > floor_C
        if settings.direction == "up":
            passes_C &= deviation_C > 0
        elif settings.direction == "down":
            passes_C &= deviation_C < 0
        counts_K[k] = bool((passes_C & _loud(score, k)).any())
    return counts_K


def _loud(score: SegmentScore, k: int) -> np.ndarray:
    """Which channels make slot k surprising, bool (C,)."""
    channel_C = np.nan_to_num(score.channel_KC[k], nan=0.0)
    loud_C: np.ndarray = channel_C >= LARGE_SHARE * channel_C.max()
    return loud_C


def usual_levels(score: SegmentScore, k: int, window_SC: np.ndarray) -> bool:
    """Whether the channels that make slot k surprising are where they have been for weeks, by the slots up to it."""
    if score.levels is None:
        return False
    loud_C = _loud(score, k)
    levels = Levels(*(part[loud_C] for part in score.levels))
    return bool(at_known_levels(window_SC[:, loud_C], levels).all())


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


class Place(NamedTuple):
    """What a slot is measured by: a channel, its value, the value expected, and the band around that (data's unit)."""

    channel: int
    value: float
    expected: float
    low: float
    high: float


def place_of(score: SegmentScore, k: int, value_C: np.ndarray) -> Place:
    """What slot k is measured by.

    The season's channel and band where the season finds the slot unusual: they are those expected without the
    incident. Else the most surprising channel's, of the students.
    """
    season = season_of(score, k)
    if season is not None and season.max() >= BAND:
        return _by_season(score, k, value_C)
    c = int(np.nan_to_num(score.channel_KC[k], nan=0.0).argmax())
    bounds = score.expected_KC[k, c], score.low_KC[k, c], score.high_KC[k, c]
    return Place(c, float(value_C[c]), float(bounds[0]), float(bounds[1]), float(bounds[2]))


def _by_season(score: SegmentScore, k: int, value_C: np.ndarray) -> Place:
    assert score.season_channel_K is not None
    assert score.season_low_K is not None
    assert score.season_high_K is not None
    assert score.season_expected_K is not None
    c = int(score.season_channel_K[k])
    bounds = score.season_expected_K[k], score.season_low_K[k], score.season_high_K[k]
    return Place(c, float(value_C[c]), float(bounds[0]), float(bounds[1]), float(bounds[2]))


def shown_at(score: SegmentScore, k: int, value_C: np.ndarray) -> Place:
    """What a person is told of slot k: its place, but of a value that is usual at this time of day the season's.

    The students' band is what they expect after the slots before it. In windows that contain an incident that is the
    incident, and a job that runs again would be said to have risen above it.
    """
    here = place_of(score, k, value_C)
    return _usual_at(score, k, value_C, here) or here


def _usual_at(score: SegmentScore, k: int, value_C: np.ndarray, here: Place) -> Place | None:
    """The season's place of a value that lies outside of `here`, if it is usual at this time of day."""
    if season_of(score, k) is None or reach_of(here.value, here.low, here.high, here.expected) == 0:
        return None
    season = _by_season(score, k, value_C)
    known = season.channel == here.channel and np.isfinite(season.low) and np.isfinite(season.high)
    return season if known and season.low <= here.value <= season.high else None


def season_of(score: SegmentScore, k: int) -> np.ndarray | None:
    """Surprises (S,) of the season at slot k."""
    return None if score.season_KS is None or score.season_channel_K is None else score.season_KS[k]


class Far(NamedTuple):
    """How far a slot lies outside of what is usual: in widths of the band, in the data's unit, and in widths as people see it.

    >>> Far().grave
    0.0
    """

    reach: float = 0.0
    off: Off | None = None
    grave: float = 0.0  # nothing where a person is shown that it is usual at this time, unless it has fallen to nothing


def far_at(score: SegmentScore, k: int, value_C: np.ndarray) -> Far:
    """How far slot k lies outside."""
    here = place_of(score, k, value_C)
    reach = round(reach_of(here.value, here.low, here.high, here.expected), 3)
    off = Off(here.value - here.expected, here.high - here.low, here.channel) if reach > 0 else None
    usual = _usual_at(score, k, value_C, here)
    excused = usual is not None and abs(usual.value) >= NOTHING * abs(usual.expected)
    return Far(reach, off, 0.0 if excused else reach)


def here_of(score: SegmentScore, k: int, slot: int, channels: Sequence[str], value_C: np.ndarray) -> dict[str, Any]:
    """The fields of a `Departure` of slot k, in JSON types."""
    c, value, expected, low, high = shown_at(score, k, value_C)
    digits = _digits(value_C)
    return {
        "channel": channels[c],
        "slot": slot,
        "value": _number(value, digits),
        "expected": _number(expected, digits),
        "low": _number(low, digits),
        "high": _number(high, digits),
        "reach": round(reach_of(value, low, high, expected), 3),
    }


def _seasonal(score: SegmentScore, k: int) -> dict[str, Any]:
    """What the season says of slot k."""
    season = season_of(score, k)
    if season is None:
        return {}
    column = int(season.argmax())
    return {
        "season": {
            "word": score.season_word,
            "statistic": NAMES[column],
            "surprise": round(float(season[column]), 2),
            "sign": 0 if score.season_sign_K is None else int(score.season_sign_K[k]),
        }
    }


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
    digits = _digits(value_C)
    here = shown_at(score, k, value_C)

    def channel(c: int) -> dict[str, Any]:
        students = score.expected_KC[k, c], score.low_KC[k, c], score.high_KC[k, c]
        numbers = (value_C[c], *(here[2:] if c == here.channel else students))
        named = zip(("value", "expected", "low", "high"), (_number(number, digits) for number in numbers), strict=True)
        return {"channel": channels[c], "share": round(float(share_C[c]), 4), **dict(named)}

    return {
        "channels": [channel(int(c)) for c in order],
        "students": _number(score.surprise_K[k]),
        "deviation": _number(score.deviation_KC[k, largest]),
        "view": view.name,
        "scale": int(score.scale_KC[k, largest]),
        "depth": int(view.depth),
        "nearest": nearest if nearest >= 0 else None,
        "teacher": bool(score.teacher_K[k]),
        "model": None if score.warming else model,
        "warming": score.warming,
        "offsets": [offset for offset in offsets if offset >= 0],
        **_seasonal(score, k),
    }


def _number(value: Any, digits: int = 7) -> float | None:
    """A JSON number of float32 precision, None for NaN."""
    number = float(value)
    return float(f"{number:.{digits}g}") if np.isfinite(number) else None


def _digits(value_C: np.ndarray) -> int:
    """Digits that a stream's values have: more of one that has a scale, whose changes may be small beside its level."""
    return 15 if value_C.dtype == np.float64 else 7

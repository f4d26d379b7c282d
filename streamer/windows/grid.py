"""From event time to slots: slot = floor((ts - phase) / interval + 1/2), on a grid that is given or inferred.

Shapes: M cells of a stream
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from streamer.timestamps import NS

# Differences the interval is inferred from: enough for a stable median, few enough that a stream at one point a
# minute is on its grid after half an hour.
DIFFERENCES = 32
# A grid this fine would mean millions of slots between two batches.
MIN_INTERVAL_NS = 1_000_000
# People choose round intervals; clocks add jitter. Within 2 % the round number is meant.
SNAP = 0.02
_NICE = np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 8])
_NICE_NS = np.sort(
    np.concatenate(
        [_NICE * 10.0**e for e in range(6, 10)]  # 1 ms … 8 s
        + [np.array([10, 12, 15, 20, 30, 60, 90, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800]) * 1e9]
        + [np.array([1, 2, 3, 4, 6, 8, 12, 24, 48, 168]) * 3600e9]
    )
)
# A stream is irregular when more than this share of its differences is not near a whole number of intervals.
IRREGULAR_SHARE = 0.3
IRREGULAR_OFF = 0.3


class Grid(NamedTuple):
    """Interval and phase in ns (0 <= phase < interval), and whether the points really follow it."""

    interval_ns: int
    phase_ns: int
    regular: bool


def grid_version_of(interval_ns: int, channels: Sequence[str], counters: Sequence[bool]) -> int:
    """Number of a grid, 1 … 2³¹ − 1, by what students depend on: interval, channels in order, which of them are counters.

    By content and not by counting, so that a window that is rebuilt from Kafka has the number that its students were
    fitted for, and never that of another grid.

    >>> grid_version_of(10**9, ["value"], [False])
    1197437053
    """
    channel_lines = [f"{counter:d}{name}" for name, counter in zip(channels, counters, strict=True)]
    text = "\n".join([str(interval_ns), *channel_lines])
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=4).digest()) >> 1 or 1


def slots_of(ts_M: np.ndarray, interval_ns: np.ndarray | int, phase_ns: np.ndarray | int) -> np.ndarray:
    """Slots of instants, int64 (M,); exact integer arithmetic, no rounding of 10^18 ns in float64."""
    return (2 * (ts_M - phase_ns) + interval_ns) // (2 * interval_ns)


def infer_grid(ts_M: np.ndarray) -> Grid:
    """Grid of the first `DIFFERENCES` positive differences of distinct instants (any order of arrival).

    The median is refined by the span (a median of jittered differences is 3 % off, the span 0.3 %), then rounded to
    the interval a person would have chosen when one is within 2 %.
    """
    ts = np.unique(ts_M)[: DIFFERENCES + 1]
    differences = np.diff(ts).astype(np.float64)
    median = float(np.median(differences))
    steps = np.rint(differences / median).sum()
    interval = float(ts[-1] - ts[0]) / steps if steps else median
    nearest = float(_NICE_NS[np.argmin(np.abs(np.log(_NICE_NS / interval)))])
    if abs(nearest / interval - 1) <= SNAP:
        interval = nearest
    interval_ns = max(round(interval), MIN_INTERVAL_NS)
    ratio = differences / interval_ns
    off = (np.abs(ratio - np.rint(ratio)) > IRREGULAR_OFF) | (ratio < 0.5)
    regular = bool(off.mean() <= IRREGULAR_SHARE)
    return Grid(interval_ns, phase_of(ts, interval_ns), regular)


def phase_of(ts_M: np.ndarray, interval_ns: int) -> int:
    """Where the points stand between the multiples of the interval: circular mean, 0 when within 5 % of it."""
    angle = (ts_M % interval_ns).astype(np.float64) * (2 * np.pi / interval_ns)
    mean = np.angle(np.exp(1j * angle).mean()) / (2 * np.pi) % 1.0
    return 0 if min(mean, 1 - mean) < 0.05 else int(mean * interval_ns)


def given_grid(interval_s: float, first_ns: int) -> Grid:
    """Grid of a stream whose interval its settings give; the first point stands at the centre of its slot."""
    interval_ns = max(round(interval_s * NS), MIN_INTERVAL_NS)
    return Grid(interval_ns, phase_of(np.array([first_ns]), interval_ns), True)

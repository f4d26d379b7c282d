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
# Where differences say nothing (points lost at random, partitions read one after another, two replicas of a scraper): the
# longest interval at whose multiples the points crowd. This length of the mean phase is a jitter of a quarter interval to
# either side, or two replicas 4 s apart in 15 s; 33 random points reach it once in 10^5 intervals tried.
CROWDED = 0.6
LEAST_FILLED = 0.15  # of its slots: on a grid so empty that nothing can be judged, points are as good as irregular
REPLICAS = 3.2  # points a slot, at most


class Grid(NamedTuple):
    """Interval and phase in ns (0 <= phase < interval), and whether the points really follow it."""

    interval_ns: int
    phase_ns: int
    regular: bool


def grid_version_of(
    interval_ns: int,
    channels: Sequence[str],
    counters: Sequence[bool],
    regular: bool = True,
    scale: Sequence[Sequence[float]] = (),
) -> int:
    """Number of a grid, 1 … 2³¹ − 1, by what students depend on: interval, channels in order, which of them are counters,
    whether points follow it, and what numbers in the ring are relative to (`StreamHeader.scale`).

    By content and not by counting, so that a window that is rebuilt from Kafka has the number that its students were
    fitted for, and never that of another grid.

    >>> grid_version_of(10**9, ["value"], [False])
    1197437053
    """
    channel_lines = [f"{counter:d}{name}" for name, counter in zip(channels, counters, strict=True)]
    scale_lines = [f"scale {float(offset)!r} {float(unit)!r}" for offset, unit in scale]
    text = "\n".join([str(interval_ns), *channel_lines, *scale_lines, *([] if regular else ["irregular"])])
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
    grid = _by_differences(ts)
    if grid.regular and _crowding(ts, grid.interval_ns) >= CROWDED:
        return grid
    return _by_phases(ts) or grid


def _by_differences(ts: np.ndarray) -> Grid:
    differences = np.diff(ts).astype(np.float64)
    median = float(np.median(differences))
    steps = np.rint(differences / median).sum()
    interval = float(ts[-1] - ts[0]) / steps if steps else median
    interval_ns = max(round(_snapped(interval)), MIN_INTERVAL_NS)
    ratio = differences / interval_ns
    off = (np.abs(ratio - np.rint(ratio)) > IRREGULAR_OFF) | (ratio < 0.5)
    regular = bool(off.mean() <= IRREGULAR_SHARE)
    return Grid(interval_ns, phase_of(ts, interval_ns), regular)


def _by_phases(ts: np.ndarray) -> Grid | None:
    """Grid of the longest interval at whose multiples the points crowd, None where they crowd at none."""
    differences = np.diff(ts).astype(np.float64)
    usual = float(differences[differences <= 8 * np.quantile(differences, 0.75)].mean())
    own = np.quantile(differences, [0.1, 0.25, 0.5])[:, None] / [1, 2, 3]
    tried = np.concatenate([_NICE_NS, own.ravel()])
    tried = np.unique(tried[(tried <= REPLICAS * usual) & (tried >= LEAST_FILLED * usual) & (tried >= MIN_INTERVAL_NS)])
    for interval in tried[::-1].tolist():
        steps = np.rint(differences / interval)
        fitted = float(ts[-1] - ts[0]) / steps.sum() if steps.sum() else interval
        interval_ns = max((round(_snapped(fit)) for fit in (interval, fitted)), key=lambda ns: _crowding(ts, ns))
        if interval_ns >= MIN_INTERVAL_NS and _crowding(ts, interval_ns) >= CROWDED:
            return Grid(interval_ns, phase_of(ts, interval_ns), True)
    return None


def _snapped(interval: float) -> float:
    """The interval a person would have chosen when one is near."""
    nearest = float(_NICE_NS[np.argmin(np.abs(np.log(_NICE_NS / interval)))])
    return nearest if abs(nearest / interval - 1) <= SNAP else interval


def _crowding(ts_M: np.ndarray, interval_ns: int) -> float:
    """Length of the mean phase: 1 when all points stand at the same place between the multiples, near 0 anywhere."""
    return float(np.abs(_mean_phase(ts_M, interval_ns)))


def _mean_phase(ts_M: np.ndarray, interval_ns: int) -> np.complex128:
    """Mean of the points' places between the multiples, on the unit circle."""
    angle = (ts_M % interval_ns).astype(np.float64) * (2 * np.pi / interval_ns)
    mean: np.complex128 = np.exp(1j * angle).mean()
    return mean


def phase_of(ts_M: np.ndarray, interval_ns: int) -> int:
    """Where the points stand between the multiples of the interval: circular mean, 0 when within 5 % of it."""
    mean = np.angle(_mean_phase(ts_M, interval_ns)) / (2 * np.pi) % 1.0
    return 0 if min(mean, 1 - mean) < 0.05 else int(mean * interval_ns)


def given_grid(interval_s: float, first_ns: int) -> Grid:
    """Grid of a stream whose interval its settings give; the first point stands at the centre of its slot."""
    interval_ns = max(round(interval_s * NS), MIN_INTERVAL_NS)
    return Grid(interval_ns, phase_of(np.array([first_ns]), interval_ns), True)

"""Paired differences with bootstrap intervals: of scores, and of false alerts at equal recall.

Every interval resamples series, not slots: what is wanted is what the next series would bring.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from trainer.backtest.runner import Row

RESAMPLED = 2000
FEWEST = 10  # false alerts: a share of fewer says nothing
DEFAULT_THRESHOLD = 4.0  # the detector's dial
Pair = tuple[Row, Row]  # without the teacher, with it; of one series


@dataclass(frozen=True)
class Interval:
    """A difference and its central 95 %."""

    middle: float
    low: float
    high: float
    series: int

    @property
    def above(self) -> bool:
        """The whole interval is above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """The whole interval is below 0."""
        return self.high < 0

    def __str__(self) -> str:
        return f"{self.middle:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def _resampled(many: int, figure: Callable[[np.ndarray], float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [figure(rng.integers(0, many, many)) for _ in range(RESAMPLED)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def difference(pairs: Sequence[Pair], figure: str, latency: int = 8) -> Interval | None:
    """Mean of with − without over the series that have the figure in both; None when none has."""
    gains = []
    for without, having in pairs:
        a, b = (row[f"latency_{latency}"].get(figure) for row in (without, having))
        if a is not None and b is not None:
            gains.append(float(b) - float(a))
    if not gains:
        return None
    gain = np.array(gains)
    low, high = _resampled(len(gain), lambda index: float(gain[index].mean()))
    return Interval(float(gain.mean()), low, high, len(gain))


def mean(rows: Sequence[Row], figure: str, latency: int = 8) -> float | None:
    """Mean over the series that have the figure."""
    known = [float(v) for row in rows if (v := row[f"latency_{latency}"].get(figure)) is not None]
    return fmean(known) if known else None


def fewer_false(pairs: Sequence[Pair], threshold: float = DEFAULT_THRESHOLD) -> Interval | None:
    """Share of the false alerts that the teacher saves where as many labelled ranges are alerted on.

    As many as without it reach `threshold`. Each has the highest threshold that alerts on so many: were it the given one
    without, and the highest with it, the gap between the two would be counted as a gain. None when there is no range
    alerted on, or too few false alerts to save.
    """

    def saved(index: np.ndarray) -> float:
        without, having = ([pairs[i][side] for i in index] for side in (0, 1))
        wanted = sum(peak >= threshold for row in without for peak in row["inside"])
        before, after = (_false(rows, wanted) for rows in (without, having))
        return 1.0 - after / before if before >= FEWEST else float("nan")

    middle = saved(np.arange(len(pairs)))
    if np.isnan(middle):
        return None
    return Interval(middle, *_resampled(len(pairs), saved), len(pairs))


def _false(rows: Sequence[Row], wanted: int) -> int:
    """False alerts at the highest threshold that alerts on so many labelled ranges; 0 where none is wanted."""
    inside = sorted((peak for row in rows for peak in row["inside"]), reverse=True)
    return sum(peak >= inside[wanted - 1] for row in rows for peak in row["outside"]) if wanted else 0


def hits(rows: Sequence[Row], threshold: float = DEFAULT_THRESHOLD) -> str:
    """Labelled ranges alerted on, of all, and false alerts, at the default threshold."""
    inside = [peak for row in rows for peak in row["inside"]]
    false = sum(peak >= threshold for row in rows for peak in row["outside"])
    return f"{sum(peak >= threshold for peak in inside)}/{len(inside)}, {false}"

"""A picture of one replayed series: values with their expected band, surprise with the threshold, labels, alerts.

Shapes: K slots of the test part, S slots of the series, C channels, P drawn points
"""

from pathlib import Path
from typing import Any

import numpy as np

from trainer.backtest.replay import Replayed
from trainer.backtest.series import Series
from trainer.backtest.vus import ranges

MAX_CHANNELS = 4
# Beyond this many slots each drawn point stands for several: their extremes, so that no spike is lost.
MAX_POINTS = 3000
LEFT_OF_TEST = 0.15  # of the picture's width at most shows the end of the training part
_LABEL, _ALERT, _VALUE, _BAND, _SCORE = "#f2b8b5", "#b3261e", "#1f2937", "#9dc3e6", "#2f5d8a"
_RANK = "#d97706"


def plot(series: Series, made: Replayed, file: Path) -> None:
    """Write a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    channels = shown_channels(made, series.values_SC.shape[1])
    rows = len(channels) + 1
    figure = Figure(figsize=(14, 1.2 + 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    before = min(series.train_end, int(LEFT_OF_TEST * len(made.surprise_K)))
    for axis, channel in zip(axes, channels, strict=False):
        _draw_channel(axis, series, made, channel, before)
    _draw_score(axes[-1], made)
    for axis in axes:
        _draw_spans(axis, series, made)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0)
    axes[-1].set_xlim(-before, len(made.surprise_K) - 1)
    axes[-1].set_xlabel(f"slots from the end of the training part ({made.history:,} slots were learnt from)")
    left = "" if len(channels) == series.values_SC.shape[1] else f", the loudest {len(channels)} of its channels"
    alerts = f"{len(made.alerts)} alert{'' if len(made.alerts) == 1 else 's'}"
    axes[0].set_title(f"{series.name}{left}: {alerts}", loc="left", fontsize=11)
    handles, names = _legend(axes)
    axes[0].legend(
        handles, names, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(names), frameon=False, fontsize=9
    )
    figure.savefig(file, dpi=100)


def shown_channels(made: Replayed, count: int) -> list[int]:
    """The loudest channels of the most surprising slots, in their own order; all of a few."""
    if count <= MAX_CHANNELS:
        return list(range(count))
    surprise_K = np.nan_to_num(made.surprise_K)
    loud_K = surprise_K >= min(made.threshold, float(np.quantile(surprise_K, 0.99)))
    weight_C = np.bincount(made.loudest_K[loud_K], surprise_K[loud_K], minlength=count)
    order = np.argsort(-weight_C, kind="stable")[:MAX_CHANNELS]
    return sorted(c for c in order.tolist() if weight_C[c] > 0 or c == order[0])


def _draw_channel(axis: Any, series: Series, made: Replayed, channel: int, before: int) -> None:
    start = series.train_end
    value_K = series.data_SC[start - before :, channel]
    at_P, low_P, high_P = _extremes(value_K)
    # a line through both extremes of every group: at this density it is what a line through all points shows
    axis.plot(np.repeat(at_P, 2) - before, np.stack([low_P, high_P], 1).ravel(), color=_VALUE, lw=0.8, label="value")
    if made.bands is not None:
        low_KC, high_KC = made.bands.low_KC[:, channel], made.bands.high_KC[:, channel]
        band_P, lowest_P, _ = _extremes(low_KC)
        _, _, highest_P = _extremes(high_KC)
        axis.fill_between(band_P, lowest_P, highest_P, color=_BAND, alpha=0.6, lw=0, label="expected", zorder=0.5)
    finite = value_K[np.isfinite(value_K)]
    if len(finite):  # the band of a wild view must not make the values a flat line
        low, high = float(finite.min()), float(finite.max())
        room = 0.1 * (high - low) or 1.0
        axis.set_ylim(low - room, high + room)
    axis.axvline(0, color="#6b7280", lw=0.8, ls=":")
    axis.set_ylabel(series.channels[channel])


def _draw_score(axis: Any, made: Replayed) -> None:
    at_P, _, high_P = _extremes(made.surprise_K)
    axis.plot(at_P, high_P, color=_SCORE, lw=0.8, label="surprise")
    if not np.array_equal(made.rank_K, made.surprise_K, equal_nan=True):
        # "found" and the areas go by the rank, which leaves out what alerts before a shape is complete
        _, _, rank_P = _extremes(made.rank_K)
        axis.plot(at_P, rank_P, color=_RANK, lw=1.1, label="rank")
    axis.axhline(made.threshold, color=_ALERT, lw=0.9, ls="--", label="threshold")
    highest = float(np.nanmax([made.surprise_K, made.rank_K], initial=0.0))
    axis.set_ylim(0, 1.05 * max(highest, made.threshold + 1))
    axis.set_ylabel("surprise,\n−log10 p")


def _draw_spans(axis: Any, series: Series, made: Replayed) -> None:
    """Labels as a tint over the whole height, alerts as a bar along the upper edge with their opening marked."""
    least = len(made.surprise_K) / 1400  # about a pixel
    if series.labels_S is not None:
        for begin, end in zip(*ranges(series.labels_S[series.train_end :]), strict=True):
            axis.axvspan(
                begin - 0.5, max(end + 0.5, begin + least), color=_LABEL, alpha=0.7, lw=0, zorder=0.1, label="label"
            )
    for alert in made.alerts:
        right = max(alert.end + 0.5, alert.onset + least)
        axis.axvspan(alert.onset - 0.5, right, 0.95, 1.0, color=_ALERT, lw=0, label="alert")
        axis.plot([alert.opened], [0.95], marker="v", ms=5, color=_ALERT, transform=axis.get_xaxis_transform(), ls="")


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    """Every name once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return list(found.values()), list(found)


def _extremes(value_K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slots (P,), smallest and largest values (P,) of at most MAX_POINTS groups of consecutive slots."""
    size = -(-len(value_K) // MAX_POINTS)
    padded = np.concatenate([value_K, np.full(-len(value_K) % size, np.nan)]).reshape(-1, size)
    empty = np.isnan(padded).all(1)
    low_P = np.where(empty, np.nan, np.where(np.isnan(padded), np.inf, padded).min(1))
    high_P = np.where(empty, np.nan, np.where(np.isnan(padded), -np.inf, padded).max(1))
    return np.arange(len(padded)) * size, low_P, high_P

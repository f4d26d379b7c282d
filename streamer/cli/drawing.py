"""Curves in a terminal, out of block characters: values inside their band, incidents marked.

Shapes: S slots
"""

import itertools
from collections.abc import Sequence

import numpy as np
from rich.text import Text

SPARK = "▁▂▃▄▅▆▇█"
_VALUE, _BAND, _EMPTY = "█", "░", " "
_INCIDENT_STYLE, _VALUE_STYLE, _BAND_STYLE = "bold red", "bold", "blue"
LABEL = 10  # columns left of the curve


def chart(
    values_S: np.ndarray,
    low_S: np.ndarray,
    high_S: np.ndarray,
    marked_S: np.ndarray,
    width: int = 80,
    height: int = 12,
) -> list[Text]:
    """A curve of `height` lines: what a column covers from smallest to largest, over its band; incidents in red.

    `marked_S` bool: slots of incidents. Nothing but NaN gives one line that says so.
    """
    if not np.isfinite(values_S).any():
        return [Text(" " * LABEL + "no values", style="dim")]
    columns = _columns(len(values_S), width)
    bounds = np.concatenate([values_S, _near(low_S, values_S), _near(high_S, values_S)])
    bottom, top = float(np.nanmin(bounds)), float(np.nanmax(bounds))
    if top <= bottom:
        bottom, top = bottom - 0.5, top + 0.5
    step = (top - bottom) / height
    lines = [Text(_label(row, height, bottom, top), style="dim") for row in range(height)]
    for span in columns:
        value = _extent(values_S[span], values_S[span])
        band = _extent(low_S[span], high_S[span])
        marked = bool(marked_S[span].any())
        for row, line in enumerate(lines):
            floor = top - (row + 1) * step
            if value and _covers(value, floor, step, row == 0):
                line.append(_VALUE, style=_INCIDENT_STYLE if marked else _VALUE_STYLE)
            elif band and _covers(band, floor, step, row == 0):
                line.append(_BAND, style=_BAND_STYLE)
            else:
                line.append(_EMPTY)
    return lines


def strip(values_S: np.ndarray, top: float, width: int, limit: float | None = None) -> Text:
    """One line of a bar a column, each its largest value, up to `top`; those at or above `limit` in red."""
    made = Text()
    for span in _columns(len(values_S), width):
        part = values_S[span]
        if not np.isfinite(part).any():
            made.append(" ")
            continue
        value = float(np.nanmax(part))
        place = min(int(max(value, 0.0) / top * len(SPARK)), len(SPARK) - 1) if top > 0 else 0
        made.append(SPARK[place], style=_INCIDENT_STYLE if limit is not None and value >= limit else "cyan")
    return made


def marks(marked_S: np.ndarray, width: int) -> Text:
    """One line that marks the columns of incidents."""
    made = Text()
    for span in _columns(len(marked_S), width):
        made.append("▔" if marked_S[span].any() else " ", style=_INCIDENT_STYLE)
    return made


def sparkline(values: Sequence[float]) -> str:
    """One character a value between the smallest and the largest.

    >>> sparkline([0.0, 1.0, 2.0])
    '▁▄█'
    """
    found = np.asarray(values, float)
    if not np.isfinite(found).any():
        return ""
    low, high = float(np.nanmin(found)), float(np.nanmax(found))
    scale = (len(SPARK) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if v != v else SPARK[int((v - low) * scale)] for v in found.tolist())


def _columns(slots: int, width: int) -> list[slice]:
    width = min(width, slots)
    edges = np.linspace(0, slots, width + 1).astype(int).tolist()
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def _near(bound_S: np.ndarray, values_S: np.ndarray) -> np.ndarray:
    """A band may be far wider than anything drawn: no more than twice the curve's own height is shown of it."""
    low, high = float(np.nanmin(values_S)), float(np.nanmax(values_S))
    room = max(high - low, 1e-9 * max(abs(high), 1.0))
    near_S: np.ndarray = np.clip(bound_S, low - room / 2, high + room / 2)
    return near_S


def _extent(low_S: np.ndarray, high_S: np.ndarray) -> tuple[float, float] | None:
    if not np.isfinite(low_S).any() or not np.isfinite(high_S).any():
        return None
    return float(np.nanmin(low_S)), float(np.nanmax(high_S))


def _covers(extent: tuple[float, float], floor: float, step: float, highest: bool) -> bool:
    return extent[1] >= floor and (highest or extent[0] < floor + step)


def _label(row: int, height: int, bottom: float, top: float) -> str:
    shown = {0: top, height // 2: (top + bottom) / 2, height - 1: bottom}
    text = f"{shown[row]:.4g}" if row in shown else ""
    return f"{text:>{LABEL - 2}} │"[-LABEL:].rjust(LABEL)

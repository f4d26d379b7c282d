"""A stream's curves with the band that was expected, in JSON types: at most `COLUMNS` columns, each with its extremes.

Shapes: S slots, C channels
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamer.timestamps import NS, format_ns

COLUMNS = 800
MAX_CHANNELS = 4

Numbers = list[float | None]


@dataclass(frozen=True)
class Channel:
    """Smallest and largest value of each column, and what was expected there; None where nothing is known."""

    name: str
    low: Numbers
    high: Numbers
    band_low: Numbers
    band_high: Numbers


@dataclass(frozen=True)
class Span:
    """Slots begin..end, counted from the first that is drawn: an incident, or what people have labelled (no severity)."""

    begin: int
    end: int
    severity: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """All of it. `start_ns`: instant of the first slot; None: the data had no time stamps."""

    slots: int
    interval_ns: int
    start_ns: int | None
    judged_from: int  # slots before it were learnt from
    channels: list[Channel]
    surprise: Numbers
    threshold: float
    spans: list[Span] = field(default_factory=list)
    left_out: int = 0  # channels

    @property
    def size(self) -> int:
        """Slots of a column."""
        return -(-self.slots // COLUMNS)

    def when(self, slot: float) -> str:
        """RFC 3339 of a slot, or its number."""
        return f"slot {slot:g}" if self.start_ns is None else format_ns(self.start_ns + round(slot * self.interval_ns))

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Drawing":
        """What `dataclasses.asdict` has made of one."""
        channels, spans = [Channel(**c) for c in raw["channels"]], [Span(**s) for s in raw["spans"]]
        return cls(**{**raw, "channels": channels, "spans": spans})


def draw(
    names: Sequence[str],
    values_SC: np.ndarray,
    low_SC: np.ndarray,
    high_SC: np.ndarray,
    surprise_S: np.ndarray,
    *,
    threshold: float,
    interval_ns: int = NS,
    start_ns: int | None = None,
    judged_from: int = 0,
    spans: Sequence[Span] = (),
    shown: Sequence[int] | None = None,
) -> Drawing:
    """Reduce to columns. NaN: not known. `shown`: the channels to draw (default: the first ones)."""
    slots = len(values_SC)
    size = -(-slots // COLUMNS)
    at = list(range(len(names)))[:MAX_CHANNELS] if shown is None else list(shown)[:MAX_CHANNELS]
    channels = [
        Channel(
            names[c], _least(values_SC[:, c], size), _most(values_SC[:, c], size),
            _least(low_SC[:, c], size), _most(high_SC[:, c], size),
        )
        for c in at
    ]  # fmt: skip
    return Drawing(
        slots, interval_ns, start_ns, judged_from, channels, _most(surprise_S, size), float(threshold), list(spans),
        len(names) - len(at),
    )  # fmt: skip


def _most(values_S: np.ndarray, size: int) -> Numbers:
    return [None if v == -np.inf else float(f"{v:.6g}") for v in _columns(values_S, size, -np.inf).max(1).tolist()]


def _least(values_S: np.ndarray, size: int) -> Numbers:
    return [None if v == np.inf else float(f"{v:.6g}") for v in _columns(values_S, size, np.inf).min(1).tolist()]


def _columns(values_S: np.ndarray, size: int, nothing: float) -> np.ndarray:
    """(P, size); what is not finite is `nothing`."""
    known_S = np.where(np.isfinite(values_S), values_S.astype(np.float64), nothing)
    made: np.ndarray = np.concatenate([known_S, np.full(-len(known_S) % size, nothing)]).reshape(-1, size)
    return made

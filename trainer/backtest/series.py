"""A recorded series, and what a replay is asked to do with it.

Shapes: S slots, C channels.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from streamer.errors import AnomalyLLMError
from streamer.timestamps import NS, format_ns
from streamer.windows.scale import data_of


class SourceError(AnomalyLLMError):
    """Recorded data cannot be used; the message says which, where, and what to do."""


@dataclass(frozen=True)
class Series:
    """One stream on its grid, split into a training part `[:train_end]` and a test part."""

    name: str
    values_SC: np.ndarray  # float32, NaN = gap
    train_end: int
    labels_S: np.ndarray | None = None  # bool
    channels: tuple[str, ...] = ("value",)
    found_within: tuple[int, int] | None = None  # first and last slot at which the UCR rule calls it found
    interval_ns: int = NS
    phase_ns: int = 0
    first_slot: int = 0  # of the first row, in the stream's own count: 0 without time stamps
    timed: bool = False  # slots are instants: the data came with time stamps
    scale: tuple[
        tuple[float, float], ...
    ] = ()  # offset and unit a channel that `values_SC` are relative to; none: 0 and 1

    @property
    def data_SC(self) -> np.ndarray:
        """Values in the unit of the data, float64 (S, C)."""
        return data_of(self.values_SC, self.scale).astype(np.float64)

    def at(self, row: int) -> str | None:
        """RFC 3339 of a row; None where the data had no time stamps."""
        return format_ns((self.first_slot + row) * self.interval_ns + self.phase_ns) if self.timed else None

    def checked(self) -> "Series":
        """Itself. Raises SourceError when it has no training or no test part, or labels of another length."""
        slots = len(self.values_SC)
        if not 0 < self.train_end < slots:
            raise SourceError(
                f"{self.name}: the training part ends at slot {self.train_end} of {slots}; "
                "it must leave at least one slot on either side (--train)"
            )
        if self.labels_S is not None and len(self.labels_S) != slots:
            raise SourceError(f"{self.name}: {len(self.labels_S)} labels for {slots} slots")
        return self

    @property
    def training(self) -> np.ndarray:
        """Values of the training part (slots, channels)."""
        return self.values_SC[: self.train_end]

    @property
    def test_labels_K(self) -> np.ndarray | None:
        """Labels of the test part; None when there are none or nothing is labelled in it."""
        if self.labels_S is None or not self.labels_S[self.train_end :].any():
            return None
        return self.labels_S[self.train_end :]

    @property
    def test_found_within(self) -> tuple[int, int] | None:
        """`found_within`, in slots of the test part."""
        if self.found_within is None:
            return None
        return self.found_within[0] - self.train_end, self.found_within[1] - self.train_end

    def digest(self) -> str:
        """Changes with anything that a replay could see."""
        digest = hashlib.sha256(
            repr(
                (
                    self.name,
                    self.train_end,
                    self.channels,
                    self.found_within,
                    self.interval_ns,
                    self.phase_ns,
                    self.first_slot,
                    self.timed,
                )
            ).encode()
        )
        digest.update(np.ascontiguousarray(self.values_SC).tobytes())
        if self.labels_S is not None:
            digest.update(np.packbits(self.labels_S).tobytes())
        return digest.hexdigest()

"""A bank whose surprise is a simple function of the values: what is tested is what is made of it.

Shapes: K scored slots, S slots of a window, N slots of a change, C channels
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detector.incidents.record import StreamState
from detector.live.cache import Entry, WindowChange
from detector.live.settings import WorkerSettings
from detector.model.interface import Segment, SegmentScore, ViewName
from streamer.contracts import ModelRef
from streamer.windows.header import StreamHeader
from streamer.windows.ring import StreamWindow

CONTEXT = 8
INTERVAL_NS = 100_000_000
SETTINGS = WorkerSettings(quiet=5, max_slots=200)


class FakeBank:
    """Surprise = distance from 10 (largest channel); expected 9 to 11. Fails for streams named in `broken`."""

    context = CONTEXT

    def __init__(self) -> None:
        self.version = "v1"
        self.broken: set[str] = set()
        self.calls: list[int] = []

    def context_of(self, stream: str, cold: bool = False) -> int:
        """The same for all."""
        return self.context

    def model_of(self, stream: str) -> ModelRef | None:
        """Everybody has the same student but streams called cold…"""
        if stream.startswith("cold"):
            return None
        return ModelRef(
            version=self.version, uri="u", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 1), points=2000
        )

    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """One call."""
        self.calls.append(len(segments))
        if self.broken & {segment.stream for segment in segments}:
            raise RuntimeError("broken")
        made = []
        for segment in segments:
            cold = segment.cold or segment.stream.startswith("cold")
            score = score_of(segment.stream, segment.values_SC[-(segment.count or 1) :])
            made.append(replace(score, version=None, warming=True) if cold else score)
        return made


def score_of(stream: str, values_KC: np.ndarray) -> SegmentScore:
    """Scores of K slots."""
    deviation_KC = (values_KC - 10.0).astype(np.float32)
    channel_KC = np.minimum(np.abs(deviation_KC), 12.0)
    shape = values_KC.shape
    return SegmentScore(
        stream, "v1", [ViewName("prototype", 0, 4), ViewName("teacher", 2, 64)], channel_KC.max(1), channel_KC.max(1),
        channel_KC,
        np.zeros(shape, np.int16), np.full(shape, 4, np.int16), np.full(shape, 7, np.int16),
        np.full(shape, 10.0, np.float32),
        np.full(shape, 9.0, np.float32), np.full(shape, 11.0, np.float32), deviation_KC,
        np.zeros(len(values_KC), np.bool_), np.zeros(len(values_KC), np.int16),
    )  # fmt: skip


def header(lo: int, hi: int, channels: int = 1, **own: object) -> StreamHeader:
    """A stream on a grid of 10 Hz."""
    names = ["value"] if channels == 1 else [f"c{i}" for i in range(channels)]
    made = StreamHeader(
        state="grid", grid_version=1, interval_ns=INTERVAL_NS, capacity=8192, channels=names,
        counters=[False] * channels, lo=lo, hi=hi, seq=1,
    )  # fmt: skip
    for name, value in own.items():
        setattr(made, name, value)
    return made


def entry_of(stream: str, values_SC: np.ndarray, lo: int = 1000, keep: int = CONTEXT + 64, **own: object) -> Entry:
    """A stream whose window holds these values, all judged."""
    hi = lo + len(values_SC) - 1
    window = StreamWindow(header(lo, hi, values_SC.shape[1], **own), values_SC.astype(np.float32))
    return Entry(stream, window, keep, hi)


def state_of(entry: Entry, **own: object) -> StreamState:
    """Nothing has happened yet."""
    made = StreamState(1, INTERVAL_NS, 0, entry.scored, model="v1")
    for name, value in own.items():
        setattr(made, name, value)
    return made


def change_of(
    seq: int, first: int, values: Sequence[float] | np.ndarray, flags: int = 0, grid_version: int = 1
) -> WindowChange:
    """A change of one channel."""
    values_NC = np.asarray(values, np.float32).reshape(len(values), -1)
    data = int(np.isfinite(values_NC).any(1).sum())
    return WindowChange(seq, grid_version, first, values_NC, INTERVAL_NS, 0, (5, 6), 1_000, flags, data)


def column(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Values of one channel as rows."""
    return np.asarray(values, np.float32)[:, None]

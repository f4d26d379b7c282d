"""Recorded points in memory, stream by stream, by the time at which they happened.

Shapes: N points of a part, C channels
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from streamer.errors import ContractError
from streamer.kafka.publishing import Batch
from streamer.sources.files import opened
from streamer.sources.layout import Hints
from streamer.timestamps import numeric_timestamps, parse_timestamp

POINTS_A_BATCH, POINTS_APART = 500, 16
# Below it a number of ns would be taken for one of µs: such data (of 1970 to 1973) go as seconds.
_SURELY_NS = 10**17


@dataclass(frozen=True)
class Part:
    """Points of one stream with the same channels, in order of time."""

    channels: tuple[str, ...]
    ns_N: np.ndarray  # int64
    values_NC: np.ndarray  # float64, NaN: null

    def between(self, begin_ns: int, end_ns: int) -> slice:
        """The points of [begin, end)."""
        return slice(*np.searchsorted(self.ns_N, [begin_ns, end_ns]).tolist())


@dataclass
class Recording:
    """Points of all streams."""

    parts: dict[str, list[Part]] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """All of them."""
        return sum(len(part.ns_N) for parts in self.parts.values() for part in parts)

    def span(self) -> tuple[int, int]:
        """First and last instant (ns). Raises ValueError when there is none."""
        every = [part.ns_N for parts in self.parts.values() for part in parts]
        return min(int(ns_N[0]) for ns_N in every), max(int(ns_N[-1]) for ns_N in every)

    def since(self, begin_ns: int) -> "Recording":
        """Without what lies before."""
        made = Recording()
        for stream, parts in self.parts.items():
            for part in parts:
                here = part.between(begin_ns, 1 << 62)
                if here.start < here.stop:
                    kept = Part(part.channels, part.ns_N[here], part.values_NC[here])
                    made.parts.setdefault(stream, []).append(kept)
        return made

    def instants(self, stream: str) -> np.ndarray:
        """When a stream had a number, ns in order."""
        found = [part.ns_N[np.isfinite(part.values_NC).any(1)] for part in self.parts[stream]]
        made: np.ndarray = np.unique(np.concatenate(found))
        return made

    def interval_ns(self, stream: str) -> int:
        """The usual time between two of its instants; 0 where it has one only."""
        steps = np.diff(self.instants(stream))
        return int(np.median(steps)) if len(steps) else 0

    def next_after(self, at_ns: int) -> int | None:
        """The first instant at or after one; None: there is none."""
        rest = (
            int(part.ns_N[at])
            for parts in self.parts.values()
            for part in parts
            if (at := int(np.searchsorted(part.ns_N, at_ns))) < len(part.ns_N)
        )
        return min(rest, default=None)

    def batches(self, begin_ns: int, end_ns: int) -> Iterator[Batch]:
        """What is published of [begin, end)."""
        for stream, parts in self.parts.items():
            # Channels that come apart stay close together: whoever judges a slot needs them all.
            size = POINTS_A_BATCH if len(parts) == 1 else POINTS_APART
            made = (batch for part in parts for batch in _batches(stream, part, begin_ns, end_ns, size))
            yield from made if len(parts) == 1 else sorted(made, key=lambda batch: batch.newest_ns)


def _batches(stream: str, part: Part, begin_ns: int, end_ns: int, size: int) -> Iterator[Batch]:
    here = part.between(begin_ns, end_ns)
    for at in range(here.start, here.stop, size):
        rows = slice(at, min(at + size, here.stop))
        ns, values = part.ns_N[rows].tolist(), part.values_NC[rows].tolist()
        points = [[_stamp(t), *(None if v != v else v for v in row)] for t, row in zip(ns, values, strict=True)]
        yield Batch(stream, part.channels, points, ns[-1])


def _stamp(ns: int) -> int | float:
    return ns if ns >= _SURELY_NS else ns / 1e9


class Collector:
    """Gathers points as they come."""

    def __init__(self, wanted: str = "*", begin_ns: int = 0, end_ns: int = 1 << 62) -> None:
        """`wanted`: pattern of the streams; points of [begin, end) are kept."""
        self._wanted, self._begin_ns, self._end_ns = wanted, begin_ns, end_ns
        self._found: dict[tuple[str, tuple[str, ...]], list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, stream: str, channels: tuple[str, ...], ns_N: np.ndarray, values_NC: np.ndarray) -> None:
        """Points: int64 ns (N,), float64 (N, C)."""
        if not fnmatchcase(stream, self._wanted):
            return
        keep_N = (ns_N >= self._begin_ns) & (ns_N < self._end_ns)
        if keep_N.any():
            pieces = self._found.setdefault((stream, channels), [])
            pieces.append((ns_N[keep_N], values_NC[keep_N]))

    def made(self) -> Recording:
        """All of it, in order of time; of one instant the later point stays behind."""
        recording = Recording()
        for (stream, channels), pieces in sorted(self._found.items()):
            ns_N, values_NC = np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])
            order = np.argsort(ns_N, kind="stable")
            recording.parts.setdefault(stream, []).append(Part(channels, ns_N[order], values_NC[order]))
        return recording


def instants(stamps: Sequence[Any]) -> np.ndarray:
    """Time stamps in any accepted form → int64 ns. Raises ContractError."""
    if all(type(stamp) is int for stamp in stamps) or all(type(stamp) is float for stamp in stamps):
        ns_N = numeric_timestamps(np.array(stamps))
        if (ns_N >= 0).all():
            return ns_N
    return np.array([parse_timestamp(stamp) for stamp in stamps], np.int64)


def read_files(files: Iterable[Path], hints: Hints, wanted: str, end_ns: int, say: Callable[[str], None]) -> Recording:
    """Files as `publish` reads them; what was understood and refused is said.

    Raises ConfigError: a file that is not understood.
    """
    collector = Collector(wanted, end_ns=end_ns)
    for file in files:
        own = hints if hints.prefix else replace(hints, prefix=f"{file.name.split('.')[0]}.")
        with opened(file, own) as found:
            say(f"{file}: {'; '.join(found.summary)}")
            for batch in found.batches:
                try:
                    ns_N = instants([point[0] for point in batch.points])
                    values_NC = np.array([point[1:] for point in batch.points], np.float64)  # None is NaN
                    collector.add(batch.stream, batch.channels, ns_N, values_NC)
                except ContractError as error:
                    say(f"{file}, {batch.stream}: {len(batch.points)} points left out: {error}")
            for bad in found.bad[:5]:
                say(f"{file}, {bad}")
            if found.refused:
                say(f"{file}: {found.refused:,} rows or parts refused, all others taken")
    return collector.made()

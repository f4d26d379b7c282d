"""Cells of foreign payloads → messages of the `metrics` topic, one stream each.

Shapes: M cells of a payload
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from streamer.sources.points import Decoded, Series
from streamer.timestamps import NS

# Of one stream in one message: enough that more gains nothing, and a cell takes at most 25 bytes of the 4 MB of a message.
POINTS_A_MESSAGE = 1_000
CELLS_A_MESSAGE = 20_000
_SMALLEST_NS = 10**17  # smaller numbers would be taken for µs


@dataclass(slots=True)
class Table:
    """Points of one stream and one channel set: `rows` are [ts in ns, value …]."""

    stream: str
    channels: list[str]
    rows: list[list[float]]
    history: bool
    stamp_ms: int  # newest time stamp of the records it was made from

    def newest_ns(self) -> int:
        """Of the points."""
        return int(max(row[0] for row in self.rows))

    def points(self, as_text: bool = False) -> list[list[Any]]:
        """Rows as `metrics` takes them: time stamps as text where a number could be misread."""
        if not as_text and min(row[0] for row in self.rows) >= _SMALLEST_NS:
            return self.rows
        return [[rfc3339(row[0]), *row[1:]] for row in self.rows]


@dataclass(slots=True)
class Message:
    """A record for `metrics`. `cells` counts its numbers."""

    stream: str
    value: bytes
    history: bool
    stamp_ms: int
    cells: int


@dataclass(slots=True)
class _Group:
    history: bool
    channels: dict[str, int] = field(default_factory=dict)
    cells: list[tuple[int, int, float]] = field(default_factory=list)  # ts, channel, value
    stamp_ms: int = 0


class Batch:
    """Gathers payloads; `messages` gives what they hold, stream by stream."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self._groups: dict[tuple[str, bool], _Group] = {}

    def add(self, decoded: Decoded, history: bool = False, stamp_ms: int = 0) -> None:
        """One payload. `stamp_ms` is its record's time stamp."""
        used: dict[int, tuple[_Group, int]] = {}
        for column, ts, value in zip(
            decoded.column_M.tolist(), decoded.ts_M.tolist(), decoded.value_M.tolist(), strict=True
        ):
            place = used.get(column)
            if place is None:
                place = used[column] = self._place(decoded, column, history, stamp_ms)
            group, channel = place
            group.cells.append((ts, channel, value))

    def _place(self, decoded: Decoded, column: int, history: bool, stamp_ms: int) -> tuple[_Group, int]:
        at, channel = decoded.channels[column]
        series = decoded.series[at]
        self.series[series.stream] = series
        group = self._groups.setdefault((series.stream, history), _Group(history))
        group.stamp_ms = max(group.stamp_ms, stamp_ms)
        return group, group.channels.setdefault(channel, len(group.channels))

    def tables(self, size: int = POINTS_A_MESSAGE) -> Iterator[Table]:
        """All tables, of at most `size` rows; empties the batch."""
        groups, self._groups = self._groups, {}
        for (stream, history), group in groups.items():
            for channels, rows in _tables(group):
                most = max(1, min(size, CELLS_A_MESSAGE // len(channels)))
                for at in range(0, len(rows), most):
                    yield Table(stream, channels, rows[at : at + most], history, group.stamp_ms)

    def messages(self, as_text: frozenset[str] = frozenset()) -> Iterator[Message]:
        """All messages; empties the batch. Streams in `as_text` get time stamps as text: their settings give a unit."""
        for table in self.tables():
            points = table.points(table.stream in as_text)
            body = {"stream": table.stream, "channels": table.channels, "points": points}
            cells = len(points) * len(table.channels)
            yield Message(table.stream, orjson.dumps(body), table.history, table.stamp_ms, cells)


def _tables(group: _Group) -> Iterator[tuple[list[str], list[list[float]]]]:
    """(channels, rows of [ts, value …]): a table has no holes, since a null would say that there is nothing."""
    names = list(group.channels)
    if len(names) == 1:
        yield names, [[ts, value] for ts, _, value in group.cells]
        return
    at: dict[int, dict[int, float]] = {}
    for ts, channel, value in group.cells:
        at.setdefault(ts, {})[channel] = value
    tables: dict[tuple[int, ...], list[list[float]]] = {}
    for ts, values in at.items():
        chosen = tuple(sorted(values))
        tables.setdefault(chosen, []).append([ts, *(values[channel] for channel in chosen)])
    for chosen, rows in tables.items():
        yield [names[channel] for channel in chosen], rows


def rfc3339(ns: float) -> str:
    """ns since 1970 → RFC 3339 with all nine digits."""
    seconds, rest = divmod(int(ns), NS)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:09d}Z"

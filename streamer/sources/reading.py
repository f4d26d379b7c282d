"""Reads metrics out of CSV and JSON lines, a row at a time, and groups them into batch messages.

CSV has a header line with a time column, and either
  a `stream` column and value columns (`value`, or one a channel): rows name their stream; or
  only value columns: one multivariate stream if a name is given, else a stream a column (`PREFIX.COLUMN`).
JSON lines are messages of the `metrics` topic as they are: points or batches.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import orjson

from streamer.errors import ConfigError, ContractError
from streamer.kafka.publishing import Batch
from streamer.timestamps import parse_timestamp

TIME_COLUMNS = ("ts", "time", "timestamp", "datetime", "date")
STREAM_COLUMN = "stream"
VALUE = "value"
# Batches of 100 points a message carry 2-3 million points/s through aiokafka, single points about 100 000.
POINTS_A_BATCH = 100
# Rows are grouped over this many, so that a file sorted by time with many streams still makes full batches.
ROWS_A_GROUP = 50_000
MISSING = frozenset({"", "nan", "null", "none", "na"})


class RowError(ConfigError):
    """A row that cannot be read; the message names the source and the row number (1 is the first line)."""


@dataclass(frozen=True)
class Row:
    """One point of one stream."""

    stream: str
    ts: float | int | str
    ns: int
    channels: tuple[str, ...]
    values: list[float | None]


def batches(rows: Iterable[Row], size: int = POINTS_A_BATCH) -> Iterator[Batch]:
    """Groups rows into batches of up to `size` points a stream; the order inside a stream is kept."""
    open_batches: dict[str, Batch] = {}
    for number, row in enumerate(rows, 1):
        batch = open_batches.get(row.stream)
        if batch is not None and (batch.channels != row.channels or len(batch.points) >= size):
            yield open_batches.pop(row.stream)
            batch = None
        if batch is None:
            batch = open_batches[row.stream] = Batch(row.stream, row.channels)
        batch.points.append([row.ts, *row.values])
        batch.newest_ns = max(batch.newest_ns, row.ns)
        if number % ROWS_A_GROUP == 0:
            yield from open_batches.values()
            open_batches.clear()
    yield from open_batches.values()


def read_csv(
    lines: IO[str],
    source: str,
    *,
    stream: str | None = None,
    time_column: str | None = None,
    prefix: str = "",
) -> Iterator[Row]:
    """Rows of a CSV. Raises RowError, naming the row and column."""
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise RowError(f"{source} is empty: the first line must name the columns, for example ts,value")
    if len(set(header)) != len(header):
        raise RowError(f"{source}, row 1: a column name is given twice: {', '.join(header)}")
    time_at = _time_column(header, source, time_column)
    stream_at = header.index(STREAM_COLUMN) if STREAM_COLUMN in header else None
    values_at = [at for at in range(len(header)) if at not in (time_at, stream_at)]
    if not values_at:
        raise RowError(f"{source}, row 1: no value column beside {header[time_at]!r}")
    channels = tuple(header[at] for at in values_at)
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise RowError(f"{source}, row {number}: {len(cells)} cells, the header has {len(header)}")
        ts, ns = _time(cells[time_at], source, number)
        values = [_number(cells[at], source, number, header[at]) for at in values_at]
        if stream is not None:
            yield Row(stream, ts, ns, channels, values)
        elif stream_at is not None:
            if not cells[stream_at]:
                raise RowError(f"{source}, row {number}: the stream column is empty")
            yield Row(cells[stream_at], ts, ns, channels, values)
        else:
            for channel, value in zip(channels, values, strict=True):
                if value is not None:
                    yield Row(f"{prefix}{channel}", ts, ns, (VALUE,), [value])


def read_json_lines(lines: Iterable[str | bytes], source: str, *, stream: str | None = None) -> Iterator[Row]:
    """Rows of JSON lines: points or batches as on the `metrics` topic. Raises RowError with the row."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise RowError(f"{source}, row {number}: not JSON: {error}") from None
        if not isinstance(message, dict):
            raise RowError(f"{source}, row {number}: expected an object, got {type(message).__name__}")
        name = stream or message.get("stream")
        if not isinstance(name, str) or not name:
            raise RowError(f"{source}, row {number}: no stream (add the field, or give --stream NAME)")
        yield from _points(message, name, source, number)


def _points(message: Mapping[str, Any], stream: str, source: str, number: int) -> Iterator[Row]:
    if "points" in message:
        channels = tuple(message.get("channels") or (VALUE,))
        for index, point in enumerate(message["points"]):
            if not isinstance(point, list) or len(point) != len(channels) + 1:
                raise RowError(f"{source}, row {number}, point {index}: expected [ts, {', '.join(channels)}]")
            ts, ns = _time(point[0], source, number)
            values = [_json_number(value, source, number) for value in point[1:]]
            yield Row(stream, ts, ns, channels, values)
        return
    if "value" not in message and not isinstance(message.get("values"), dict):
        raise RowError(f'{source}, row {number}: no "value", "values" or "points"')
    table = message["values"] if "values" in message else {VALUE: message["value"]}
    if "ts" not in message:
        raise RowError(f'{source}, row {number}: no "ts"')
    ts, ns = _time(message["ts"], source, number)
    values = [_json_number(value, source, number) for value in table.values()]
    yield Row(stream, ts, ns, tuple(table), values)


def _time_column(header: list[str], source: str, wanted: str | None) -> int:
    if wanted is not None:
        if wanted not in header:
            raise RowError(f"{source}, row 1: no column {wanted!r} among {', '.join(header)}")
        return header.index(wanted)
    lowered = [name.lower() for name in header]
    for name in TIME_COLUMNS:
        if name in lowered:
            return lowered.index(name)
    raise RowError(
        f"{source}, row 1: no time column ({', '.join(TIME_COLUMNS)}) among {', '.join(header)}; "
        "name it with --time-column"
    )


def _time(cell: Any, source: str, number: int) -> tuple[float | int | str, int]:
    ts: Any = cell
    if isinstance(cell, str):
        text = cell.strip()
        try:
            ts = int(text) if text.isdigit() else float(text)
        except ValueError:
            ts = text
    try:
        return ts, parse_timestamp(ts)
    except ContractError as error:
        raise RowError(f"{source}, row {number}: {error}") from None


def _number(cell: str, source: str, number: int, column: str) -> float | None:
    text = cell.strip()
    if text.lower() in MISSING:
        return None
    try:
        return float(text)
    except ValueError:
        raise RowError(f"{source}, row {number}, column {column!r}: {text[:40]!r} is not a number") from None


def _json_number(value: Any, source: str, number: int) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise RowError(f"{source}, row {number}: {str(value)[:40]!r} is not a number")

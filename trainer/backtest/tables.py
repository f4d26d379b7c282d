"""CSV and Parquet → rows of each stream, with the streamer's own reading of time stamps.

Shapes: N rows of the table, C channels.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from streamer.errors import ContractError
from streamer.sources.reading import MISSING, STREAM_COLUMN, TIME_COLUMNS, read_csv
from streamer.timestamps import numeric_timestamps, parse_timestamp
from trainer.backtest.series import SourceError

LABEL_COLUMNS = ("label", "labels", "is_anomaly", "anomaly")


@dataclass(frozen=True)
class Reading:
    """How a table is read. None: by the names of its columns."""

    time_column: str | None = None
    label_column: str | None = None
    interval_s: float | None = None
    train: float = 0.5  # below 1: share of the slots; else: slots
    kind: Literal["auto", "gauge", "counter"] = "auto"


@dataclass
class Table:
    """Rows of one stream in the order of the file."""

    stream: str
    channels: tuple[str, ...]
    values_NC: np.ndarray  # float64, NaN = missing
    ts_N: np.ndarray | None  # int64 ns; None: the row number is the slot
    labels_N: np.ndarray | None  # bool


def read_tables(path: Path, reading: Reading) -> list[Table]:
    """The rows of a file, a table a stream.

    Raises:
        SourceError, RowError: naming file, row and column.
    """
    tables = list(_read_csv(path, reading) if path.suffix.lower() == ".csv" else _read_parquet(path, reading))
    if not tables:
        raise SourceError(f"{path}: no rows")
    return tables


def _read_csv(path: Path, reading: Reading) -> Iterator[Table]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = [name.strip() for name in next(csv.reader(lines), [])]
        lines.seek(0)
        label = _label_column(header, reading, path)
        timed = reading.time_column or next((n for n in header if n.lower() in TIME_COLUMNS), None)
        if timed is None:
            yield from _untimed(lines, path, label)
            return
        stream = None if STREAM_COLUMN in header else path.stem
        rows = list(read_csv(lines, str(path), stream=stream, time_column=reading.time_column))
    rows.sort(key=lambda row: row.stream)  # stable: the order of arrival stays
    for name, group in groupby(rows, key=lambda row: row.stream):
        mine = list(group)
        values_NC = np.array([row.values for row in mine], np.float64)
        yield _table(name, list(mine[0].channels), values_NC, np.array([row.ns for row in mine], np.int64), label, path)


def _untimed(lines: IO[str], path: Path, label: str | None) -> Iterator[Table]:
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    names = [name for name in header if name != STREAM_COLUMN]
    rows: dict[str, list[list[float]]] = {}
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise SourceError(f"{path}, row {number}: {len(cells)} cells, the header has {len(header)}")
        stream = cells.pop(header.index(STREAM_COLUMN)).strip() if len(names) < len(header) else path.stem
        try:
            row = [np.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells]
        except ValueError as error:
            raise SourceError(f"{path}, row {number}: {error}") from None
        rows.setdefault(stream, []).append(row)
    if not rows:
        raise SourceError(f"{path}: no rows below the header {', '.join(header)}")
    for stream in sorted(rows):
        yield _table(stream, names, np.array(rows[stream]), None, label, path)


def _table(
    stream: str, header: list[str], values_NC: np.ndarray, ts_N: np.ndarray | None, label: str | None, path: Path
) -> Table:
    """Take the label column out."""
    at = [c for c, name in enumerate(header) if name != label]
    if not at:
        raise SourceError(f"{path}: no value column beside {label!r}")
    labels_N = None if label is None else np.nan_to_num(values_NC[:, header.index(label)]) > 0
    values_NC = np.where(np.isfinite(values_NC), values_NC, np.nan)
    return Table(stream, tuple(header[c] for c in at), values_NC[:, at], ts_N, labels_N)


def _label_column(header: list[str], reading: Reading, path: Path) -> str | None:
    if reading.label_column is None:
        return next((name for name in header if name.lower() in LABEL_COLUMNS), None)
    if reading.label_column not in header:
        raise SourceError(f"{path}: no column {reading.label_column!r} among {', '.join(header)} (--label-column)")
    return reading.label_column


def _read_parquet(path: Path, reading: Reading) -> Iterator[Table]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise SourceError(f"{path}: reading Parquet needs pyarrow: pip install 'anomalyllm[backtest]'") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"{path}: not a readable Parquet file: {error}") from error
    header = list(table.column_names)
    label = _label_column(header, reading, path)
    timed = reading.time_column or next((n for n in header if n.lower() in TIME_COLUMNS), None)
    if timed is not None and timed not in header:
        raise SourceError(f"{path}: no column {timed!r} among {', '.join(header)} (--time-column)")
    names = [name for name in header if name not in (timed, STREAM_COLUMN)]
    values_NC = np.empty((table.num_rows, len(names)))
    for c, name in enumerate(names):
        column = table.column(name)
        if not (pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)) and not (
            pyarrow.types.is_boolean(column.type)
        ):
            raise SourceError(f"{path}, column {name!r}: {column.type} is not a number")
        values_NC[:, c] = column.cast(pyarrow.float64()).to_numpy()
    ts_N = None if timed is None else _instants(table.column(timed), f"{path}, column {timed!r}")
    if STREAM_COLUMN not in header:
        yield _table(path.stem, names, values_NC, ts_N, label, path)
        return
    streams = np.array(table.column(STREAM_COLUMN).to_pylist(), object)
    for stream in sorted(set(streams), key=str):
        mine_N = streams == stream
        yield _table(str(stream), names, values_NC[mine_N], None if ts_N is None else ts_N[mine_N], label, path)


def _instants(column: Any, where: str) -> np.ndarray:
    """A Parquet time column → int64 ns. A time stamp without zone is read as UTC, numbers as on the metrics topic."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        ns_N = np.asarray(column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64()).fill_null(-1))
    elif pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type):
        ns_N = numeric_timestamps(np.asarray(column.fill_null(-1)))
    else:
        ns_N = np.empty(len(column), np.int64)
        for row, cell in enumerate(column.to_pylist()):
            try:
                ns_N[row] = parse_timestamp(cell)
            except ContractError as error:
                raise SourceError(f"{where}, row {row + 1}: {error}") from None
    bad = np.flatnonzero(ns_N < 0)
    if len(bad):
        raise SourceError(f"{where}, row {bad[0] + 1}: {column[int(bad[0])]} is not a time after 1970")
    return ns_N

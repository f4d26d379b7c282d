"""CSV and Parquet → series on a grid, by the streamer's own time stamps and slots.

Shapes: N rows of the table, M cells, S slots, C channels.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import numpy as np

from streamer.errors import ContractError
from streamer.grid import DIFFERENCES, Grid, given_grid, infer_grid, slots_of
from streamer.headers import StreamHeader
from streamer.ingest import counting_channels
from streamer.live import Live, Waiting
from streamer.reading import MISSING, STREAM_COLUMN, TIME_COLUMNS, read_csv
from streamer.settings import StreamerSettings
from streamer.timestamps import NS, numeric_timestamps, parse_timestamp
from trainer.backtest.series import Series, SourceError

LABEL_COLUMNS = ("label", "labels", "is_anomaly", "anomaly")
# A table that fills less than this share of its grid has a wrong time stamp in it, or a wrong interval.
SPARSEST = 1 / 50
# Cells put on the grid in one call: `Live.apply` lays out the slots between its lowest and highest one.
CELLS_A_CALL = 100_000


@dataclass(frozen=True)
class Reading:
    """How a table is read. None: by the names of its columns."""

    time_column: str | None = None
    label_column: str | None = None
    interval_s: float | None = None
    train: float = 0.5  # below 1: share of the slots; else: slots


@dataclass
class Table:
    """Rows of one stream in the order of the file."""

    stream: str
    channels: tuple[str, ...]
    values_NC: np.ndarray  # float64, NaN = missing
    ts_N: np.ndarray | None  # int64 ns; None: the row number is the slot
    labels_N: np.ndarray | None  # bool


def read_table(path: Path, reading: Reading) -> list[Series]:
    """All series of a file, each split by `reading.train`.

    Raises:
        SourceError, RowError: naming file, row and column.
    """
    tables = list(_read_csv(path, reading) if path.suffix.lower() == ".csv" else _read_parquet(path, reading))
    if not tables:
        raise SourceError(f"{path}: no rows")
    return [on_grid(table, reading).checked() for table in tables]


def on_grid(table: Table, reading: Reading) -> Series:
    """A stream's rows → its window, as the streamer would build it from the same rows in the same order."""
    if table.ts_N is None:
        labels_S = table.labels_N
        values_SC = table.values_NC.astype(np.float32)
        return Series(table.stream, values_SC, _split(len(values_SC), reading.train), labels_S, table.channels)
    channels = len(table.channels)
    cell_ts_M = np.repeat(table.ts_N, channels)
    channel_M = np.tile(np.arange(channels), len(table.ts_N))
    value_M = table.values_NC.ravel()
    grid, counters = _grid_of(table, cell_ts_M, channel_M, value_M, reading)
    slot_M = slots_of(cell_ts_M, grid.interval_ns, grid.phase_ns)
    low, high = int(slot_M.min()), int(slot_M.max())
    span = high - low + 1
    if len(table.ts_N) < SPARSEST * span:
        raise SourceError(
            f"{table.stream}: {len(table.ts_N)} rows lie on a grid of {span} slots of {grid.interval_ns / NS:g} s; "
            "one of the time stamps is wrong, or give the interval with --interval-s"
        )
    header = StreamHeader(
        state="grid", grid_version=1, interval_ns=grid.interval_ns, phase_ns=grid.phase_ns, capacity=span,
        channels=list(table.channels), counters=counters, last_raw=[None] * channels, last_raw_slot=[0] * channels,
    )  # fmt: skip
    live = Live(header, min(StreamerSettings.model_fields["lateness_slots"].default, span))
    values_SC = np.full((span, channels), np.nan, np.float32)
    for at in range(0, len(slot_M), CELLS_A_CALL):
        part = slice(at, at + CELLS_A_CALL)
        change = live.apply(slot_M[part], channel_M[part], cell_ts_M[part], value_M[part])
        first = change.first - low
        values_SC[first : first + len(change.values_NC)] = change.values_NC
        for (slot, channel), value in change.old.items():
            values_SC[slot - low, channel] = value
    labels_S = None if table.labels_N is None else _labels(slot_M[::channels] - low, table.labels_N, span)
    return Series(
        table.stream, values_SC, _split(span, reading.train), labels_S, table.channels, None, grid.interval_ns,
        grid.phase_ns, low,
    )  # fmt: skip


def _grid_of(
    table: Table, ts_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray, reading: Reading
) -> tuple[Grid, list[bool]]:
    """Grid and counting channels, from as many rows as the streamer waits for."""
    if reading.interval_s is not None:
        return given_grid(reading.interval_s, int(ts_M[0])), [False] * len(table.channels)
    assert table.ts_N is not None
    distinct = np.sort(np.unique(table.ts_N, return_index=True)[1])
    if len(distinct) <= DIFFERENCES:
        raise SourceError(
            f"{table.stream}: {len(distinct)} distinct time stamps are too few to infer an interval "
            f"({DIFFERENCES + 1} are needed): give --interval-s"
        )
    end = (int(distinct[DIFFERENCES]) + 1) * len(table.channels)
    waiting = Waiting(
        ts_M[:end].tolist(), [table.channels[c] for c in channel_M[:end]], value_M[:end].tolist(), [False] * end
    )
    grid = infer_grid(np.array(waiting.ts, np.int64))
    if not grid.regular:
        raise SourceError(
            f"{table.stream}: its time stamps follow no interval (the nearest is {grid.interval_ns / NS:g} s); "
            "such a stream is kept but not judged: give --interval-s"
        )
    return grid, counting_channels(waiting, "auto")


def _labels(slot_N: np.ndarray, labels_N: np.ndarray, span: int) -> np.ndarray:
    """A slot is labelled when any of its rows is; a gap when both of its neighbours are."""
    known_S = np.full(span, -1, np.int8)
    np.maximum.at(known_S, slot_N, labels_N.astype(np.int8))
    at = np.flatnonzero(known_S >= 0)
    before_S = np.clip(np.searchsorted(at, np.arange(span), side="right") - 1, 0, None)
    after_S = np.clip(np.searchsorted(at, np.arange(span)), None, len(at) - 1)
    labels_S: np.ndarray = np.minimum(known_S[at[before_S]], known_S[at[after_S]]) > 0
    return labels_S


def _split(slots: int, train: float) -> int:
    return round(slots * train) if train < 1 else int(train)


def _read_csv(path: Path, reading: Reading) -> Iterator[Table]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = [name.strip() for name in next(csv.reader(lines), [])]
        lines.seek(0)
        label = _label_column(header, reading, path)
        timed = reading.time_column or next((n for n in header if n.lower() in TIME_COLUMNS), None)
        if timed is None:
            yield _untimed(lines, path, label)
            return
        stream = None if STREAM_COLUMN in header else path.stem
        rows = list(read_csv(lines, str(path), stream=stream, time_column=reading.time_column))
    rows.sort(key=lambda row: row.stream)  # stable: the order of arrival stays
    for name, group in groupby(rows, key=lambda row: row.stream):
        mine = list(group)
        values_NC = np.array([row.values for row in mine], np.float64)
        yield _table(name, list(mine[0].channels), values_NC, np.array([row.ns for row in mine], np.int64), label, path)


def _untimed(lines: IO[str], path: Path, label: str | None) -> Table:
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    rows = []
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise SourceError(f"{path}, row {number}: {len(cells)} cells, the header has {len(header)}")
        try:
            rows.append([np.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells])
        except ValueError as error:
            raise SourceError(f"{path}, row {number}: {error}") from None
    if not rows:
        raise SourceError(f"{path}: no rows below the header {', '.join(header)}")
    return _table(path.stem, header, np.array(rows), None, label, path)


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



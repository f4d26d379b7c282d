"""Parquet tables, as rows of text cells in the layout of `layout`: types decide as text would."""

import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from streamer.errors import ConfigError
from streamer.sources.layout import Hints, Layout, understand
from streamer.sources.tables import SAMPLE_ROWS, NumberedRow

_ROWS = 20_000


def open_parquet(stream: io.BufferedReader, source: str, hints: Hints) -> tuple[Layout, Iterator[NumberedRow]]:
    """(layout, numbered rows) of a table. Needs a file that can be sought in, or memory for all of it.

    Raises:
        ConfigError: pyarrow is not installed, it is no Parquet, or has no time or no value column.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ConfigError(f"{source}: reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        seekable = stream.seekable() and stream.tell() == 0
        table = parquet.ParquetFile(stream if seekable else io.BytesIO(stream.read()))
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{source}: not a Parquet file: {error}") from error
    header = list(table.schema_arrow.names)
    rows = _rows(table, pa)
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        raise ConfigError(f"{source}: the table has no rows")
    layout = understand(header, [cells for _, cells in sample], source, hints)
    layout.summary.insert(0, f"Parquet, {table.metadata.num_rows:,} rows, {len(header)} columns")
    return layout, chain(sample, rows)


def _rows(table: Any, pa: Any) -> Iterator[NumberedRow]:
    number = 0
    for batch in table.iter_batches(batch_size=_ROWS):
        columns: list[Sequence[str]] = [_texts(column, pa) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            yield number, cells


def _texts(column: Any, pa: Any) -> list[str]:
    """A column's cells as a CSV would have them; empty where there is nothing."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit, "UTC"))
        return ["" if value is None else _time(value) for value in _moments(column, pa)]
    if pa.types.is_boolean(kind):
        return ["" if value is None else str(int(value)) for value in column.to_pylist()]
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _moments(column: Any, pa: Any) -> list[Any]:
    if column.type.unit == "ns":  # Python's datetime ends at µs
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    moments: list[Any] = column.to_pylist()
    return moments


def _time(moment: Any) -> str:
    text: str = moment.isoformat(sep=" ")
    return text

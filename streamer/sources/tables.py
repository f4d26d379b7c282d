"""Rows of a CSV or Parquet table, by its layout, as points. A bad row is set aside and the others go on."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from streamer.errors import ConfigError, ContractError
from streamer.sources.batching import rfc3339
from streamer.sources.layout import Hints, Layout, number_of, understand
from streamer.sources.naming import Naming
from streamer.sources.points import FLOAT32_MAX, Bad
from streamer.sources.reading import Row
from streamer.sources.times import looks_like_time

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_ROWS = 200
_SNIFFED_CHARS = 64 * 1024

OnBad = Callable[[Bad], None]
NumberedRow = tuple[int, Sequence[str]]


def open_csv(lines: IO[str], source: str, hints: Hints) -> tuple[Layout, Iterator[NumberedRow]]:
    """(layout, numbered rows) of a CSV; comments (#) and empty lines are passed over.

    Raises:
        ConfigError: it is empty, or has no time or no value column.
    """
    counted = ((number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#"))
    head = list(islice(counted, SAMPLE_ROWS + 1))
    if not head:
        raise ConfigError(f"{source} is empty: the first line must name the columns, for example ts,value")
    delimiter = hints.delimiter or _delimiter([line for _, line in head])
    rows = _rows(chain(head, counted), delimiter)
    first = next(rows)
    sample = list(islice(rows, SAMPLE_ROWS - 1))
    if _is_header(first[1]):
        header = [name.strip() for name in first[1]]
    else:
        header = [f"column{at}" for at in range(1, len(first[1]) + 1)]
        sample.insert(0, first)
    if len(set(header)) != len(header):
        header = _distinguished(header)
    whole = [cells for _, cells in sample if len(cells) == len(header)]
    layout = understand(header, whole, source, replace(hints, delimiter=delimiter))
    layout.summary.insert(0, f"CSV, cells parted by {_WORDS.get(delimiter, delimiter)}, {len(header)} columns")
    return layout, chain(sample, rows)


_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def _rows(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[NumberedRow]:
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for number, line in lines:  # noqa: B007
            yield line

    reader = csv.reader(texts(), delimiter=delimiter, skipinitialspace=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a cell beyond the module's limit: a quote that is never closed
            cells = [f"unreadable: {error}"]
        if cells:
            yield number, cells


def _delimiter(lines: Sequence[str]) -> str:
    """The one by which most rows have as many cells as the first, and that is more than one."""
    best, best_score = ",", (0.0, 0)
    text = "".join(lines)[:_SNIFFED_CHARS].splitlines(keepends=True)
    for delimiter in DELIMITERS:
        counts = [len(cells) for _, cells in _rows(enumerate(text), delimiter)]
        width = counts[0] if counts else 0
        score = (sum(count == width for count in counts) / max(1, len(counts)), width)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _is_header(cells: Sequence[str]) -> bool:
    def is_data(cell: str) -> bool:
        if looks_like_time(cell.strip()):
            return True
        try:
            return bool(cell.strip()) and number_of(cell, True) is not None and any(c.isdigit() for c in cell)
        except ValueError:
            return False

    return not any(map(is_data, cells))


def _distinguished(header: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    named = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        named.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return named


def points_of(layout: Layout, rows: Iterable[NumberedRow], hints: Hints, source: str, on_bad: OnBad) -> Iterator[Row]:
    """Points of the rows; what cannot be read goes to `on_bad`, one by one."""
    header, comma = layout.header, layout.decimal_comma
    naming = Naming(hints.template)
    stem = Path(source).stem.split(".")[0] or source
    names: dict[tuple[str, ...], str] = {}
    for number, cells in rows:
        where = f"row {number}"
        if len(cells) != len(header):
            on_bad(
                Bad(
                    where,
                    "csv",
                    f"{len(cells)} cells, the header has {len(header)}",
                    "Quote cells that hold the delimiter",
                )
            )
            continue
        text = cells[layout.time_at].strip()
        if layout.clock_at is not None:
            text = f"{text} {cells[layout.clock_at].strip()}"
        try:
            ns = layout.read_time(text)
        except (ContractError, ValueError) as error:
            on_bad(Bad(f"{where}, column {header[layout.time_at]!r}", "timestamp", str(error), "Write all times alike"))
            continue
        ts = _number_as_given(text) if layout.numeric_time else rfc3339(ns)
        values: dict[str, float] = {}
        for at in layout.values_at:
            try:
                value = number_of(cells[at], comma)
                if abs(value) > FLOAT32_MAX:
                    raise ValueError("does not fit into float32")
                values[header[at]] = value
            except ValueError:
                message = f"{cells[at][:40]!r} is no number, or too large"
                on_bad(
                    Bad(
                        f"{where}, column {header[at]!r}",
                        "value",
                        message,
                        "Leave the cell empty where nothing was measured",
                    )
                )
        if not values:
            continue
        if not layout.long:
            yield from _wide(ts, ns, values, hints, layout, cells)
            continue
        key = tuple(cells[at].strip() for at in (layout.name_at, *layout.labels_at) if at is not None)
        stream = names.get(key)
        if stream is None:
            if not any(key):
                on_bad(
                    Bad(where, "csv", "the columns that name the stream are empty", "Fill them, or give --stream NAME")
                )
                continue
            named = layout.name_at is not None
            labels = dict(zip([header[at] for at in layout.labels_at], key[1:] if named else key, strict=True))
            stream = naming.series(key[0] if named else stem, {k: v for k, v in labels.items() if v}).stream
            if len(names) < 1_000_000:
                names[key] = stream
        yield _row(stream, ts, ns, values, layout, cells)


def _wide(
    ts: Any, ns: int, values: dict[str, float], hints: Hints, layout: Layout, cells: Sequence[str]
) -> Iterator[Row]:  # fmt: skip
    if hints.stream is not None:
        yield _row(hints.stream, ts, ns, values, layout, cells)
        return
    for name, value in values.items():
        if value == value:  # an empty cell of a wide table may mean that another column had a time then
            yield Row(f"{hints.prefix}{name}", ts, ns, ("value",), [value])


def _row(stream: str, ts: Any, ns: int, values: dict[str, float], layout: Layout, cells: Sequence[str]) -> Row:
    if layout.channel_at is not None:
        channel = cells[layout.channel_at].strip() or "value"
        values = {channel if len(values) == 1 else f"{channel}.{name}": value for name, value in values.items()}
    elif len(values) == 1 and len(layout.values_at) == 1 and layout.long:
        values = {"value": next(iter(values.values()))}
    return Row(stream, ts, ns, tuple(values), [None if value != value else value for value in values.values()])


def _number_as_given(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)

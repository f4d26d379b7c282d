"""What the columns of a table are: time, stream, channel, labels, values. Understood from the header and a sample of rows.

Wide: a column a stream (or a channel of one stream). Long: a column says of which stream, and perhaps of which channel, a row
is. What was understood can be printed before a point flows, and every guess can be overruled by a `Hints` field.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streamer.errors import ConfigError
from streamer.sources.times import ReadTime, looks_like_clock, looks_like_epochs, looks_like_time, reader_of

TIME_NAMES = (
    "ts", "time", "timestamp", "datetime", "date", "_time", "@timestamp", "date_time", "time_stamp", "event_time",
    "created_at", "datum", "zeit", "zeitstempel", "uhrzeit", "clock", "epoch",
)  # fmt: skip
NAME_NAMES = ("stream", "metric", "metric_name", "name", "series", "measurement", "_measurement", "__name__")
CHANNEL_NAMES = ("channel", "field", "_field", "variable", "parameter")
LABEL_NAMES = (
    "id",
    "sensor",
    "device",
    "host",
    "hostname",
    "machine",
    "station",
    "site",
    "location",
    "unit_id",
    "tag",
    "item",
)
# InfluxDB's own columns in its CSV
LEFT_OUT = ("", "result", "table", "_start", "_stop")
MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-", "#n/a", "nil"})
_MOSTLY = 0.95
_HALF = 0.5  # of the cells are numbers: values, and the others are mistakes
_FREE_TEXT = 0.5


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user says of a file; empty means: find out."""

    form: str = "auto"
    stream: str | None = None  # all rows are of this stream
    prefix: str = ""  # wide, a stream a column
    time_column: str | None = None
    time_zone: str = ""
    time_format: str = ""
    stream_columns: tuple[str, ...] = ()
    value_columns: tuple[str, ...] = ()
    delimiter: str | None = None
    template: str = "{name}{labels}"  # of streams in other tools' formats, and of tables with labels


@dataclass(slots=True)
class Layout:
    """Columns by their index."""

    header: list[str]
    time_at: int
    clock_at: int | None  # a column of its own for the time of day
    read_time: ReadTime
    values_at: list[int]
    name_at: int | None = None
    channel_at: int | None = None
    labels_at: list[int] = field(default_factory=list)
    decimal_comma: bool = False
    numeric_time: bool = False
    summary: list[str] = field(default_factory=list)  # lines of the summary

    @property
    def long(self) -> bool:
        """Whether rows say of which stream they are."""
        return self.name_at is not None or bool(self.labels_at)


def number_of(cell: str, decimal_comma: bool) -> float:
    """A cell as a number; NaN where nothing was measured. Raises ValueError."""
    if not decimal_comma and "_" not in cell:
        try:
            return float(cell)
        except ValueError:
            pass
    text = cell.strip()
    if text.lower() in MISSING:
        return float("nan")
    if "_" in text or not decimal_comma:
        raise ValueError("no number")
    return float(text.replace(".", "").replace(",", "."))


def understand(header: list[str], sample: Sequence[Sequence[str]], source: str, hints: Hints) -> Layout:
    """The layout of a table.

    Args:
        header: names of the columns.
        sample: rows from its beginning, each as long as the header.
        source: name of the file, for messages.

    Raises:
        ConfigError: no time column or no value column, or a hint names a column that is not there.
    """
    columns = [
        [row[at].strip() for row in sample if row[at].strip().lower() not in MISSING] for at in range(len(header))
    ]
    lowered = [name.strip().lower() for name in header]
    time_at = _time_at(header, lowered, columns, source, hints)
    clock_at = _clock_at(columns, time_at)
    times = columns[time_at]
    if clock_at is not None:
        times = [f"{row[time_at].strip()} {row[clock_at].strip()}" for row in sample if row[time_at].strip()]
    read_time, how = reader_of(times, hints.time_zone, hints.time_format)
    decimal_comma = _decimal_comma(columns, {time_at, clock_at}, hints.delimiter)
    layout = Layout(header, time_at, clock_at, read_time, [], decimal_comma=decimal_comma)
    layout.numeric_time = how.startswith("epoch")
    also = f" with {header[clock_at]!r}" if clock_at is not None else ""
    layout.summary.append(f"time: column {header[time_at]!r}{also}, {how}")
    left = [at for at in range(len(header)) if at not in (time_at, clock_at)]
    _roles(layout, lowered, columns, left, len(sample), hints, source)
    if not layout.values_at:
        raise ConfigError(f"{source}: no column of numbers beside {header[time_at]!r} (name them with --value-column)")
    if decimal_comma:
        layout.summary.append("numbers: with a decimal comma")
    return layout


def _time_at(header: list[str], lowered: list[str], columns: list[list[str]], source: str, hints: Hints) -> int:
    if hints.time_column is not None:
        return _named(header, hints.time_column, "--time-column", source)
    for name in TIME_NAMES:
        if name in lowered:
            at = lowered.index(name)
            if hints.time_format or _is_time(columns[at]) or all(_numeric(cell, False) for cell in columns[at]):
                return at
    for at, cells in enumerate(columns):
        if _is_time(cells):
            return at
    raise ConfigError(f"{source}: no time column among {', '.join(header)}; name it with --time-column")


def _is_time(cells: list[str]) -> bool:
    return bool(cells) and (_share(cells, looks_like_time) >= _MOSTLY or looks_like_epochs(cells))


def _clock_at(columns: list[list[str]], time_at: int) -> int | None:
    """A column of times of day beside one of dates only."""
    if not columns[time_at] or any(":" in cell or cell.isdigit() for cell in columns[time_at]):
        return None
    for at, cells in enumerate(columns):
        if at != time_at and cells and all(looks_like_clock(cell) for cell in cells):
            return at
    return None


def _roles(
    layout: Layout, lowered: list[str], columns: list[list[str]], left: list[int], rows: int, hints: Hints, source: str
) -> None:
    header, summary = layout.header, layout.summary
    numeric = {at: _share(columns[at], lambda cell: _numeric(cell, layout.decimal_comma)) >= _HALF for at in left}
    if hints.value_columns:
        layout.values_at = [_named(header, name, "--value-column", source) for name in hints.value_columns]
    chosen = [_named(header, name, "--stream-column", source) for name in hints.stream_columns]
    dropped = []
    for at in left:
        if at in layout.values_at:
            continue
        if lowered[at] in LEFT_OUT:
            dropped.append(at)
        elif at in chosen:
            layout.labels_at.append(at)
        elif chosen and not numeric[at]:
            dropped.append(at)
        elif layout.name_at is None and not chosen and lowered[at] in NAME_NAMES:
            layout.name_at = at
        elif layout.channel_at is None and lowered[at] in CHANNEL_NAMES and not numeric[at]:
            layout.channel_at = at
        elif not chosen and (lowered[at] in LABEL_NAMES or lowered[at].endswith("_id")):
            layout.labels_at.append(at)
        elif numeric[at] and not hints.value_columns:
            layout.values_at.append(at)
        elif numeric[at] or not columns[at]:
            dropped.append(at)
        elif rows > 20 and len(set(columns[at])) > _FREE_TEXT * rows:
            dropped.append(at)  # a text of its own in every row: a remark, no stream
        else:
            layout.labels_at.append(at)
    if hints.stream is not None:
        dropped += [at for at in (layout.name_at, *layout.labels_at) if at is not None]
        layout.name_at, layout.labels_at = None, []
    if layout.name_at is None and len(layout.labels_at) == 1:
        layout.name_at = layout.labels_at.pop()  # one column that tells streams apart is their name
    names = ", ".join(repr(header[at]) for at in layout.values_at)
    if layout.long:
        of = [header[at] for at in (layout.name_at, *layout.labels_at) if at is not None]
        summary.append(f"long: column {' and '.join(map(repr, of))} says the stream; values: {names}")
    elif hints.stream is not None:
        summary.append(f"one stream {hints.stream!r}, channels {names}")
    else:
        summary.append(f"wide: a stream a column: {names}")
    if layout.channel_at is not None:
        summary.append(f"channel: column {header[layout.channel_at]!r}")
    if dropped:
        summary.append(f"left out: {', '.join(repr(header[at]) for at in sorted(dropped))}")


def _decimal_comma(columns: list[list[str]], times: set[int | None], delimiter: str | None) -> bool:
    if delimiter == ",":
        return False
    cells = [cell for at, column in enumerate(columns) if at not in times for cell in column]
    with_comma = sum(_numeric(cell, True) and "," in cell for cell in cells)
    with_point = sum(_numeric(cell, False) and "." in cell for cell in cells)
    return with_comma > with_point


def _numeric(cell: str, decimal_comma: bool) -> bool:
    try:
        number_of(cell, decimal_comma)
    except ValueError:
        return False
    return True


def _share(cells: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, cells)) / len(cells) if cells else 0.0


def _named(header: list[str], name: str, flag: str, source: str) -> int:
    if name not in header:
        raise ConfigError(f"{source}: {flag} {name!r} is not among its columns {', '.join(header)}")
    return header.index(name)

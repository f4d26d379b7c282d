"""InfluxDB line protocol: `measurement,tag=value field=1.5,other=3i,on=t 1700000000000000000`.

A series is a measurement with its tags, each field a channel. Numbers are floats, integers (`i`) and unsigned (`u`);
a Boolean counts 1 or 0; text fields cannot be judged and are told once a series. The time is ns since 1970 unless its
size says s, ms or µs (senders may choose their precision). A bad field does not take its line with it.

Source: InfluxDB v2 reference, "Line protocol". Known line parsers give up a line at its first fault, and read its
series anew each time; here a series is read once.
"""

import re
from collections.abc import Iterator

from streamer.errors import ContractError
from streamer.sources.naming import Naming
from streamer.sources.points import Cells, Decoded, Series, text

_CURE = "A line is: measurement,tag=value field=number,field=number time"
_BOOLEANS = {
    "t": 1.0, "T": 1.0, "true": 1.0, "True": 1.0, "TRUE": 1.0, "f": 0.0, "F": 0.0, "false": 0.0, "False": 0.0, "FALSE": 0.0,
}  # fmt: skip
_SERIES = re.compile(r"(?:\\.|[^\\ ]|\\$)+")
_FIELD = re.compile(r'((?:\\.|[^\\,= ])+)=("(?:\\.|[^\\"])*"|[^," ]*)(?:,|(?= |$))')
_TAG = re.compile(r"((?:\\.|[^\\,=])+)=((?:\\.|[^\\,=]|\\$)+)(?:,|$)")
_MEASUREMENT = re.compile(r"((?:\\.|[^\\,])+)(?:,|$)")
_ESCAPED = re.compile(r'\\([,= \\"])')


def decode_influx(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """Lines → cells, a channel a field.

    Args:
        raw: one or more lines; empty ones and comments (#) are passed over.
        at_ns: the record's time stamp, ns since 1970.
        naming: of streams.

    Raises:
        ContractError: no line of the payload can be read.
    """
    whole = text(raw)
    cells = Cells(at_ns)
    known = naming.known("influx")
    plain = "\\" not in whole and '"' not in whole
    for number, line in enumerate(whole.split("\n"), 1):
        if not line or line[0] == "#" or line.isspace():
            continue
        try:
            parts = line.split() if plain else _split(line)
            if len(parts) not in (2, 3):
                raise ContractError("influx", f"{line[:60]!r} has {len(parts)} parts")
            key = parts[0]
            series = known.get(key) or known.setdefault(key, _series(key, naming))
            stamp = int(parts[2]) if len(parts) == 3 else None
        except ContractError as error:
            cells.bad(f"line {number}", error.reason, str(error), _CURE)
            continue
        except ValueError:
            cells.bad(f"line {number}", "timestamp", f"time {parts[2][:40]!r} is not a whole number", _CURE)
            continue
        for name, value in _fields(parts[1], plain):
            _field(cells, number, series, name, value, stamp)
    return cells.finish("not line protocol")


def _field(cells: Cells, number: int, series: Series, name: str, value: str, stamp: int | None) -> None:
    try:
        number_read = _number(value)
        cells.add(cells.column(series, name), stamp, number_read)
    except ContractError as error:
        cells.bad(f"line {number}, field {name!r}", error.reason, str(error), "")
    except ValueError:
        where = f"line {number}, field {name!r}"
        if value.startswith('"'):
            cells.bad(
                where, "text", f"a text field of {series.stream} cannot be judged",
                "Drop it at the sender (Telegraf: fieldexclude), or send a number", f"{series.stream}\0{name}",
            )  # fmt: skip
        else:
            cells.bad(where, "value", f"{value[:40]!r} is no number, Boolean or quoted text", _CURE)


def _number(value: str) -> float:
    """Raises ValueError: not a number or Boolean of the format."""
    last = value[-1:]
    if last in ("i", "u"):
        return float(int(value[:-1]))
    if last.isdigit() or last == ".":
        return float(value)
    return _BOOLEANS[value] if value in _BOOLEANS else float(value if value in ("NaN", "nan") else "?")


def _fields(fields: str, plain: bool) -> Iterator[tuple[str, str]]:
    if plain:
        for pair in fields.split(","):
            name, equals, value = pair.partition("=")
            yield (name, value) if name and equals else ("?", pair)
        return
    at = 0
    while at < len(fields):
        match = _FIELD.match(fields, at)
        if match is None:
            yield "?", fields[at:]
            return
        yield _ESCAPED.sub(r"\1", match[1]), match[2]
        at = match.end()


def _split(line: str) -> list[str]:
    """Series, fields and time of a line that has escapes or quotes."""
    found = _SERIES.match(line.lstrip(" "))
    if found is None:
        return []
    rest = line.lstrip(" ")[found.end() :].strip(" \r\t")
    at = 0
    while at < len(rest):
        match = _FIELD.match(rest, at)
        if match is None:
            break
        at = match.end()
    else:
        return [found[0], rest] if rest else [found[0]]
    if rest[at] == " ":
        return [found[0], rest[:at], *rest[at:].split()]
    # an unreadable field: up to the next blank it is one, and named as such
    end = rest.find(" ", at)
    return [found[0], rest] if end < 0 else [found[0], rest[:end], *rest[end:].split()]


def _series(key: str, naming: Naming) -> Series:
    measurement = _MEASUREMENT.match(key)
    if measurement is None:
        raise ContractError("influx", f"{key[:60]!r} does not begin with a measurement")
    labels = {}
    at = measurement.end()
    while at < len(key):
        tag = _TAG.match(key, at)
        if tag is None:
            raise ContractError("influx", f"tag {key[at : at + 40]!r} is not key=value")
        labels[_ESCAPED.sub(r"\1", tag[1])] = _ESCAPED.sub(r"\1", tag[2])
        at = tag.end()
    return naming.series(_ESCAPED.sub(r"\1", measurement[1]), labels)

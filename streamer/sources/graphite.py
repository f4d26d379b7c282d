"""Graphite plaintext: a line is `path value time`, tags as in `path;tag=value;tag=value`.

Source: Graphite documentation, "Feeding in your data: the plaintext protocol" and "Graphite tag support".
The time is seconds since 1970; -1 or N mean now. The value nan is a gap.
"""

from streamer.errors import ContractError
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.points import Cells, Decoded, Series, text

_CURE = "A line is: path value seconds"
_NOW = ("-1", "N", "-1.0")


def decode_graphite(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """Lines → cells, channel `value`.

    Args:
        raw: one or more lines.
        at_ns: the record's time stamp, ns since 1970.
        naming: of streams.

    Raises:
        ContractError: no line of the payload can be read.
    """
    lines = text(raw).split("\n")
    cells = Cells(at_ns, "s")
    known = naming.known("graphite")
    rows = [line.split() for line in lines]
    if not _whole(rows, cells, naming, known):
        for number, row in enumerate(rows, 1):
            if row:
                _row(number, row, cells, naming, known)
    return cells.finish("not Graphite plaintext")


def _whole(rows: list[list[str]], cells: Cells, naming: Naming, known: SeriesByKey) -> bool:
    """All lines at once; False when any of them is unusual."""
    if rows and not rows[-1]:
        rows.pop()
    if not rows or set(map(len, rows)) != {3}:
        return False
    paths, values, stamps = zip(*rows, strict=True)
    try:
        numbers = list(map(float, values))
        times = list(map(float, stamps))
        if not min(times) >= 0:  # now, or not a number
            return False
        if not known.keys() >= set(paths):
            for path in set(paths) - known.keys():
                known[path] = _series(path, naming)
    except (ValueError, ContractError):
        return False
    columns = {path: cells.column(known[path]) for path in dict.fromkeys(paths)}
    cells.extend([columns[path] for path in paths], times, numbers)
    return True


def _row(number: int, row: list[str], cells: Cells, naming: Naming, known: SeriesByKey) -> None:
    where = f"line {number}"
    if len(row) not in (2, 3):
        cells.bad(where, "graphite", f"{len(row)} words: {' '.join(row)[:60]!r}", _CURE)
        return
    try:
        value = float(row[1])
        stamp = None if len(row) == 2 or row[2] in _NOW else float(row[2])
    except ValueError:
        cells.bad(where, "graphite", f"{row[1:]} are not a number and a time", _CURE)
        return
    try:
        series = known.get(row[0]) or known.setdefault(row[0], _series(row[0], naming))
        cells.add(cells.column(series), stamp, value)
    except ContractError as error:
        cells.bad(where, error.reason, str(error), "A tagged path is: path;tag=value;tag=value")


def _series(path: str, naming: Naming) -> Series:
    name, *tags = path.split(";")
    labels = {}
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not key or not equals or not value:
            raise ContractError("graphite", f"tag {tag[:40]!r} of {path[:60]!r} is not key=value")
        labels[key] = value
    if not name:
        raise ContractError("graphite", f"path {path[:60]!r} has no name")
    return naming.series(name, labels)

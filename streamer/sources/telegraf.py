"""Telegraf's JSON: `{"name","tags","fields","timestamp"}`, or `{"metrics": [ … ]}`, or one object a line.

A series is a name with its tags, each numeric field a channel; a Boolean counts 1 or 0; text fields cannot be judged
and are told once a series. The time is a number in the sender's unit (`json_timestamp_units`: s, ms, µs or ns, by size)
or RFC 3339 (`json_timestamp_format`).

Source: Telegraf documentation, "JSON output data format".
"""

from typing import Any

import orjson

from streamer.errors import ContractError
from streamer.sources.jsontext import json_items, label_text
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.points import Cells, Decoded, Series
from streamer.timestamps import parse_timestamp

_CURE = 'A metric is {"name": text, "tags": {}, "fields": {name: number}, "timestamp": number}'


def decode_telegraf(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """Metrics → cells, a channel a numeric field.

    Args:
        raw: a metric, a batch, or lines of them.
        at_ns: the record's time stamp, ns since 1970.
        naming: of streams.

    Raises:
        ContractError: nothing in the payload is a Telegraf metric.
    """
    cells = Cells(at_ns, "ns")
    known = naming.known("telegraf")
    for where, metric in json_items(raw, cells, within="metrics"):
        _metric(where, metric, cells, naming, known)
    return cells.finish("not Telegraf JSON")


def _metric(where: str, metric: Any, cells: Cells, naming: Naming, known: SeriesByKey) -> None:
    try:
        if not isinstance(metric, dict) or not isinstance(fields := metric.get("fields"), dict) or not fields:
            raise ContractError("telegraf", "no object with fields")
        name, tags = metric.get("name"), metric.get("tags") or {}
        if not isinstance(name, str) or not name or not isinstance(tags, dict):
            raise ContractError("telegraf", "name is no text, or tags no object")
        series = _series(name, tags, naming, known)
        stamp = metric.get("timestamp")
        ts = None if stamp is None else parse_timestamp(stamp)
    except ContractError as error:
        cells.bad(where, error.reason, str(error), _CURE)
        return
    for field, value in fields.items():
        kind = type(value)
        try:
            if kind is float or kind is int or kind is bool:
                cells.add(cells.column(series, field), ts, float(value))
            elif value is None:
                cells.add(cells.column(series, field), ts, float("nan"))
            else:
                cells.bad(
                    f"{where}, field {field[:40]!r}", "text", f"a {kind.__name__} field of {series.stream} cannot be judged",
                    "Drop it at the sender (fieldexclude), or send a number", f"{series.stream}\0{field}",
                )  # fmt: skip
        except ContractError as error:
            cells.bad(f"{where}, field {field[:40]!r}", error.reason, str(error), "")


def _series(name: str, tags: dict[str, Any], naming: Naming, known: SeriesByKey) -> Series:
    try:
        key = (name, *tags.items())
        series = known.get(key)
    except TypeError:  # a value that is a list or an object
        key, series = (name, orjson.dumps(tags)), None
    if series is None:
        labels = {tag: label_text(value) for tag, value in tags.items()}
        series = known[key] = naming.series(name, labels)
    return series

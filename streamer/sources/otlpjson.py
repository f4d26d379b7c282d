"""OTLP metrics as JSON: an export request, or one a line (the collector's file exporter). What it means: `otlprules`.

Source: OTLP specification, "JSON Protobuf Encoding": keys in lowerCamelCase, 64-bit integers as text or numbers,
enumerations as numbers, unknown keys ignored.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import orjson

from streamer.errors import ContractError
from streamer.sources import otlprules as rules
from streamer.sources.jsontext import json_documents
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.points import Cells, Decoded, Kind, Series

NAN = float("nan")
_WORDS = {"NaN": NAN, "Infinity": float("inf"), "-Infinity": float("-inf")}
_TEMPORALITIES = {"AGGREGATION_TEMPORALITY_DELTA": rules.DELTA, "AGGREGATION_TEMPORALITY_CUMULATIVE": rules.CUMULATIVE}
_DATA = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


def decode_otlp_json(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """An export request → cells.

    Args:
        raw: JSON, one document or one a line.
        at_ns: the record's time stamp, ns since 1970, for points whose time is 0 or absent.
        naming: of streams.

    Raises:
        ContractError: not an export request of metrics, or nothing in it can be read.
    """
    cells = Cells(at_ns, "ns")
    reader = _Reader(cells, naming)
    for where, document in json_documents(raw, cells):
        reader.request(where, document)
    return cells.finish("nothing of the export request can be read")


class _Reader:
    def __init__(self, cells: Cells, naming: Naming) -> None:
        self.cells = cells
        self.naming = naming
        self.known: SeriesByKey = naming.known("otlp-json")

    def request(self, where: str, document: Any) -> None:
        if not isinstance(document, dict) or "resourceMetrics" not in document:
            message = "no object with resourceMetrics"
            self.cells.bad(where or "the payload", "otlp", message, "Send metrics, in lowerCamelCase (otlp_json)")
            return
        for place, resource_metrics in self._each(where, document, "resourceMetrics"):
            resource = resource_metrics.get("resource")
            attributes = resource.get("attributes") if isinstance(resource, dict) else None
            for scope_place, scope_metrics in self._each(place, resource_metrics, "scopeMetrics"):
                for metric_place, metric in self._each(scope_place, scope_metrics, "metrics"):
                    self._metric(metric_place, attributes, metric)

    def _each(self, where: str, parent: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The objects of a list; what is none is set aside."""
        entries = parent.get(key) or []
        if not isinstance(entries, list):
            self.cells.bad(f"{where}{key}", "otlp", "no list", rules.CURE_POINT)
            return
        for at, entry in enumerate(entries):
            if isinstance(entry, dict):
                yield f"{where}{key}[{at}].", entry
            else:
                self.cells.bad(f"{where}{key}[{at}]", "otlp", "no object", rules.CURE_POINT)

    def _metric(self, where: str, resource: Any, metric: dict[str, Any]) -> None:
        name = metric.get("name")
        data = next((data for data in _DATA if isinstance(metric.get(data), dict)), None)
        if not isinstance(name, str) or not name or data is None:
            self.cells.bad(where, "otlp", f"metric {str(name)[:60]!r} has no name or no data", rules.CURE_POINT)
            return
        body = metric[data]
        temporality = body.get("aggregationTemporality", 0)
        temporality = _TEMPORALITIES.get(temporality, 0) if isinstance(temporality, str) else temporality
        monotonic = body.get("isMonotonic") is True
        for place, point in self._each(where, body, "dataPoints"):
            try:
                ts = _integer(point.get("timeUnixNano") or 0)
                gap = _integer(point.get("flags") or 0) & rules.NO_RECORDED_VALUE
                for part, kind, channel, value in _parts(name, data, temporality, monotonic, point, bool(gap)):
                    series = self._series(resource, part, kind, point.get("attributes"))
                    self.cells.add(self.cells.column(series, channel), ts or None, value)
            except ContractError as error:
                self.cells.bad(place, error.reason, str(error), rules.CURE_POINT)

    def _series(self, resource: Any, name: str, kind: Kind, attributes: Any) -> Series:
        key = (name, kind, orjson.dumps(resource), orjson.dumps(attributes))
        series = self.known.get(key)
        if series is None:
            labels = {**_labels(resource), **_labels(attributes)}
            series = self.known[key] = self.naming.series(name, labels, kind)
        return series


def _parts(
    name: str, data: str, temporality: int, monotonic: bool, point: dict[str, Any], gap: bool
) -> Iterator[tuple[str, Kind, str, float]]:
    """(metric name, kind, channel, value) of a point."""
    if data in ("gauge", "sum"):
        kind = rules.number_kind(data == "sum", monotonic, temporality)
        raw = point.get("asDouble", point.get("asInt"))
        yield name, kind, "value", NAN if gap else _number(raw)
    elif data == "summary":
        quantiles = point.get("quantileValues") or []
        if not isinstance(quantiles, list) or not all(isinstance(quantile, dict) for quantile in quantiles):
            raise ContractError("otlp", "quantileValues is no list of objects")
        for quantile in quantiles:
            channel = f"{_number(quantile.get('quantile') or 0):g}"
            yield name, "gauge", channel, NAN if gap else _number(quantile.get("value") or 0)
        yield f"{name}_count", "counter", "value", NAN if gap else _number(point.get("count") or 0)
        yield f"{name}_sum", "counter", "value", NAN if gap else _number(point.get("sum") or 0)
    else:
        total, low, high = (None if (raw := point.get(key)) is None else _number(raw) for key in ("sum", "min", "max"))
        kind = rules.histogram_kind(temporality)
        count = _number(point.get("count") or 0)
        for channel, value in rules.histogram_channels(temporality, count, total, low, high):
            yield name, kind, channel, NAN if gap else value


def _number(value: Any) -> float:
    """A double or 64-bit integer, as number or text."""
    try:
        if isinstance(value, str):
            return _WORDS[value] if value in _WORDS else float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ContractError(
        "value", f"{str(value)[:40]!r} is no number" if value is not None else "a data point without a value"
    )


def _integer(value: Any) -> int:
    try:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return int(value)
    except ValueError:
        pass
    raise ContractError("timestamp", f"{str(value)[:40]!r} is no whole number of nanoseconds, or of flags")


def _labels(attributes: Any) -> dict[str, str]:
    if attributes is None:
        return {}
    if not isinstance(attributes, list):
        raise ContractError("otlp", "attributes is no list of key and value")
    labels = {}
    for pair in attributes:
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str):
            raise ContractError("otlp", f"attribute {str(pair)[:60]!r} is no key and value")
        value = _value(pair.get("value"))
        labels[pair["key"]] = (
            value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        )
    return labels


def _value(value: Any) -> Any:
    """An AnyValue as `otlpproto` says it, so that both encodings of a series give one stream."""
    if not isinstance(value, dict) or not value:
        return ""
    ((which, inner), *more) = value.items()
    try:
        if not more:
            if which == "stringValue" and isinstance(inner, str):
                return inner
            if which == "boolValue" and isinstance(inner, bool):
                return inner
            if which == "intValue":
                return _integer(inner)
            if which == "doubleValue":
                return _number(inner)
            if which == "bytesValue" and isinstance(inner, str):
                return base64.b64decode(inner, validate=True).hex()
            if which == "arrayValue" and isinstance(inner, dict):
                return [_value(entry) for entry in inner.get("values") or []]
            if which == "kvlistValue" and isinstance(inner, dict):
                return {entry["key"]: _value(entry.get("value")) for entry in inner.get("values") or []}
    except (binascii.Error, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ContractError("otlp", f"attribute value {str(value)[:60]!r} is no AnyValue")

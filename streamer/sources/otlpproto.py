"""OTLP metrics as protobuf: an ExportMetricsServiceRequest or MetricsData. What it means: `otlprules`.

Source: opentelemetry-proto, metrics/v1/metrics.proto; data points with the wire encoding of proto3.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from streamer.errors import ContractError
from streamer.sources import otlprules as rules
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.otlpschema import KeyValue, MetricsData
from streamer.sources.points import Cells, Decoded, Kind, Series

NAN = float("nan")


def decode_otlp_proto(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """An export request → cells.

    Args:
        raw: the request's bytes, uncompressed.
        at_ns: the record's time stamp, ns since 1970, for points whose time is 0.
        naming: of streams.

    Raises:
        ContractError: not an export request of metrics, or nothing in it can be read.
    """
    if not raw:
        raise ContractError("empty", "the record has no value")
    request = MetricsData()
    try:
        request.ParseFromString(raw)
    except DecodeError:
        raise ContractError("otlp", "not a protobuf export request of OTLP metrics (uncompressed)") from None
    if not request.resource_metrics:
        raise ContractError("otlp", "a protobuf message without resource metrics")
    cells = Cells(at_ns, "ns")
    reader = _Reader(cells, naming)
    for i, resource_metrics in enumerate(request.resource_metrics):
        resource = tuple(resource_metrics.resource.attributes)
        for j, scope_metrics in enumerate(resource_metrics.scope_metrics):
            for k, metric in enumerate(scope_metrics.metrics):
                reader.metric(f"resourceMetrics[{i}].scopeMetrics[{j}].metrics[{k}]", resource, metric)
    return cells.finish("nothing of the export request can be read")


class _Reader:
    def __init__(self, cells: Cells, naming: Naming) -> None:
        self.cells = cells
        self.naming = naming
        self.known: SeriesByKey = naming.known("otlp-proto")

    def metric(self, where: str, resource: tuple[bytes, ...], metric: Any) -> None:
        data = metric.WhichOneof("data")
        if data is None:
            self.cells.bad(where, "otlp", f"metric {metric.name[:60]!r} has no data", rules.CURE_POINT)
            return
        body = getattr(metric, data)
        if data in ("gauge", "sum"):
            is_sum = data == "sum"
            kind = rules.number_kind(is_sum, is_sum and body.is_monotonic, is_sum and body.aggregation_temporality)
            self._numbers(where, resource, metric.name, kind, body.data_points)
        else:
            temporality = 0 if data == "summary" else body.aggregation_temporality
            for at, point in enumerate(body.data_points):
                try:
                    for name, kind, channel, value in _parts(metric.name, data, temporality, point):
                        series = self._series(resource, name, kind, tuple(point.attributes))
                        self.cells.add(self.cells.column(series, channel), point.time_unix_nano or None, value)
                except ContractError as error:
                    self.cells.bad(f"{where}.dataPoints[{at}]", error.reason, str(error), rules.CURE_POINT)

    def _numbers(self, where: str, resource: tuple[bytes, ...], name: bytes, kind: Kind, points: Any) -> None:
        cells = self.cells
        for at, point in enumerate(points):
            try:
                if point.flags & rules.NO_RECORDED_VALUE:
                    value = NAN
                else:
                    which = point.WhichOneof("value")
                    if which is None:
                        raise ContractError("value", "a data point without a value")
                    value = point.as_double if which == "as_double" else float(point.as_int)
                series = self._series(resource, name, kind, tuple(point.attributes))
                cells.add(cells.column(series), point.time_unix_nano or None, value)
            except ContractError as error:
                cells.bad(f"{where}.dataPoints[{at}]", error.reason, str(error), rules.CURE_POINT)

    def _series(self, resource: tuple[bytes, ...], name: bytes, kind: Kind, attributes: tuple[bytes, ...]) -> Series:
        key = (name, kind, resource, attributes)
        series = self.known.get(key)
        if series is None:
            labels = {**_labels(resource), **_labels(attributes)}
            try:
                metric = name.decode()
            except UnicodeDecodeError:
                raise ContractError("otlp", f"metric name {name[:40]!r} is not UTF-8") from None
            if not metric:
                raise ContractError("otlp", "a metric without a name")
            series = self.known[key] = self.naming.series(metric, labels, kind)
        return series


def _parts(name: bytes, data: str, temporality: int, point: Any) -> Iterator[tuple[bytes, Kind, str, float]]:
    """(metric name, kind, channel, value) of a point that is more than one number."""
    gap = bool(point.flags & rules.NO_RECORDED_VALUE)
    if data == "summary":
        for quantile in point.quantile_values:
            yield name, "gauge", f"{quantile.quantile:g}", NAN if gap else quantile.value
        yield name + b"_count", "counter", "value", NAN if gap else float(point.count)
        yield name + b"_sum", "counter", "value", NAN if gap else point.sum
        return
    total, low, high = (getattr(point, part) if point.HasField(part) else None for part in ("sum", "min", "max"))
    kind = rules.histogram_kind(temporality)
    for channel, value in rules.histogram_channels(temporality, float(point.count), total, low, high):
        yield name, kind, channel, NAN if gap else value


def _labels(attributes: tuple[bytes, ...]) -> dict[str, str]:
    labels = {}
    for raw in attributes:
        try:
            pair = KeyValue.FromString(raw)
        except DecodeError:
            raise ContractError("otlp", f"attribute {raw[:40]!r} cannot be read (is it UTF-8?)") from None
        value = _value(pair.value)
        labels[pair.key] = (
            value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        )
    return labels


def _value(value: Any) -> Any:
    """An AnyValue as what JSON can say."""
    which = value.WhichOneof("value")
    if which is None:
        return ""
    if which == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    if which == "kvlist_value":
        return {entry.key: _value(entry.value) for entry in value.kvlist_value.values}
    if which == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, which)

"""Payloads as real senders build them: OTLP with the official messages, remote write with its published schema."""

from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from streamer.sources.formats import decoder_of
from streamer.sources.points import Decoded

NOW_S = 1_790_000_000
NOW_MS = NOW_S * 1000
NOW = NOW_MS * 1_000_000
Labels = dict[str, str]


def decode(form: str, raw: bytes, template: str = "{name}{labels}") -> Decoded:
    """With a decoder that has seen nothing before."""
    return decoder_of(form, template)(raw, NOW)


def cells(form: str, raw: bytes) -> list[tuple[str, str, int, float]]:
    out = decode(form, raw)
    assert out.bad == []
    return out.cells()


def attributes(**of: Any) -> list[KeyValue]:
    pairs = []
    for key, value in of.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
        pairs.append(KeyValue(key=key.replace("_", "."), value=AnyValue(**{kind: value})))
    return pairs


def otlp(*metrics: m.Metric, **resource: Any) -> ExportMetricsServiceRequest:
    """One resource's export request."""
    scope = m.ScopeMetrics(metrics=metrics)
    of = Resource(attributes=attributes(**resource))
    return ExportMetricsServiceRequest(resource_metrics=[m.ResourceMetrics(resource=of, scope_metrics=[scope])])


def number(value: float, at: int = NOW, flags: int = 0, **labels: Any) -> m.NumberDataPoint:
    given: dict[str, Any] = {"as_int": value} if isinstance(value, int) else {"as_double": value}
    return m.NumberDataPoint(time_unix_nano=at, attributes=attributes(**labels), flags=flags, **given)


def _schema(messages: dict[str, list[tuple[str, int, str, str]]], package: str) -> dict[str, Any]:
    """Messages of (field, number, type, label), in proto3 as published."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    fields = descriptor_pb2.FieldDescriptorProto
    for message, rows in messages.items():
        made = file.message_type.add(name=message)
        for name, tag, kind, label in rows:
            field = made.field.add(name=name, number=tag, label=getattr(fields, f"LABEL_{label}"))
            if kind in messages:
                field.type, field.type_name = fields.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = getattr(fields, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


ONE, MANY = "OPTIONAL", "REPEATED"
V1 = _schema(
    {
        "Label": [("name", 1, "STRING", ONE), ("value", 2, "STRING", ONE)],
        "Sample": [("value", 1, "DOUBLE", ONE), ("timestamp", 2, "INT64", ONE)],
        "Exemplar": [("labels", 1, "Label", MANY), ("value", 2, "DOUBLE", ONE), ("timestamp", 3, "INT64", ONE)],
        "BucketSpan": [("offset", 1, "SINT32", ONE), ("length", 2, "UINT32", ONE)],
        "Histogram": [
            ("count_int", 1, "UINT64", ONE), ("count_float", 2, "DOUBLE", ONE), ("sum", 3, "DOUBLE", ONE),
            ("schema", 4, "SINT32", ONE), ("positive_spans", 11, "BucketSpan", MANY),
            ("positive_deltas", 12, "SINT64", MANY), ("reset_hint", 14, "INT32", ONE), ("timestamp", 15, "INT64", ONE),
        ],
        "TimeSeries": [
            ("labels", 1, "Label", MANY), ("samples", 2, "Sample", MANY), ("exemplars", 3, "Exemplar", MANY),
            ("histograms", 4, "Histogram", MANY),
        ],
        "MetricMetadata": [
            ("type", 1, "INT32", ONE), ("metric_family_name", 2, "STRING", ONE), ("help", 4, "STRING", ONE),
            ("unit", 5, "STRING", ONE),
        ],
        "WriteRequest": [("timeseries", 1, "TimeSeries", MANY), ("metadata", 3, "MetricMetadata", MANY)],
    },
    "prometheus",
)  # fmt: skip
V2 = _schema(
    {
        "Sample": [("value", 1, "DOUBLE", ONE), ("timestamp", 2, "INT64", ONE)],
        "Histogram": [("count_int", 1, "UINT64", ONE), ("sum", 3, "DOUBLE", ONE), ("timestamp", 15, "INT64", ONE)],
        "Metadata": [("type", 1, "INT32", ONE), ("help_ref", 3, "UINT32", ONE), ("unit_ref", 4, "UINT32", ONE)],
        "TimeSeries": [
            ("labels_refs", 1, "UINT32", MANY), ("samples", 2, "Sample", MANY), ("histograms", 3, "Histogram", MANY),
            ("metadata", 5, "Metadata", ONE), ("created_timestamp", 6, "INT64", ONE),
        ],
        "Request": [("symbols", 4, "STRING", MANY), ("timeseries", 5, "TimeSeries", MANY)],
    },
    "io.prometheus.write.v2",
)  # fmt: skip


def series(labels: Labels, *samples: tuple[int, float]) -> Any:
    """A series of version 1 with samples of (ms, value)."""
    return V1["TimeSeries"](
        labels=[V1["Label"](name=name, value=value) for name, value in sorted(labels.items())],
        samples=[V1["Sample"](timestamp=at, value=value) for at, value in samples],
    )


def snappy(message: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def write_v1(*of: Any, metadata: dict[str, int] | None = None) -> bytes:
    told = [V1["MetricMetadata"](metric_family_name=name, type=kind) for name, kind in (metadata or {}).items()]
    return snappy(V1["WriteRequest"](timeseries=of, metadata=told))


def write_v2(labels: Labels, *samples: tuple[int, float], kind: int = 0) -> bytes:
    words = [""] + [word for pair in sorted(labels.items()) for word in pair]
    of = V2["TimeSeries"](
        labels_refs=range(1, len(words)),
        samples=[V2["Sample"](timestamp=at, value=value) for at, value in samples],
        metadata=V2["Metadata"](type=kind),
        created_timestamp=NOW_MS - 5000,
    )
    return snappy(V2["Request"](symbols=words, timeseries=[of]))

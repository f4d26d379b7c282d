"""Messages of Prometheus remote write 1 and 2, as far as metrics are read from them.

Built at run time, since no package of them is kept up to date. Two liberties, both of the wire format and invisible in
it: labels are left as bytes, so that a label set that was seen before is not read again, and text is bytes, so that one
label that is not UTF-8 does not cost the whole request. The field numbers of the two versions are disjoint at the top
(version 2 reserves 1 to 3), so one message reads both.

Source: Prometheus remote write 1.0 and 2.0 specifications, "Protocol"/"Proto Message"; prompb/types.proto and
prompb/io/prometheus/write/v2/types.proto for numbers.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "anomalyllm.prometheus"
_Field = descriptor_pb2.FieldDescriptorProto
# message → field → (number, type or message, repeated)
_MESSAGES: dict[str, dict[str, tuple[int, Any, bool]]] = {
    "Label": {"name": (1, _Field.TYPE_BYTES, False), "value": (2, _Field.TYPE_BYTES, False)},
    "Sample": {"value": (1, _Field.TYPE_DOUBLE, False), "timestamp": (2, _Field.TYPE_INT64, False)},
    "Histogram": {
        "count_int": (1, _Field.TYPE_UINT64, False),
        "count_float": (2, _Field.TYPE_DOUBLE, False),
        "sum": (3, _Field.TYPE_DOUBLE, False),
        "reset_hint": (14, _Field.TYPE_INT32, False),
        "timestamp": (15, _Field.TYPE_INT64, False),
    },
    "MetricMetadata": {"type": (1, _Field.TYPE_INT32, False), "metric_family_name": (2, _Field.TYPE_BYTES, False)},
    "TimeSeries": {
        "labels": (1, _Field.TYPE_BYTES, True),
        "samples": (2, "Sample", True),
        "histograms": (4, "Histogram", True),
    },
    "SeriesMetadata": {"type": (1, _Field.TYPE_INT32, False)},
    "TimeSeries2": {
        "labels_refs": (1, _Field.TYPE_UINT32, True),
        "samples": (2, "Sample", True),
        "histograms": (3, "Histogram", True),
        "metadata": (5, "SeriesMetadata", False),
    },
    "WriteRequest": {
        "timeseries": (1, "TimeSeries", True),
        "metadata": (3, "MetricMetadata", True),
        "symbols": (4, _Field.TYPE_BYTES, True),
        "timeseries2": (5, "TimeSeries2", True),
    },
}


def _build() -> dict[str, Any]:
    # proto2: a field that is absent can be told from one that is zero
    file = descriptor_pb2.FileDescriptorProto(name="anomalyllm/prometheus.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _build()
Label: Any = _CLASSES["Label"]
WriteRequest: Any = _CLASSES["WriteRequest"]

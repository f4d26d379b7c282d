"""The messages of OTLP metrics, from the official package, with attributes and texts left as bytes.

A label set that was seen before is then not read again, and one text that is not UTF-8 costs its own point, not the whole
request. On the wire nothing differs: texts, bytes and messages have one encoding.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_UNREAD = frozenset({"attributes", "exemplars", "scope", "metadata", "entity_refs"})


def _build() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for official in (common_pb2, resource_pb2, metrics_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        official.DESCRIPTOR.CopyToProto(file)
        if official is not common_pb2:
            for message in file.message_type:
                for field in message.field:
                    if field.name in _UNREAD or field.type == _Field.TYPE_STRING:
                        field.type = _Field.TYPE_BYTES
                        field.ClearField("type_name")
        pool.Add(file)
    name = metrics_pb2.MetricsData.DESCRIPTOR.full_name
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


# An ExportMetricsServiceRequest has the same one field.
MetricsData: Any = _build()
KeyValue: Any = common_pb2.KeyValue

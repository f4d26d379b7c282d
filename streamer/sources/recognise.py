"""What a payload looks like, so that a record in the wrong place can be answered with what to do.

A guess from the payload's first bytes and its shape, right for what senders really write; it reads nothing further
than needed, and says None where it is not sure.
"""

import re
from typing import Any

import orjson

from streamer.sources.formats import FORMATS

# Formats that cannot be read: name → what it is, and what to do instead
OTHERS: dict[str, tuple[str, str]] = {
    "debezium": ("a change event of Debezium", "publish the changed row's numbers as points, for example with a Kafka Streams job"),
    "confluent": (
        "framed for a schema registry (Avro, Protobuf or JSON Schema)",
        "let the producer or a connector write JSON (value.converter=org.apache.kafka.connect.json.JsonConverter)",
    ),
    "avro": ("an Avro container file", "publish its rows as JSON points"),
    "gzip": ("gzip", "send it uncompressed; Kafka compresses by itself (compression.type)"),
    "zstd": ("zstd", "send it uncompressed; Kafka compresses by itself (compression.type)"),
    "snappy-framed": ("snappy in its framed format", "send the block format, as remote write does, or uncompressed"),
    "protobuf": ("protobuf of an unknown schema", "publish JSON points, or OTLP or remote write with --source"),
    "otlp-other": ("OTLP traces, logs or profiles", "export the metrics signal to this topic, the others elsewhere"),
    "csv": ("CSV", "read files of it with `anomalyllm publish`"),
    "xml": ("XML", "publish JSON points"),
}  # fmt: skip

_FIELD = r'(?:\\.|[^\s,=\\])+=(?:"(?:\\.|[^"\\])*"|[-+.\w]+)'
_INFLUX = re.compile(rf"(?:\\.|[^\s\\])+ +{_FIELD}(?:,{_FIELD})*(?: +-?\d+)?\s*$")
_GRAPHITE = re.compile(
    r"[^\s{}\[\]\"]+[ \t]+[-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|NaN)(?:[ \t]+(?:-?\d+(?:\.\d+)?|N))?\s*$"
)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # no text holds these
_MAX_LINE = 4096
_MAX_FIELDS = 64
_METRIC_DATA = (5, 7, 9, 10, 11)


def advise(raw: bytes) -> str | None:
    """What a record looks like and what to do about it, as a sentence; None when it looks like nothing known."""
    form = recognise(raw)
    if form is None:
        return None
    if form in FORMATS:
        cure = f"publish it to a topic of its own and start the streamer with --source TOPIC={form}"
        return f"It looks like {FORMATS[form][0]}: {cure}"
    what, cure = OTHERS[form]
    return f"It looks like {what}: {cure}"


def recognise(raw: bytes) -> str | None:
    """Name of the format that a payload looks like (one of FORMATS or OTHERS), None when it looks like none."""
    if not raw:
        return None
    for magic, form in (
        (b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xff\x06\x00\x00sNaPpY", "snappy-framed"), (b"Obj\x01", "avro"),
    ):  # fmt: skip
        if raw.startswith(magic):
            return form
    if raw[0] == 0 and len(raw) > 5:
        return "confluent"  # magic byte 0, then a schema's number in four bytes
    if _BINARY.search(raw, 0, _MAX_LINE):
        return _protobuf(raw)
    start = raw.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        return _json(start)
    if start[:1] == b"<":
        return "xml"
    line = _text_line(start)
    return _protobuf(raw) if line is None else _line(line)


def _json(raw: bytes) -> str | None:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            body = orjson.loads(raw.split(b"\n", 1)[0])
        except orjson.JSONDecodeError:
            # the beginning of a long document, or a broken one: its keys tell
            if b'"resourceMetrics"' in raw:
                return "otlp-json"
            return "telegraf" if b'"metrics"' in raw and b'"fields"' in raw else None
    if isinstance(body, list):
        body = body[0] if body else None
    return _object(body) if isinstance(body, dict) else None


def _object(body: dict[str, Any]) -> str | None:
    if isinstance(body.get("resourceMetrics"), list):
        return "otlp-json"
    if any(isinstance(body.get(key), list) for key in ("resourceSpans", "resourceLogs", "resourceProfiles")):
        return "otlp-other"
    metrics = body.get("metrics")
    first = metrics[0] if isinstance(metrics, list) and metrics else body
    if isinstance(first, dict) and isinstance(first.get("fields"), dict) and isinstance(first.get("name"), str):
        return "telegraf"
    if isinstance(body.get("labels"), dict) and "value" in body and "timestamp" in body and "stream" not in body:
        return "prometheus-adapter"
    payload = body.get("payload") if isinstance(body.get("payload"), dict) else body
    if isinstance(payload, dict) and payload.keys() >= {"op", "source"} and ("after" in payload or "before" in payload):
        return "debezium"
    return None


def _text_line(raw: bytes) -> str | None:
    """The first line that says something, when the payload is text."""
    for line in raw[: 2 * _MAX_LINE].split(b"\n"):
        if line.strip() and not line.startswith(b"#"):
            try:
                text = line[:_MAX_LINE].decode()
            except UnicodeDecodeError:
                return None
            return text
    return None


def _line(line: str) -> str | None:
    if _GRAPHITE.match(line):
        return "graphite"
    if _INFLUX.match(line):
        return "influx"
    return "csv" if line.count(",") >= 1 or line.count(";") >= 1 else None


def _protobuf(raw: bytes) -> str | None:
    try:
        from streamer.sources.remotewrite import uncompressed
    except ModuleNotFoundError:  # without the packages of protobuf there is no telling one message from another
        return "protobuf" if _fields(raw) else None
    from streamer.errors import ContractError

    try:
        body = uncompressed(raw)
    except ContractError:
        return None
    if body is not raw:
        return "remote-write" if _fields(body) else None
    top = _fields(raw)
    if not top:
        return None
    # resource metrics begin with a resource (1) or scope metrics (2), whose own fields 2 are metrics; a series of
    # remote write with a label (1), which has a name (1) and a value (2), both text
    inner = [value for number, value in top if number == 1 and isinstance(value, bytes)]
    if inner and all(number == 1 for number, _ in top if number < 3):
        shapes = {_shape(value) for value in inner[:4]}
        if len(shapes) == 1 and (shape := shapes.pop()) is not None:
            return shape
    if {number for number, _ in top} == {4, 5}:
        return "remote-write"
    return "protobuf"


def _shape(raw: bytes) -> str | None:
    """What an entry of a message's field 1 is: a series of remote write, or a resource's part of an OTLP request."""
    records = []
    for number, value in _fields(raw):
        if not isinstance(value, bytes):
            return None
        inner = _fields(value)
        # a label's name and value are text; a resource's attributes are messages
        if number == 1 and [n for n, _ in inner] == [1, 2] and all(_is_text(v) for _, v in inner):
            return "remote-write"
        if number == 1 and value and not (inner and isinstance(inner[0][1], bytes) and _fields(inner[0][1])):
            return None
        if number == 2:
            records += [v for n, v in inner if n == 2 and isinstance(v, bytes)]
    if not records:
        return None
    # a metric has a name (1) and its data in a message; a span's field 1 is no text, a log record's no bytes
    metric = dict(_fields(records[0]))
    return (
        "otlp-proto"
        if _is_text(metric.get(1, 0)) and any(isinstance(metric.get(n), bytes) for n in _METRIC_DATA)
        else "otlp-other"
    )


def _is_text(value: bytes | int) -> bool:
    if not isinstance(value, bytes):
        return False
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _fields(raw: bytes) -> list[tuple[int, bytes | int]]:
    """(number, value) of a protobuf message's first fields; empty when it is none."""
    found: list[tuple[int, bytes | int]] = []
    at = 0
    while at < len(raw) and len(found) < _MAX_FIELDS:
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if at < 0 or not 0 < number < 1 << 29:
            return []
        if kind == 0:
            value, at = _varint(raw, at)
            if at < 0:
                return []
            found.append((number, value))
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            if at > len(raw):
                return []
            found.append((number, 0))
        elif kind == 2:
            size, at = _varint(raw, at)
            if at < 0 or at + size > len(raw):
                return []
            found.append((number, raw[at : at + size]))
            at += size
        else:
            return []
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends); the end is negative when there is none."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(raw):
            return 0, -1
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, -1

"""What a wrong record on `metrics` looks like, and what its sender is told."""

import gzip
import json

import cramjam
import orjson
import pytest
from aiokafka import ConsumerRecord
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from streamer.sources.formats import FORMATS
from streamer.sources.recognise import OTHERS, advise, recognise
from streamer.windows.decode import Decoder
from tests.streamer.sources.payloads import NOW_S

DEBEZIUM = {"before": None, "after": {"id": 1}, "source": {"db": "shop"}, "op": "c", "ts_ms": 1}
SPAN = Span(trace_id=bytes(range(200, 216)), span_id=b"\x01" * 8, name="GET /")
SPANS = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[SPAN])])])
LOGS = LogsData(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(severity_text="WARN")])])])


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (orjson.dumps(DEBEZIUM), "debezium"),
        (orjson.dumps({"schema": {"type": "struct"}, "payload": DEBEZIUM}), "debezium"),
        (b"\x00\x00\x00\x00\x07\x02a", "confluent"),
        (b"Obj\x01\x04\x14avro.codec", "avro"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (bytes(cramjam.zstd.compress(b"x")), "zstd"),
        (bytes(cramjam.snappy.compress(b"x")), "snappy-framed"),
        (b"<metrics/>", "xml"),
        (b"2026-01-31T12:00:00Z,1.5\n", "csv"),
        (b"ts,value\n1,2\n", "csv"),
        (b"\x08\x96\x01\x12\x07testing", "protobuf"),
        (LOGS.SerializeToString(), "otlp-other"),
        (SPANS.SerializeToString(), "otlp-other"),
        (b'{"resourceSpans": []}', "otlp-other"),
        (f"cpu,host=a usage=1 {NOW_S}".encode(), "influx"),
        (b"# comment\n\nmy\\ m,a=b\\ c f=\"x, y\",g=1i\r\n", "influx"),
        (f"a.b-c.d 1e-5 {NOW_S}".encode(), "graphite"),
        (b"disk.used;host=a;dc=b 12 -1\n", "graphite"),
        (b"\xef\xbb\xbf" + orjson.dumps({"resourceMetrics": []}), "otlp-json"),
        (b'{"name":"cpu","fields":{"a":1}}\n{"name":"cpu","fields":{"a":1}}', "telegraf"),
        (b"[" + orjson.dumps({"timestamp": "x", "value": "1", "labels": {}, "name": "up"}) + b"]", "prometheus-adapter"),
    ],
)  # fmt: skip
def test_recognised(raw: bytes, form: str) -> None:
    assert recognise(raw) == form
    advice = advise(raw)
    assert advice is not None
    assert (f"--source TOPIC={form}" in advice) == (form in FORMATS)
    assert advice.startswith(f"It looks like {(FORMATS.get(form) or OTHERS[form])[0]}: ")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"hello", b"hello world", b"12.5", b"{", b'{"stream":"a","ts":1,"value":2}', b"[]", b"[1,2]", b"\xff\xfe", b"null",
        b'{"stream":"a","labels":{},"value":1,"timestamp":5}', json.dumps({"metrics": "x"}).encode(),
    ],
)  # fmt: skip
def test_not_recognised(raw: bytes) -> None:
    assert recognise(raw) is None
    assert advise(raw) is None


@pytest.mark.parametrize("unit", [b"a=1,", b"a=b=", b"\\ ", b'a="', b"\n\x01", b"\x0a\x02\x0a\x00", b"1 ", b"[", b"{"])
def test_long_input_is_looked_at_briefly(unit: bytes) -> None:
    """A pattern that tries every way to split this would not come back before the test's time limit."""
    recognise(b"x " + unit * 100_000)
    recognise(unit * 100_000 + b"\x00")


def test_a_wrong_record_on_metrics_is_dead_lettered_with_what_to_do() -> None:
    raws = [f"cpu,host=a usage=1 {NOW_S}".encode(), orjson.dumps(DEBEZIUM), b"hello", b'{"stream":"a","value":"x"}']
    records = [ConsumerRecord("metrics", 0, at, 0, 0, None, raw, None, 0, 0, ()) for at, raw in enumerate(raws)]
    out = Decoder({}, 1, "murmur2", 300.0, advise).decode(records)
    messages = [message for _, _, message in out.dead]
    assert "It looks like InfluxDB line protocol: publish it to a topic of its own" in messages[0]
    assert "--source TOPIC=influx" in messages[0]
    assert "It looks like a change event of Debezium: publish the changed row" in messages[1]
    assert not any("looks like" in message for message in messages[2:])

"""OTLP and remote write, built with the official messages."""

import math
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from streamer.errors import ContractError
from tests.streamer.sources.payloads import (
    NOW,
    NOW_MS,
    V1,
    cells,
    decode,
    number,
    otlp,
    series,
    snappy,
    write_v1,
    write_v2,
)

DELTA, CUMULATIVE = m.AGGREGATION_TEMPORALITY_DELTA, m.AGGREGATION_TEMPORALITY_CUMULATIVE


def both(request: Any) -> list[tuple[str, bytes]]:
    """The request in both encodings (64-bit integers as text, enumerations as numbers, as OTLP's JSON wants them)."""
    return [
        ("otlp-proto", request.SerializeToString()),
        ("otlp-json", MessageToJson(request, use_integers_for_enums=True).encode()),
    ]


def test_otlp_numbers_in_both_encodings() -> None:
    request = otlp(
        m.Metric(name="cpu", gauge=m.Gauge(data_points=[number(0.5, core=1), number(7, at=0, core=2)])),
        m.Metric(
            name="req", sum=m.Sum(data_points=[number(10)], is_monotonic=True, aggregation_temporality=CUMULATIVE)
        ),
        m.Metric(name="queue", sum=m.Sum(data_points=[number(3)], aggregation_temporality=CUMULATIVE)),
        m.Metric(name="inc", sum=m.Sum(data_points=[number(4)], is_monotonic=True, aggregation_temporality=DELTA)),
        m.Metric(name="gone", gauge=m.Gauge(data_points=[number(1.0, flags=1)])),
        service_name="shop",
        ok=True,
        telemetry_sdk_name="opentelemetry",
    )
    for form, raw in both(request):
        out = decode(form, raw)
        assert out.bad == []
        resource = "ok=true,service.name=shop"
        assert out.cells()[:5] == [
            (f"cpu{{core=1,{resource}}}", "value", NOW, 0.5),
            (f"cpu{{core=2,{resource}}}", "value", NOW, 7.0),  # no time of its own: the record's
            (f"req{{{resource}}}", "value", NOW, 10.0),
            (f"queue{{{resource}}}", "value", NOW, 3.0),
            (f"inc{{{resource}}}", "value", NOW, 4.0),
        ], form
        assert math.isnan(out.value_M[5])
        assert [s.kind for s in out.series] == ["gauge", "gauge", "counter", "gauge", "gauge", "gauge"]
        assert out.series[0].labels == {
            "core": "1", "service.name": "shop", "ok": "true", "telemetry.sdk.name": "opentelemetry",
        }  # fmt: skip


def test_otlp_histograms_and_summaries_in_both_encodings() -> None:
    def histogram(temporality: "m.AggregationTemporality.ValueType") -> m.Histogram:
        point = m.HistogramDataPoint(
            time_unix_nano=NOW, count=4, sum=10.0, min=1.0, max=5.0, bucket_counts=[1, 3], explicit_bounds=[2.0]
        )
        return m.Histogram(data_points=[point], aggregation_temporality=temporality)

    quantile = m.SummaryDataPoint.ValueAtQuantile(quantile=0.99, value=7.5)
    request = otlp(
        m.Metric(name="lat", histogram=histogram(CUMULATIVE)),
        m.Metric(name="dlat", histogram=histogram(DELTA)),
        m.Metric(
            name="exp",
            exponential_histogram=m.ExponentialHistogram(
                data_points=[m.ExponentialHistogramDataPoint(time_unix_nano=NOW, count=2)],
                aggregation_temporality=CUMULATIVE,
            ),
        ),
        m.Metric(
            name="sum",
            summary=m.Summary(
                data_points=[m.SummaryDataPoint(time_unix_nano=NOW, count=3, sum=6.0, quantile_values=[quantile])]
            ),
        ),
    )
    for form, raw in both(request):
        out = decode(form, raw)
        assert out.bad == []
        assert [(stream, channel, value) for stream, channel, _, value in out.cells()] == [
            ("lat", "count", 4.0), ("lat", "sum", 10.0),
            ("dlat", "count", 4.0), ("dlat", "sum", 10.0), ("dlat", "min", 1.0), ("dlat", "max", 5.0),
            ("exp", "count", 2.0),
            ("sum", "0.99", 7.5), ("sum_count", "value", 3.0), ("sum_sum", "value", 6.0),
        ], form  # fmt: skip
        assert [s.kind for s in out.series] == ["counter", "gauge", "counter", "gauge", "counter", "counter"]


def test_otlp_attribute_values_of_every_kind_name_one_stream_in_both_encodings() -> None:
    request = otlp(m.Metric(name="x", gauge=m.Gauge(data_points=[number(1)])), a=5, b=1.5, c=False, d="t,e")
    pairs = request.resource_metrics[0].resource.attributes
    pairs.add(key="e").value.array_value.values.add(string_value="p")
    pairs.add(key="f").value.kvlist_value.values.add(key="k").value.int_value = 7
    pairs.add(key="g").value.bytes_value = b"\x01\xff"
    pairs.add(key="h")
    streams = {decode(form, raw).series[0].stream for form, raw in both(request)}
    assert streams == {'x{a=5,b=1.5,c=false,d=t\\,e,e=["p"],f={"k":7},g=01ff,h=}'}


def test_otlp_bad_points_are_told_and_the_others_kept() -> None:
    empty = m.NumberDataPoint(time_unix_nano=NOW)
    late = number(1.0, at=2**63)
    request = otlp(
        m.Metric(name="a", gauge=m.Gauge(data_points=[empty, number(1), late, number(float("inf"))])),
        m.Metric(name="nothing"),
        m.Metric(name="", gauge=m.Gauge(data_points=[number(1)])),
    )
    for form, raw in both(request):
        out = decode(form, raw)
        assert [cell[0] for cell in out.cells()] == ["a"], form
        assert sorted(bad.reason for bad in out.bad) == ["otlp", "otlp", "timestamp", "value", "value"], form
        assert all(bad.cure for bad in out.bad)


def test_an_attribute_that_is_not_utf8_costs_its_point_only() -> None:
    request = otlp(m.Metric(name="a", gauge=m.Gauge(data_points=[number(1, k="qqqq"), number(2)])))
    out = decode("otlp-proto", request.SerializeToString().replace(b"qqqq", b"\xff\xfe\xff\xfe"))
    assert out.value_M.tolist() == [2.0]
    assert [bad.where for bad in out.bad] == ["resourceMetrics[0].scopeMetrics[0].metrics[0].dataPoints[0]"]


@pytest.mark.parametrize("raw", [b"", b"\x00\x00\x00\x00\x05hello", b"hello", b'{"resourceMetrics":[]}'])
def test_what_is_no_export_request_is_refused(raw: bytes) -> None:
    with pytest.raises(ContractError):
        decode("otlp-proto", raw)


def test_otlp_json_as_the_specification_shows_it() -> None:
    # opentelemetry-proto, examples/metrics.json, shortened
    raw = orjson.dumps(
        {"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
            "scopeMetrics": [{
                "scope": {"name": "my.library", "version": "1.0.0"},
                "metrics": [
                    {"name": "my.counter", "unit": "1", "sum": {
                        "aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [
                            {"asDouble": 5, "startTimeUnixNano": "1544712660300000000", "timeUnixNano": "1544712660300000000",
                             "attributes": [{"key": "my.counter.attr", "value": {"stringValue": "some value"}}]}]}},
                    {"name": "my.gauge", "unit": "1", "gauge": {"dataPoints": [
                        {"asInt": "10", "timeUnixNano": "1544712660300000000", "unknown": {}}]}},
                ],
            }],
        }]}
    )  # fmt: skip
    out = decode("otlp-json", raw + b"\n" + raw)
    assert out.bad == []
    assert out.cells()[:2] == [
        ("my.counter{my.counter.attr=some value,service.name=my.service}", "value", 1544712660300000000, 5.0),
        ("my.gauge{service.name=my.service}", "value", 1544712660300000000, 10.0),
    ]
    assert len(out.value_M) == 4


UP = {"__name__": "up", "job": "node", "instance": "a:9100"}
STREAM = "up{instance=a:9100,job=node}"


def test_remote_write_1() -> None:
    raw = write_v1(series(UP, (NOW_MS, 1.0), (NOW_MS + 15_000, 0.0)), series({"__name__": "x_total"}, (NOW_MS, 5)))
    out = decode("remote-write", raw)
    assert out.cells() == [
        (STREAM, "value", NOW, 1.0), (STREAM, "value", NOW + 15 * 10**9, 0.0), ("x_total", "value", NOW, 5.0),
    ]  # fmt: skip
    assert [s.kind for s in out.series] == ["auto", "counter"]
    assert out.series[0].labels == {"job": "node", "instance": "a:9100"}
    uncompressed = V1["WriteRequest"](timeseries=[series(UP, (NOW_MS, 1.0))]).SerializeToString()
    assert cells("remote-write", uncompressed) == [(STREAM, "value", NOW, 1.0)]


def test_remote_write_1_tells_families_in_a_request_of_their_own() -> None:
    raw = write_v1(metadata={"http_requests_total": 1, "mem": 2, "lat": 3, "rpc": 5, "what": 0})
    out = decode("remote-write", raw)
    assert len(out.value_M) == 0
    assert out.families == {
        "http_requests": "counter", "http_requests_total": "counter", "mem": "gauge",
        "lat_bucket": "counter", "lat_count": "counter", "lat_sum": "counter",
        "rpc": "gauge", "rpc_count": "counter", "rpc_sum": "counter",
    }  # fmt: skip


def test_remote_write_stale_markers_are_gaps() -> None:
    import struct

    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
    out = decode("remote-write", write_v1(series(UP, (NOW_MS, stale))))
    assert out.bad == []
    assert math.isnan(out.value_M[0])


def test_remote_write_native_histograms() -> None:
    of = series({"__name__": "lat"})
    of.histograms.append(V1["Histogram"](count_int=4, sum=2.5, schema=3, positive_deltas=[4], timestamp=NOW_MS))
    of.histograms.append(V1["Histogram"](count_float=1.5, sum=1, reset_hint=3, timestamp=NOW_MS))
    out = decode("remote-write", write_v1(of))
    assert [value for *_, value in out.cells()] == [4.0, 2.5, 1.5, 1.0]


@pytest.mark.parametrize(
    ("name", "kind", "means"),
    [("a", 1, "counter"), ("a", 2, "gauge"), ("a_bucket", 3, "counter"), ("a", 5, "gauge"), ("a_sum", 5, "counter"),
     ("a", 0, "auto"), ("a_total", 0, "counter")],
)  # fmt: skip
def test_remote_write_2(name: str, kind: int, means: str) -> None:
    out = decode("remote-write", write_v2({**UP, "__name__": name}, (NOW_MS, 2.5), kind=kind))
    assert out.cells() == [(f"{name}{{instance=a:9100,job=node}}", "value", NOW, 2.5)]
    assert out.series[0].kind == means


def test_remote_write_bad_series_are_told_and_the_others_kept() -> None:
    good = series(UP, (NOW_MS, 1.0), (-5, 2.0), (NOW_MS, float("inf")))
    out = decode("remote-write", write_v1(series({}, (NOW_MS, 1.0)), good))
    assert out.cells() == [(STREAM, "value", NOW, 1.0)]
    assert [bad.reason for bad in out.bad] == ["remote-write", "timestamp", "value"]
    body = V1["WriteRequest"](timeseries=[series({"__name__": "qqqq"}, (NOW_MS, 1)), good]).SerializeToString()
    assert decode("remote-write", body.replace(b"qqqq", b"\xff\xff\xff\xff")).bad[0].where == "timeseries[0]"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello, world",
        b"\xff\x06\x00\x00sNaPpY...",
        b"\xff\xff\xff\xff\x0f" + b"\x00" * 20,
        snappy(V1["Label"](name="x")),
    ],
)
def test_what_is_no_write_request_is_refused(raw: bytes) -> None:
    with pytest.raises(ContractError):
        decode("remote-write", raw)


def test_a_snappy_block_that_claims_too_much_is_not_unpacked() -> None:
    claim = b"\x80\x80\x80\x80\x01"  # 256 MiB
    with pytest.raises(ContractError):
        decode("remote-write", claim + b"\x00" * 100)

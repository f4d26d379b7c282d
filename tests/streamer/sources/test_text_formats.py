"""Graphite, line protocol, Telegraf's JSON, the Prometheus adapter's JSON: what their specifications show."""

import math

import orjson
import pytest

from streamer.errors import ContractError
from tests.streamer.sources.payloads import NOW, NOW_S, cells, decode


def test_graphite_lines() -> None:
    raw = f"servers.a.load 1.5 {NOW_S}\nload;host=a;dc=eu 2 {NOW_S}\n\nnow 3 -1\nnow 4\nthen nan {NOW_S}\n".encode()
    out = decode("graphite", raw)
    assert out.bad == []
    assert out.cells()[:4] == [
        ("servers.a.load", "value", NOW, 1.5),
        ("load{dc=eu,host=a}", "value", NOW, 2.0),
        ("now", "value", NOW, 3.0),
        ("now", "value", NOW, 4.0),
    ]
    assert math.isnan(out.value_M[4])
    assert out.series[1].labels == {"host": "a", "dc": "eu"}
    assert decode("graphite", raw.replace(b"\n", b"\r\n")).cells()[:4] == out.cells()[:4]


def test_graphite_tells_each_bad_line_and_keeps_the_others() -> None:
    raw = f"a 1 {NOW_S}\nb x {NOW_S}\nc 1 2 3\nd;x 1 {NOW_S}\ne 1e99 {NOW_S}\nf 1 yesterday\ng 1 -500\nh 2 {NOW_S}".encode()
    out = decode("graphite", raw)
    assert [cell[0] for cell in out.cells()] == ["a", "h"]
    assert [(bad.where.split()[0], bad.reason) for bad in out.bad] == [
        ("line", "graphite"), ("line", "graphite"), ("line", "graphite"), ("line", "graphite"),
        ("e", "value"), ("g", "timestamp"),
    ]  # fmt: skip
    assert all(bad.message and bad.cure for bad in out.bad)


def test_line_protocol_of_the_reference() -> None:
    raw = (
        b'myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000\n'
        b"my\\ Measurement,tag\\ Key1=tag\\ Value1,k\\,2=v\\=2 field\\ Key=1.5,i=-12i,u=12485903u,e=1.2e-3,t=T 1556813561098000000\r\n"
        b"# comment\n\n"
        b"bare v=1\n"
        b'quoted s="a, b=c \\"x\\" y",v=2 1556813561\n'
        b"ms v=3 1556813561098\n"
    )
    out = decode("influx", raw)
    at = 1556813561098000000
    spaced = "my Measurement{k\\,2=v=2,tag Key1=tag Value1}"
    assert out.cells() == [
        (spaced, "field Key", at, 1.5), (spaced, "i", at, -12.0), (spaced, "u", at, 12485903.0), (spaced, "e", at, 1.2e-3),
        (spaced, "t", at, 1.0), ("bare", "v", NOW, 1.0), ("quoted", "v", 1556813561000000000, 2.0),
        ("ms", "v", at, 3.0),
    ]  # fmt: skip
    assert [(bad.reason, bad.standing) for bad in out.bad] == [
        ("text", "myMeasurement{tag1=value1,tag2=value2}\0fieldKey"),
        ("text", "quoted\0s"),
    ]
    assert next(s for s in out.series if s.stream == spaced).labels == {"tag Key1": "tag Value1", "k,2": "v=2"}


def test_line_protocol_tells_each_bad_part_and_keeps_the_others() -> None:
    raw = (
        b"m a=1,b=oops,c=3 1790000000\nm a=1 noon\nm\nm,x a=1\nm a=1,b 1790000000\nm a=1i5 1790000000\nn a=9 1790000000"
    )
    out = decode("influx", raw)
    assert [(stream, channel, value) for stream, channel, _, value in out.cells()] == [
        ("m", "a", 1.0), ("m", "c", 3.0), ("m", "a", 1.0), ("n", "a", 9.0),
    ]  # fmt: skip
    assert [(bad.where[:6], bad.reason) for bad in out.bad] == [
        ("line 1", "value"), ("line 2", "timestamp"), ("line 3", "influx"), ("line 4", "influx"), ("line 5", "value"),
        ("line 6", "value"),
    ]  # fmt: skip


def test_line_protocol_with_escapes_finds_the_bad_field_between_good_ones() -> None:
    out = decode("influx", b'm,h=a\\ b a=1,b="open,c=3 1790000000\nm,h=a\\ b a=2 1790000000')
    assert [value for *_, value in out.cells()] == [1.0, 2.0]
    assert [bad.reason for bad in out.bad] == ["value"]


TELEGRAF = {
    "fields": {"field_1": 30, "field_2": 4.5, "on": True, "uptime_format": "12 days", "gone": None},
    "name": "docker",
    "tags": {"host": "raynor"},
    "timestamp": NOW_S,
}


def test_telegraf_standard_batch_and_lines() -> None:
    raw = orjson.dumps(TELEGRAF)
    for payload in (
        raw,
        b"\xef\xbb\xbf" + raw,
        orjson.dumps({"metrics": [TELEGRAF]}),
        raw + b"\n" + raw[:9] + b"\n" + raw,
    ):
        out = decode("telegraf", payload)
        assert out.cells()[:3] == [
            ("docker{host=raynor}", "field_1", NOW, 30.0),
            ("docker{host=raynor}", "field_2", NOW, 4.5),
            ("docker{host=raynor}", "on", NOW, 1.0),
        ]
        assert math.isnan(out.value_M[3])
        assert out.bad[0].standing == "docker{host=raynor}\0uptime_format"
        assert "fieldexclude" in out.bad[0].cure
    assert [bad.reason for bad in out.bad] == ["text", "text", "json"]


def test_telegraf_tells_each_bad_metric_and_keeps_the_others() -> None:
    bad = [5, {}, {**TELEGRAF, "fields": {}}, {**TELEGRAF, "name": ""}, {**TELEGRAF, "timestamp": "noon"}]
    out = decode(
        "telegraf", orjson.dumps({"metrics": [*bad, {**TELEGRAF, "fields": {"x": 1}, "timestamp": NOW_S * 1000}]})
    )
    assert out.cells() == [("docker{host=raynor}", "x", NOW, 1.0)]
    assert [bad.where for bad in out.bad] == [f"metrics[{at}]" for at in range(5)]


def test_a_field_without_a_name_is_told() -> None:
    out = decode("telegraf", orjson.dumps({**TELEGRAF, "fields": {"": 1, "x": 2}}))
    assert [value for *_, value in out.cells()] == [2.0]
    assert "has no name" in out.bad[0].message


def test_a_series_has_at_most_256_channels() -> None:
    many = {**TELEGRAF, "fields": {f"f{at}": at for at in range(300)}}
    out = decode("telegraf", orjson.dumps(many))
    assert len(out.value_M) == 256
    assert {bad.reason for bad in out.bad} == {"contract"}
    assert len(out.bad) == 44


SAMPLE = {
    "timestamp": "2026-01-31T12:00:00Z", "value": "9876543210", "name": "up",
    "labels": {"__name__": "up", "label1": "value1", "label2": "value2"},
}  # fmt: skip


def test_adapter_sample() -> None:
    assert cells("prometheus-adapter", orjson.dumps(SAMPLE)) == [
        ("up{label1=value1,label2=value2}", "value", 1769860800 * 10**9, 9876543210.0)
    ]
    gap = decode("prometheus-adapter", orjson.dumps({**SAMPLE, "value": "NaN"}))
    assert math.isnan(gap.value_M[0])
    counter = decode("prometheus-adapter", orjson.dumps({**SAMPLE, "name": "requests_total"}))
    assert counter.series[0].kind == "counter"


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"value": "x"}, "value"), ({"value": True}, "value"), ({"labels": 5}, "adapter"), ({"timestamp": "x"}, "timestamp"),
     ({"value": "+Inf"}, "value"), ({"value": "9" * 5000}, "value")],
)  # fmt: skip
def test_adapter_refuses_with_its_cure(change: dict[str, object], reason: str) -> None:
    good = decode("prometheus-adapter", orjson.dumps([SAMPLE, {**SAMPLE, **change}]))
    assert [bad.reason for bad in good.bad] == [reason]
    assert len(good.value_M) == 1
    assert good.bad[0].cure
    alone = orjson.dumps({**SAMPLE, **change})
    if good.bad[0].standing:  # a limit that is infinite comes again with every scrape: it is told, not raised
        assert decode("prometheus-adapter", alone).bad[0].standing == good.bad[0].standing
        return
    with pytest.raises(ContractError):
        decode("prometheus-adapter", alone)


@pytest.mark.parametrize("form", ["graphite", "influx", "telegraf", "prometheus-adapter", "otlp-json"])
@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff\xfe\x00", b"{", b"{}", b"[]x"])
def test_what_is_wholly_something_else_raises_the_contract_error(form: str, raw: bytes) -> None:
    with pytest.raises(ContractError) as error:
        decode(form, raw)
    assert error.value.reason

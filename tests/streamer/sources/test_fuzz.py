"""Whatever bytes come: cells that keep the contract, bad parts with reason and cure, or the contract error."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from pydantic import TypeAdapter

from streamer.contracts import ChannelName, StreamName
from streamer.errors import ContractError
from streamer.sources.formats import FORMATS, decoder_of
from streamer.sources.points import FLOAT32_MAX, Decoded
from streamer.sources.recognise import recognise
from tests.streamer.sources.payloads import NOW, NOW_MS, NOW_S, V1, number, otlp, series, snappy, write_v2

STREAM = TypeAdapter(StreamName)
CHANNEL = TypeAdapter(ChannelName)
DECODERS = {form: decoder_of(form) for form in FORMATS}

GOOD: dict[str, list[bytes]] = {
    "telegraf": [
        orjson.dumps({"name": "cpu", "tags": {"h": "a"}, "fields": {"x": 1, "t": "x"}, "timestamp": NOW_S}),
        orjson.dumps({"metrics": [{"name": "cpu", "tags": {}, "fields": {"x": 1.5}, "timestamp": NOW_S}] * 2}),
    ],
    "influx": [
        f'cpu,h=a\\ b,r=eu x=1.5,n=3i,s="a, b",b=t {NOW}\ncpu x=2u {NOW_S}\n# c\nm f=1'.encode(),
        f"cpu,h=a x=1.5 {NOW}\n".encode() * 3,
    ],
    "graphite": [f"a.b 1 {NOW_S}\nc;x=1;y=2 3.5 -1\n".encode(), f"a.b 1 {NOW_S}\n".encode() * 3],
    "prometheus-adapter": [
        orjson.dumps({"timestamp": "2026-01-31T12:00:00Z", "value": "1", "name": "up", "labels": {"__name__": "up", "j": "a"}})
    ],
    "remote-write": [
        snappy(V1["WriteRequest"](timeseries=[series({"__name__": "up", "j": "a"}, (NOW_MS, 1.0))] * 2)),
        V1["WriteRequest"](timeseries=[series({"__name__": "up", "j": "a"}, (NOW_MS, 1.0))]).SerializeToString(),
        write_v2({"__name__": "up", "j": "a"}, (NOW_MS, 1.0), kind=1),
    ],
    "otlp-proto": [
        otlp(
            m.Metric(name="a", gauge=m.Gauge(data_points=[number(1, k="v"), number(2.5)])),
            m.Metric(name="h", histogram=m.Histogram(data_points=[m.HistogramDataPoint(count=1, sum=2)])),
            service_name="s",
        ).SerializeToString()
    ],
    "otlp-json": [
        orjson.dumps({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "s", "value": {"stringValue": "x"}}]},
            "scopeMetrics": [{"metrics": [
                {"name": "a", "gauge": {"dataPoints": [{"asInt": "1", "timeUnixNano": str(NOW), "flags": 0}]}},
                {"name": "h", "histogram": {"dataPoints": [{"count": 1, "sum": 2}]}},
                {"name": "q", "summary": {"dataPoints": [{"count": 1, "quantileValues": [{"quantile": .5, "value": 1}]}]}},
            ]}],
        }]})
    ],
}  # fmt: skip


def check(form: str, raw: bytes) -> bool:
    """Whether anything was read; fails when a rule of the contract is broken."""
    out: Decoded | ContractError
    try:
        out = DECODERS[form](raw, NOW)
    except ContractError as error:
        out = error
    if isinstance(out, ContractError):
        assert out.reason
        assert str(out)
        return False
    assert len(out.column_M) == len(out.ts_M) == len(out.value_M)
    assert ((out.ts_M >= 0) & (out.ts_M <= 2**62)).all()
    assert (np.isnan(out.value_M) | (np.abs(out.value_M) <= FLOAT32_MAX)).all()
    assert all(0 <= column < len(out.channels) for column in out.column_M.tolist())
    for at, channel in out.channels:
        STREAM.validate_python(out.series[at].stream)
        CHANNEL.validate_python(channel)
    assert len({s.stream for s in out.series}) == len(out.series)
    assert all(bad.where and bad.reason and bad.message for bad in out.bad)
    assert len(out.ts_M) or out.bad or out.families or raw
    return len(out.ts_M) > 0


@pytest.mark.parametrize("form", FORMATS)
def test_the_good_payloads_are_read_and_recognised(form: str) -> None:
    for raw in GOOD[form]:
        assert check(form, raw)
        assert recognise(raw) == form


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
def test_any_bytes(form: str, data: st.DataObject) -> None:
    check(form, data.draw(st.binary(max_size=200)))


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
def test_good_payloads_with_bytes_changed(form: str, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(GOOD[form])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "double"])):
            case "set":
                raw[at] = data.draw(st.integers(0, 255))
            case "cut" if len(raw) > 2:
                del raw[at : at + data.draw(st.integers(1, len(raw) // 2))]
            case "insert":
                raw[at:at] = data.draw(
                    st.binary(max_size=6) | st.sampled_from([b"\n", b'"', b"\\", b"=", b",", b" ", b"{"])
                )
            case _:
                raw[at:at] = raw[at : at + 40]
        if not raw:
            raw = bytearray(b" ")
    check(form, bytes(raw))
    recognise(bytes(raw))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["1", "NaN", "Infinity", str(NOW)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def mangled(data: st.DataObject, body: Any, depth: int = 0) -> Any:
    """The body with some of its parts replaced by anything."""
    if data.draw(st.integers(0, 7)) == 0 and depth:
        return data.draw(json_values)
    if isinstance(body, dict):
        return {key: mangled(data, value, depth + 1) for key, value in body.items()}
    if isinstance(body, list):
        return [mangled(data, value, depth + 1) for value in body]
    return body


@pytest.mark.parametrize("form", ["telegraf", "prometheus-adapter", "otlp-json"])
@given(data=st.data())
def test_json_with_parts_of_another_type(form: str, data: st.DataObject) -> None:
    body = orjson.loads(data.draw(st.sampled_from(GOOD[form])))
    raw = orjson.dumps(mangled(data, body))
    check(form, raw)
    recognise(raw)


@pytest.mark.parametrize("form", ["graphite", "influx", "telegraf", "otlp-json", "prometheus-adapter"])
@given(data=st.data())
def test_a_bad_line_costs_no_good_one(form: str, data: st.DataObject) -> None:
    good = GOOD[form][-1].strip()
    alone = DECODERS[form](good, NOW).cells()
    garbage = data.draw(
        st.text(st.characters(exclude_characters="\n\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=20)
    )
    out = DECODERS[form](good + b"\n" + garbage.encode() + b"\n" + good, NOW).cells()
    rest = list(out)
    for cell in (*alone, *alone):
        rest.remove(cell)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
finite = st.floats(-1e30, 1e30).map(float)


@given(
    labels=st.dictionaries(names.filter(lambda key: key != "__name__"), names, max_size=3), name=names, value=finite,
    at=st.integers(10**12, 4 * 10**12),
)  # fmt: skip
def test_one_point_is_the_same_in_every_binary_and_json_format(
    labels: dict[str, str], name: str, value: float, at: int
) -> None:
    point = m.NumberDataPoint(time_unix_nano=at * 10**6, as_double=value)
    for key, text in labels.items():
        point.attributes.add(key=key).value.string_value = text
    request = otlp(m.Metric(name=name, gauge=m.Gauge(data_points=[point])))
    telegraf = {"name": name, "tags": labels, "fields": {"value": value}, "timestamp": at}
    of = {"__name__": name, **labels}
    seen = {
        "otlp-proto": DECODERS["otlp-proto"](request.SerializeToString(), NOW).cells(),
        "remote-write": DECODERS["remote-write"](
            snappy(V1["WriteRequest"](timeseries=[series(of, (at, value))])), NOW
        ).cells(),
        "telegraf": DECODERS["telegraf"](orjson.dumps(telegraf), NOW).cells(),
    }
    if not any(key.startswith(("telemetry.", "os.")) for key in labels):
        assert seen["otlp-proto"] == seen["telegraf"]
    assert seen["remote-write"] == seen["telegraf"]
    ((_, channel, ts, got),) = seen["telegraf"]
    assert (channel, ts, got) == ("value", at * 10**6, value)

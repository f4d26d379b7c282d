"""Decoding: the rules of the contract on columns; nothing that breaks one is lost or raises."""

from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamer.contracts import StreamSettings
from streamer.metric_records import MetricBatch, MetricPoint
from streamer.placement import home_partition
from streamer.sources.recognise import advise
from streamer.windows.decode import Decoded, Decoder

NOW_MS = 1_790_000_000_000


def record(
    value: bytes | None, partition: int = 0, headers: tuple[tuple[str, bytes], ...] = (), offset: int = 7
) -> ConsumerRecord:
    return ConsumerRecord("metrics", partition, offset, NOW_MS, 0, None, value, None, 0, 0, headers)


def decode(*bodies: Any, of: dict[str, StreamSettings] | None = None, **kwargs: Any) -> Decoded:
    decoder = Decoder(of or {}, 1, "murmur2", 300.0)
    raws = [body if isinstance(body, bytes | type(None)) else orjson.dumps(body) for body in bodies]
    return decoder.decode([record(raw, **kwargs) for raw in raws])


def cells(out: Decoded) -> list[tuple[str, str, int, float]]:
    names = [(out.streams[at], channel) for at, channel in out.channels]
    return [(*names[c], int(ts), float(v)) for c, ts, v in zip(out.column_M, out.ts_M, out.value_M, strict=True)]


def test_point_and_batch_forms() -> None:
    t = NOW_MS * 10**6
    out = decode(
        {"stream": "a", "value": 1},
        {"stream": "b", "ts": NOW_MS / 1000, "values": {"x": 1.5, "y": 2}},
        {"stream": "c", "channels": ["x", "y"], "points": [[NOW_MS, 1, 2], [NOW_MS + 1, 3, 4.5]]},
        {"stream": "d", "points": [["2026-09-21T14:13:20Z", 9], [None, 8]]},
        {"stream": "a", "value": 2, "host": "unknown fields of a point are ignored"},
    )
    assert out.dead == []
    assert sorted(cells(out)) == sorted(
        [
            ("a", "value", t, 1.0), ("a", "value", t, 2.0), ("b", "x", t, 1.5), ("b", "y", t, 2.0),
            ("c", "x", t, 1.0), ("c", "x", t + 10**6, 3.0), ("c", "y", t, 2.0), ("c", "y", t + 10**6, 4.5),
            ("d", "value", t, 9.0), ("d", "value", t, 8.0),
        ]
    )  # fmt: skip


def test_null_is_a_gap() -> None:
    out = decode({"stream": "a", "value": None}, {"stream": "b", "points": [[NOW_MS, None], [NOW_MS, 1]]})
    assert np.isnan(out.value_M).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"\xff\x00", "json"),
        (b'{"stream":"a","value":NaN', "json"),
        (b'{"stream":"a","ts":1}\n{"stream":"a","ts":2}', "json"),
        (b'{"stream":"a\\ud800","value":NaN}', "json"),
        (b'{"stream":"a","value":Infinity}', "value"),
        ({"stream": "a", "value": "NaN"}, "value"),
        ([1, 2], "contract"),
        ({"value": 1}, "contract"),
        ({"stream": 5, "value": 1}, "contract"),
        ({"stream": "a" * 300, "value": 1}, "contract"),
        ({"stream": "a\n", "value": 1}, "contract"),
        ({"stream": "a"}, "contract"),
        ({"stream": "a", "value": 1, "values": {"x": 1}}, "contract"),
        ({"stream": "a", "value": 1, "points": [[1, 1]]}, "contract"),
        ({"stream": "a", "value": "12"}, "value"),
        ({"stream": "a", "value": {"x": 1}}, "value"),
        ({"stream": "a", "value": 1e39}, "value"),
        ({"stream": "a", "values": {}}, "contract"),
        ({"stream": "a", "values": [1]}, "contract"),
        ({"stream": "a", "values": {str(i): 1 for i in range(257)}}, "contract"),
        ({"stream": "a", "ts": "noon", "value": 1}, "timestamp"),
        ({"stream": "a", "ts": -5, "value": 1}, "timestamp"),
        ({"stream": "a", "time": "noon", "value": 1}, "timestamp"),
        ({"stream": "a", "ts": "1790000000", "value": 1}, "timestamp"),
        ({"stream": "a", "ts": NOW_MS + 301_000, "value": 1}, "future"),
        ({"stream": "a", "points": []}, "contract"),
        ({"stream": "a", "points": {"a": 1}}, "contract"),
        ({"stream": "a", "channels": ["x", "x"], "points": [[NOW_MS, 1, 2]]}, "contract"),
        ({"stream": "a", "channels": [1], "points": [[NOW_MS, 1]]}, "contract"),
        ({"stream": "a", "channels": [[]], "points": [[NOW_MS, 1]]}, "contract"),
    ],
)
def test_what_breaks_a_rule_is_set_aside_with_its_reason(body: object, reason: str) -> None:
    out = decode(body, {"stream": "good", "value": 1})
    assert [(why, bool(message)) for _, why, message in out.dead] == [(reason, True)]
    assert [c[0] for c in cells(out)] == ["good"]


def test_bad_rows_of_a_batch_are_named_and_the_others_processed() -> None:
    rows = [[NOW_MS + i, i] for i in range(6)] + [
        [NOW_MS, "x"],
        [NOW_MS],
        "row",
        [NOW_MS + 10**6, 1],
        [NOW_MS, 10**400],
    ]
    raw = orjson.dumps({"stream": "a", "points": rows[:-1]})
    out = decode(raw)
    assert len(out.value_M) == 6
    ((_, reason, message),) = out.dead
    assert (reason, "4 of 10 rows" in message, "row 6" in message) == ("value", True, True)


def test_good_numbers_of_a_point_are_taken_and_bad_ones_named() -> None:
    out = decode(
        {
            "stream": "a",
            "values": {"idle": 98.1, "uptime": "12 days", "big": 1e39, "up": True, "x" * 200: 1, "n": "3.5"},
        },
        b'{"stream":"b","values":{"x":NaN,"y":2,"z":Infinity}}',
    )
    assert {name: value for stream, name, _, value in cells(out) if stream == "a"} == {"idle": 98.1, "up": 1.0}
    taken = {name: value for stream, name, _, value in cells(out) if stream == "b"}
    assert (np.isnan(taken.pop("x")), taken) == (True, {"y": 2.0})
    (_, _, first), (_, _, second) = out.dead
    assert first.startswith("4 of 6 values refused, the others processed")
    assert "without quotes" in first
    assert "'uptime' must be a number or null, got the text '12 days'" in first
    assert "z" in second


def test_good_numbers_of_a_row_are_taken_and_bad_ones_named() -> None:
    points = [[NOW_MS, 1, 2], [NOW_MS + 1, "x", 3], [NOW_MS + 2, 4, 5]]
    out = decode({"stream": "a", "channels": ["x", "y"], "points": points})
    t = NOW_MS * 10**6
    assert sorted(cells(out)) == sorted(
        [
            ("a", "x", t, 1),
            ("a", "x", t + 2 * 10**6, 4),
            *(("a", "y", t + i * 10**6, v) for i, v in enumerate([2, 3, 5])),
        ]
    )
    assert "1 of 3 rows refused, the others processed: row 1: 'column 1'" in out.dead[0][2]
    raw = b'{"stream":"a","points":[[%d,1.0],[%d,NaN],[%d,2.0]]}' % (NOW_MS, NOW_MS + 1, NOW_MS + 2)
    nan = decode(raw)
    assert (nan.dead, np.isnan(nan.value_M).tolist()) == ([], [False, True, False])


def test_a_channel_that_cannot_be_takes_no_other_with_it() -> None:
    points = [[NOW_MS, 1, 2, 3, 4]]
    out = decode({"stream": "a", "channels": ["x", "y" * 129, "z", "z"], "points": points})
    assert [(name, value) for _, name, _, value in cells(out)] == [("x", 1.0)]
    assert "2 of 4 channels refused, the others processed" in out.dead[0][2]


@pytest.mark.parametrize("name", ["ts", "time", "timestamp", "@timestamp"])
@pytest.mark.parametrize(
    "stamp", [NOW_MS - 86_400_000, "2026-09-20T14:13:20Z", "2026-09-20T14:13:20+0000", "2026-09-20T14:13Z"]
)
def test_the_time_is_found_under_the_names_that_others_give_it(name: str, stamp: int | str) -> None:
    out = decode({"stream": "a", name: stamp, "value": 1})
    assert (out.dead, out.ts_M.tolist()[0] // (60 * 10**9)) == ([], (NOW_MS - 86_400_000) // 60_000)


def test_ts_goes_before_its_other_names() -> None:
    out = decode(
        {"stream": "a", "time": 5, "ts": NOW_MS, "value": 1}, {"stream": "a", "ts": None, "time": NOW_MS, "value": 1}
    )
    assert out.ts_M.tolist() == [NOW_MS * 10**6] * 2


@pytest.mark.parametrize(
    ("body", "cure"),
    [
        ({"metric": "web.cpu", "value": 1}, "rename `metric` to `stream`"),
        ({"stream": "a", "cpu": 1.5, "mem": 2}, '"values": {"cpu": 1.5, "mem": 2}'),
        ([{"stream": "a", "value": 1}], "one record each"),
        (b'{"stream":"a","value":1}\n{"stream":"a","value":2}', "one record each"),
        ({"stream": "a", "value": "12.5"}, "without quotes"),
        ({"stream": "a", "ts": "1790000000", "value": 1}, "without quotes"),
        ({"stream": "a", "ts": "2026-01-31T12:00:00", "value": 1}, "an offset is required"),
        ({"stream": "x" * 300, "value": 1}, "shorten it"),
        ({"stream": "a", "value": 1, "values": {"x": 1}}, "not value and values"),
        ({"timestamp": "2026-01-31T12:00:00Z", "value": "9", "name": "up", "labels": {"job": "a"}}, "--source TOPIC=prometheus-adapter"),
        ({"fields": {"idle": 98.1}, "name": "cpu", "tags": {}, "timestamp": 1}, "--source TOPIC=telegraf"),
        ({"metrics": [{"fields": {"x": 1}, "name": "cpu", "tags": {}, "timestamp": 1}]}, "--source TOPIC=telegraf"),
        ({"resourceMetrics": []}, "--source TOPIC=otlp-json"),
        (b"cpu,host=a idle=98.1 1790000000000000000", "--source TOPIC=influx"),
        (b"web.cpu 12.5 1790000000", "--source TOPIC=graphite"),
        ({"before": None, "after": {"x": 1}, "source": {}, "op": "c"}, "Debezium"),
        (b"Obj\x01\x04\x16avro.schema", "Avro"),
        (b"\x00\x00\x00\x00\x05\x02\x0c", "schema registry"),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_refused_with_its_cure(body: Any, cure: str) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    out = Decoder({}, 1, "murmur2", 300.0, advise).decode([record(raw)])
    ((_, _, message),) = out.dead
    assert cure in message


def test_a_byte_order_mark_is_passed_over() -> None:
    assert decode(b'\xef\xbb\xbf{"stream":"a","value":1}').dead == []


def test_the_unit_of_the_settings_overrides_the_guess() -> None:
    of = {"a": StreamSettings(unit="ms")}
    out = decode({"stream": "a", "ts": 5, "value": 1}, {"stream": "a", "points": [[6, 1]]}, of=of)
    assert out.ts_M.tolist() == [5_000_000, 6_000_000]


def test_history_header_and_unknown_modes() -> None:
    old = {"stream": "a", "ts": 1_500_000_000, "value": 1}
    out = decode(old, headers=(("mode", b"history"),))
    assert out.history_R.tolist() == [True]
    assert decode(old, headers=(("mode", b"future"),)).dead[0][1] == "contract"


def test_a_record_away_from_home_is_set_aside_for_its_partition_once() -> None:
    decoder = Decoder({}, 4, "murmur2", 300.0)
    home = home_partition("a", 4)
    raw = orjson.dumps({"stream": "a", "value": 1})
    away = (home + 1) % 4
    out = decoder.decode([record(raw, home), record(raw, away), record(raw, away, (("rehomed-from", b"2/9"),))])
    assert [stream for _, stream in out.rehome] == ["a"]
    assert len(out.value_M) == 1
    assert [why for _, why, _ in out.dead] == ["misplaced"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {"stream": st.sampled_from(["a", "b"]) | json_values},
    optional={
        "ts": st.sampled_from([NOW_MS, NOW_MS / 1000, "2026-09-21T14:13:20Z"]) | json_values,
        "value": st.integers(-5, 5) | json_values,
        "values": st.dictionaries(st.text(max_size=3), st.floats(-1, 1), max_size=3) | json_values,
        "points": st.lists(st.tuples(st.just(NOW_MS), st.floats(-1, 1)), max_size=3) | json_values,
        "channels": st.lists(st.text(max_size=3), max_size=2) | json_values,
    },
)


@given(st.lists(bodies | json_values, max_size=5))
def test_anything_is_processed_or_set_aside(things: list[Any]) -> None:
    out = decode(*things)
    taken = set(out.record_M.tolist())
    assert len(taken) + len(out.dead) >= len(things)
    assert np.isfinite(out.ts_M).all()
    assert (out.ts_M >= 0).all()


@given(bodies)
def test_what_the_models_accept_is_processed(body: dict[str, Any]) -> None:
    """The reference models and the columns agree on whole messages (time stamps are judged by the decoder alone)."""
    model = MetricBatch if "points" in body else MetricPoint
    try:
        model.model_validate(orjson.loads(orjson.dumps(body)), strict=True)
    except ValidationError:
        return
    if "points" in body and ("value" in body or "values" in body):
        return
    out = decode(body)
    assert {why for _, why, _ in out.dead} <= {"timestamp", "future", "value", "contract"}
    if not out.dead:
        assert len(out.value_M) > 0

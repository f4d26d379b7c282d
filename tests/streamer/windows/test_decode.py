"""Decoding: the rules of the contract on columns; nothing that breaks one is lost or raises."""

from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamer.contracts import MetricBatch, MetricPoint, StreamSettings
from streamer.placement import home_partition
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
        (b'{"stream":"a","value":NaN}', "json"),
        ([1, 2], "contract"),
        ({"value": 1}, "contract"),
        ({"stream": 5, "value": 1}, "contract"),
        ({"stream": "a" * 300, "value": 1}, "contract"),
        ({"stream": "a\n", "value": 1}, "contract"),
        ({"stream": "a"}, "contract"),
        ({"stream": "a", "value": 1, "values": {"x": 1}}, "contract"),
        ({"stream": "a", "value": 1, "points": [[1, 1]]}, "contract"),
        ({"stream": "a", "value": "12"}, "value"),
        ({"stream": "a", "value": True}, "value"),
        ({"stream": "a", "value": 1e39}, "value"),
        ({"stream": "a", "values": {}}, "contract"),
        ({"stream": "a", "values": [1]}, "contract"),
        ({"stream": "a", "values": {str(i): 1 for i in range(257)}}, "contract"),
        ({"stream": "a", "ts": "noon", "value": 1}, "timestamp"),
        ({"stream": "a", "ts": -5, "value": 1}, "timestamp"),
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

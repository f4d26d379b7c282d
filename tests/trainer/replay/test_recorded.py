"""Recorded points: read as `publish` reads them, kept by time, sent as they were."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import ConsumerRecord

from streamer.contracts import StreamSettings
from streamer.errors import ConfigError, ContractError
from streamer.placement import home_partition
from streamer.sources.layout import Hints
from streamer.timestamps import NS, parse_timestamp
from streamer.windows.decode import Decoder
from trainer.replay.recorded import Collector, Recording, instants, read_files
from trainer.replay.stretch import _collect, settings_of

T0 = 1_767_225_600


def _recording(*points: tuple[str, int, float]) -> Recording:
    collector = Collector()
    for stream, at, value in points:
        collector.add(stream, ("value",), np.array([at * NS]), np.array([[value]]))
    return collector.made()


def test_points_are_kept_by_time_and_sent_as_they_were() -> None:
    made = _recording(("a", T0 + 2, 2.0), ("a", T0, np.nan), ("b", T0 + 1, 1.0), ("a", T0 + 1, 5.0), ("a", T0 + 2, 3.0))
    assert made.points == 5
    assert made.span() == (T0 * NS, (T0 + 2) * NS)
    sent = list(made.batches(T0 * NS, (T0 + 2) * NS))
    assert [(b.stream, b.points, b.newest_ns) for b in sent] == [
        ("a", [[T0 * NS, None], [(T0 + 1) * NS, 5.0]], (T0 + 1) * NS),
        ("b", [[(T0 + 1) * NS, 1.0]], (T0 + 1) * NS),
    ]
    [last] = made.batches((T0 + 2) * NS, 1 << 62)
    assert last.points == [[(T0 + 2) * NS, 2.0], [(T0 + 2) * NS, 3.0]]  # the one that came later stays the later
    assert made.next_after((T0 + 1) * NS + 1) == (T0 + 2) * NS
    assert made.next_after((T0 + 3) * NS) is None
    assert made.instants("a").tolist() == [(T0 + 1) * NS, (T0 + 2) * NS]  # null says nothing
    assert list(made.since((T0 + 2) * NS).parts) == ["a"]


def test_channels_that_come_apart_are_sent_side_by_side() -> None:
    collector = Collector()
    for channel in ("x", "y"):
        collector.add("a", (channel,), (T0 + np.arange(100)) * NS, np.ones((100, 1)))
    sent = [batch.channels[0] for batch in collector.made().batches(0, 1 << 62)]
    assert sent == ["x", "y"] * 7


@pytest.mark.parametrize("at_s", [0, 5, 90_000_000, T0])
def test_every_time_comes_back_as_it_was(at_s: int) -> None:
    made = _recording(*(("a", at_s + i, 1.0) for i in range(3)))
    [batch] = made.batches(0, 1 << 62)
    assert [parse_timestamp(point[0]) for point in batch.points] == [(at_s + i) * NS for i in range(3)]
    assert made.interval_ns("a") == NS


def test_time_stamps_of_all_forms() -> None:
    assert instants([T0, T0 + 1]).tolist() == [T0 * NS, (T0 + 1) * NS]
    assert instants([T0, T0 + 0.5, "2026-01-01T00:00:01Z"]).tolist() == [T0 * NS, T0 * NS + NS // 2, (T0 + 1) * NS]
    with pytest.raises(ContractError):
        instants([-1.0])


def test_files_are_read_as_publish_reads_them(tmp_path: Path) -> None:
    rows = "".join(f"{T0 + 9 + i},6,7\n" for i in range(50))
    (tmp_path / "web.csv").write_text(f"ts,cpu,load\n{T0},1,\n{T0 + 1},4,5\n{rows}{T0 + 70},6,much\n")
    (tmp_path / "more.jsonl").write_bytes(
        orjson.dumps({"stream": "b", "ts": T0, "values": {"x": 1, "y": None}}) + b"\n"
    )
    said: list[str] = []
    files = [tmp_path / "web.csv", tmp_path / "more.jsonl"]
    made = read_files(files, Hints(), "*", (T0 + 5) * NS, said.append)
    assert list(made.parts) == ["b", "web.cpu", "web.load"]
    [part] = made.parts["b"]
    assert part.channels == ("x", "y")
    np.testing.assert_array_equal(part.values_NC, [[1.0, np.nan]])
    assert made.parts["web.cpu"][0].values_NC.tolist() == [[1.0], [4.0]]  # what lies at --to is left out
    assert "time: column 'ts'" in said[0]
    assert any("refused" in line for line in said)
    assert list(read_files(files, Hints(), "web.l*", 1 << 62, said.append).parts) == ["web.load"]
    with pytest.raises(ConfigError):
        read_files([tmp_path / "web.csv"], Hints(time_column="when"), "*", 1 << 62, said.append)


def _record(body: Any, **own: Any) -> ConsumerRecord:
    value = body if isinstance(body, bytes) else orjson.dumps(body)
    stream = body["stream"] if isinstance(body, dict) else "a"
    made = {
        "topic": "metrics", "partition": home_partition(stream, 4), "offset": 0, "timestamp": (T0 + 100) * 1000,
        "timestamp_type": 0, "key": None, "value": value, "checksum": None, "serialized_key_size": 0,
        "serialized_value_size": 0, "headers": (), **own,
    }  # fmt: skip
    return ConsumerRecord(**made)


def test_records_of_metrics_are_read_by_the_streamer_s_rules() -> None:
    own = {"a": StreamSettings(unit="ms")}
    records = [
        _record({"stream": "a", "ts": T0 * 1000, "values": {"x": 1.0, "y": 2.0}}),
        _record({"stream": "a", "channels": ["x"], "points": [[T0 * 1000 + 1000, 3.0], [T0 * 1000 + 2000, None]]}),
        _record({"stream": "a", "value": 9.0}),  # no time: its record's
        _record({"stream": "a", "ts": T0 * 1000 + 9 * 10**6, "value": 1.0}),  # too far ahead
        _record(b"no JSON"),
    ]
    decoded = Decoder(own, 4, "murmur2", 300.0).decode(records)
    assert len(decoded.dead) == 2
    collector = Collector()
    _collect(collector, decoded)
    parts = {part.channels: part for part in collector.made().parts["a"]}
    assert {channels: ((part.ns_N - T0 * NS) // NS).tolist() for channels, part in parts.items()} == {
        ("x", "y"): [0],
        ("x",): [1, 2],
        ("value",): [100],
    }
    np.testing.assert_array_equal(parts["x",].values_NC, [[3.0], [np.nan]])  # a null that was said stays one
    assert parts["x", "y"].values_NC.tolist() == [[1.0, 2.0]]


def test_settings_come_along_without_what_would_change_the_replay() -> None:
    own = {"web.a": StreamSettings(unit="ms", kind="gauge", paused=True, ttl_s=5.0), "db": StreamSettings()}
    assert settings_of(own, "web.*") == {"web.a": StreamSettings(kind="gauge")}

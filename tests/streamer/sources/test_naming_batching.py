"""Names of streams, messages for `metrics`, and what is announced on `streams`."""

import math
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from streamer.contracts import MAX_STREAM_BYTES, StreamSettings
from streamer.errors import ConfigError
from streamer.sources.announcing import Announcer
from streamer.sources.batching import Batch, Message
from streamer.sources.chosen import Source, parse_sources
from streamer.sources.naming import Naming
from streamer.sources.points import Cells, Kind, Series, fit_name
from streamer.windows.decode import Decoder
from tests.streamer.sources.payloads import NOW

LABELS = {"pod": "p1", "job": "shop", "instance": "a:9100"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{name}{labels}", "up{instance=a:9100,job=shop,pod=p1}"),
        ("{name}{labels without pod, instance}", "up{job=shop}"),
        ("{name}{labels only job,pod,none}", "up{job=shop,pod=p1}"),
        ("prod/{labels.job}.{labels.none}{name}!", "prod/shop.up!"),
        ("{name}{labels only none}", "up"),
    ],
)
def test_templates(template: str, name: str) -> None:
    assert Naming(template).series("up", LABELS).stream == name


@pytest.mark.parametrize("template", ["up", "", "{nam}", "{name", "{name}}", "{labels only}", "{}"])
def test_templates_that_cannot_be(template: str) -> None:
    with pytest.raises(ConfigError):
        Naming(template)


def test_ignored_labels_are_labels_still() -> None:
    series = Naming(ignored=("os.", "service.version")).series(
        "x", {"os.type": "linux", "service.version": "1", "a": "b"}
    )
    assert series.stream == "x{a=b}"
    assert series.labels == {"os.type": "linux", "service.version": "1", "a": "b"}


label_sets = st.dictionaries(st.text(min_size=1, max_size=4), st.text(max_size=4), max_size=3)


@given(label_sets, label_sets)
def test_different_labels_have_different_names(one: dict[str, str], other: dict[str, str]) -> None:
    naming = Naming()
    printable = all(text.isprintable() for text in (*one, *one.values(), *other, *other.values()))
    names = (naming.series("x", one).stream, naming.series("x", other).stream)
    assert (names[0] == names[1]) == (one == other) or not printable


@given(st.text(max_size=400))
def test_long_names_fit_and_stay_apart(name: str) -> None:
    fitted = fit_name(name, MAX_STREAM_BYTES)
    assert len(fitted.encode(errors="replace")) <= MAX_STREAM_BYTES
    assert fitted == fit_name(name, MAX_STREAM_BYTES)
    if len(name) > MAX_STREAM_BYTES and name.isprintable():
        assert fitted != fit_name(name + "x", MAX_STREAM_BYTES)


def test_sources_are_read_from_text() -> None:
    assert parse_sources("a=influx, b.c=remote-write", "b.c={name}{labels without pod,instance},a=x.{name}") == (
        Source("a", "influx", "x.{name}"),
        Source("b.c", "remote-write", "{name}{labels without pod,instance}"),
    )
    assert parse_sources("") == ()


def batch_of(*cells: tuple[str, str, int, float]) -> Batch:
    made = Cells(NOW, "ns")
    for stream, channel, ts, value in cells:
        made.add(made.column(Series(stream, stream, {}), channel), ts, value)
    batch = Batch()
    batch.add(made.finish(), stamp_ms=NOW // 10**6)
    return batch


def read_back(messages: list[Message]) -> list[tuple[str, str, int, float]]:
    """What the streamer's own decoder makes of the messages."""
    records = [
        ConsumerRecord("metrics", 0, at, NOW // 10**6, 0, None, message.value, None, 0, 0, ())
        for at, message in enumerate(messages)
    ]
    out = Decoder({}, 1, "murmur2", 300.0).decode(records)
    assert out.dead == []
    names = [(out.streams[at], channel) for at, channel in out.channels]
    return [(*names[c], int(ts), float(v)) for c, ts, v in zip(out.column_M, out.ts_M, out.value_M, strict=True)]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 5), st.integers(-3, 3).map(float)), max_size=30
    ),
    st.booleans(),
)  # fmt: skip
def test_messages_hold_the_cells_and_no_gap_that_nobody_sent(cells: list[Any], early: bool) -> None:
    base = 5 * 10**16 if early else NOW  # before 1973 a number of ns would be taken for µs
    given_cells = [(stream, channel, base + step * 10**9, value) for stream, channel, step, value in cells]
    newest = {(stream, channel, ts): value for stream, channel, ts, value in given_cells}
    got = read_back(list(batch_of(*given_cells).messages()))
    assert {(stream, channel, ts): value for stream, channel, ts, value in got} == newest


def test_a_gap_that_was_sent_is_a_null_and_long_streams_are_several_messages() -> None:
    messages = list(batch_of(*[("a", "x", NOW + at, math.nan) for at in range(2500)]).messages())
    assert [orjson.loads(message.value)["points"][0][1] for message in messages] == [None] * 3
    assert sum(message.cells for message in messages) == 2500
    wide = list(batch_of(*[("a", f"c{c}", NOW + at, 1.0) for at in range(200) for c in range(256)]).messages())
    assert max(len(message.value) for message in wide) < 1_000_000


def announced(announcer: Announcer, *series: Series) -> dict[str, dict[str, Any]]:
    return {stream: made.model_dump(exclude_unset=True) for stream, made in announcer.new(series)}


def one(stream: str = "s", kind: Kind = "auto", **labels: str) -> Series:
    return Series(stream, "req", labels, kind)


def test_a_stream_is_announced_once_and_again_after_its_deletion() -> None:
    settings: dict[str, StreamSettings] = {}
    announcer = Announcer(settings)
    assert announced(announcer, one(job="x")) == {"s": {"labels": {"job": "x"}}}
    assert announced(announcer, one(job="x")) == {}  # on its way
    settings["s"] = StreamSettings(labels={"job": "x"})
    assert announced(announcer, one(job="x")) == {}
    del settings["s"]
    assert announced(announcer, one(job="x")) == {"s": {"labels": {"job": "x"}}}
    assert announced(announcer, one("nothing to say")) == {}


def test_a_kind_that_is_told_later_is_announced_later_but_never_over_a_users_word() -> None:
    settings = {
        "s": StreamSettings(labels={"job": "x"}),
        "mine": StreamSettings(direction="up"),
        "g": StreamSettings(kind="gauge"),
    }
    announcer = Announcer(settings)
    announcer.learn({"req": "counter"})
    series = [one("s", job="x"), one("mine", job="x"), one("g"), one("new")]
    assert announced(announcer, *series) == {
        "s": {"labels": {"job": "x"}, "kind": "counter"},
        "new": {"kind": "counter"},
    }
    assert announced(announcer, *series) == {}

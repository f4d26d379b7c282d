"""Silence of streams, and of the pipeline."""

from detector.incidents.silence import MAX_STEP_S, Silence, limit_s
from streamer.contracts import StreamSettings


def beat(silence: Silence, streams: list[str], begin: float, end: float, limit: float = 5.0) -> None:
    """The streams send once a second."""
    now = begin
    while now <= end:
        silence.arrived(now)
        for stream in streams:
            silence.seen(stream, limit, 1.0)
        now += 1.0


def test_the_limit() -> None:
    assert limit_s(10**9, StreamSettings(), 5.0) == 30.0
    assert limit_s(10**8, StreamSettings(), 5.0) == 5.0
    assert limit_s(10**9, StreamSettings(no_data_after=60), 5.0) == 60.0


def test_one_stream_stops() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 10)
    beat(silence, ["b"], 11, 14)
    assert silence.silent() == []
    beat(silence, ["b"], 15, 17)
    assert silence.silent() == ["a"]
    assert silence.silent() == []  # once
    beat(silence, ["a", "b"], 18, 19)
    assert silence.watches("a")


def test_a_stalled_pipeline_is_nobodys_silence() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 10)
    assert not silence.waits(11)
    assert silence.waits(100)
    assert silence.silent() == []
    silence.arrived(1000)
    silence.seen("a", 5.0, 1.0)
    assert silence.silent() == []
    assert silence.clock <= 10 + max(MAX_STEP_S, 3.0)


def test_few_streams_between_healthy_servers_are_silent_on_their_own() -> None:
    silence = Silence()
    beat(silence, ["a"], 0, 10)
    silence.run_on(13)
    assert silence.silent() == []
    silence.run_on(16)
    assert silence.silent() == ["a"]


def test_time_held_does_not_count() -> None:
    silence = Silence()
    beat(silence, ["a"], 0, 10)
    silence.hold(50)
    silence.run_on(52)
    assert silence.silent() == []


def test_slow_streams_are_measured_by_their_own_interval() -> None:
    silence = Silence()
    for minute in range(5):
        silence.arrived(minute * 60.0)
        silence.seen("a", 300.0, 60.0)
        silence.seen("b", 300.0, 60.0)
    for minute in range(5, 11):
        silence.arrived(minute * 60.0)
        silence.seen("b", 300.0, 60.0)
    assert silence.silent() == ["a"]


def test_forgotten_streams_are_not_missed() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 3)
    silence.forget("a")
    beat(silence, ["b"], 4, 30)
    assert silence.silent() == []

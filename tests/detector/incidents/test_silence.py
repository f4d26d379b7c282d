"""Silence of streams, and of the pipeline."""

from detector.incidents.silence import COMING_BACK_S, Silence, limit_s
from streamer.contracts import StreamSettings

MANY = ["a", "b", "c", "d", "e"]


def beat(
    silence: Silence, streams: list[str], begin: int, end: int, partition: int = 0, pause_s: float = 0.0
) -> list[str]:
    """The streams send once a second, and all that came is marked; returns what was called silent."""
    found = []
    for second in range(begin, end + 1):
        if streams:
            silence.note_data()
        for stream in streams:
            silence.seen(partition, stream, 5.0, 1.0, pause_s)
        silence.mark(partition, second * 1000)
        found += silence.silent()
    return found


def test_the_limit() -> None:
    assert limit_s(10**9, StreamSettings(), 5.0) == 30.0
    assert limit_s(10**8, StreamSettings(), 5.0) == 5.0
    assert limit_s(10**9, StreamSettings(no_data_after=60), 5.0) == 60.0


def test_one_stream_stops() -> None:
    silence = Silence()
    assert beat(silence, ["a", "b"], 0, 10) == []
    assert beat(silence, ["b"], 11, 14) == []
    assert beat(silence, ["b"], 15, 30) == ["a"]  # once
    beat(silence, ["a", "b"], 31, 32)
    assert silence.watches("a")


def test_a_stalled_pipeline_is_nobodys_silence() -> None:
    silence = Silence()
    beat(silence, MANY, 0, 10)
    assert beat(silence, [], 11, 100) == []
    assert silence.stalled
    assert beat(silence, ["a"], 101, 105) == []  # the others are on their way
    assert not silence.stalled
    assert sorted(beat(silence, ["a"], 106, 130)) == MANY[1:]


def test_few_streams_are_silent_on_their_own() -> None:
    silence = Silence()
    beat(silence, ["a"], 0, 10)
    assert beat(silence, [], 11, 16) == ["a"]


def test_a_partition_that_nobody_marks_is_not_judged() -> None:
    silence = Silence()
    beat(silence, ["a"], 0, 3, partition=0)
    assert beat(silence, ["b"], 0, 100, partition=1) == []
    assert silence.watches("a")


def test_after_a_long_way_between_marks_all_have_their_limit_again() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 3)
    back = 100  # the streamer was frozen, or its broker away
    assert beat(silence, ["b"], back, back + 5 + int(COMING_BACK_S)) == []
    assert beat(silence, ["b"], back + 16, back + 19) == ["a"]


def test_a_clock_that_goes_back_moves_nothing() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 100, 103)
    assert beat(silence, ["b"], 50, 103) == []


def test_data_before_a_backlog_of_marks_count_from_when_they_came() -> None:
    silence = Silence()
    silence.mark(0, 0)
    before = silence.now(0)
    for second in range(1, 9):
        silence.mark(0, second * 1000)
    silence.seen(0, "old", 5.0, 1.0, at=before)  # its change stood before the marks, and was read with them
    silence.seen(0, "new", 5.0, 1.0, at=silence.now(0))
    assert silence.silent() == ["old"]


def test_habits_of_bursts() -> None:
    silence = Silence()
    beat(silence, ["a"], 0, 3, pause_s=20.0)
    assert beat(silence, ["b"], 4, 36) == []
    assert beat(silence, ["b"], 37, 60) == ["a"]


def test_who_sends_what_cannot_be_used_is_not_silent() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 3)
    for second in range(4, 20):
        silence.sends(0, "a")
        silence.sends(0, "never heard of")
        assert beat(silence, ["b"], second, second) == []
    assert beat(silence, ["b"], 20, 30) == ["a"]
    assert not silence.watches("never heard of")


def test_forgotten_streams_are_not_missed() -> None:
    silence = Silence()
    beat(silence, ["a", "b"], 0, 3)
    beat(silence, ["c"], 0, 3, partition=1)
    silence.forget("a")
    silence.lose(1)
    assert beat(silence, ["b"], 4, 30) == []
    assert len(silence) == 1

"""What is kept of a stream in Redis."""

from dataclasses import replace

import orjson
import pytest

from detector.incidents.episode import Episode
from detector.incidents.identity import incident_id
from detector.incidents.machine import Tracker, Transition
from detector.incidents.record import MAX_EXCLUDED, MAX_PAST, NoData, PendingRequest, StreamState


def test_a_state_comes_back_as_it_was() -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=6.5, peak_slot=5, hot=9, evidence={"view": "prototype"})
    ended = Episode(anchor=1, onset=1, threshold=4.0, peak=5.0, peak_slot=1, hot=2, ended=2, verdict="true")
    stream_state = StreamState(
        3, 10**8, 7, 99, Tracker([98, 99], episode, [ended], 5.5, 2), NoData(7, 8, 1), "v1", 12, [(1, 2), (5, 9)],
        PendingRequest(1, 2, "due", "full", "t", 3, 4), True, [(0, 0, 1)],
    )  # fmt: skip
    assert StreamState.from_json(stream_state.to_json()) == stream_state
    plain = StreamState(1, 1, 0, 0)
    assert StreamState.from_json(plain.to_json()) == plain
    # as stored before there was a prior
    assert StreamState.from_json(plain.to_json().replace(b',"warming":false', b"")) == plain
    assert (plain.judged, replace(plain, model="v").judged, replace(plain, warming=True).judged) == (False, True, True)


def test_excluded_ranges_are_merged_and_bounded() -> None:
    stream_state = StreamState(1, 1, 0, 0)
    for first, last in ((10, 20), (30, 40), (21, 25), (5, 8), (24, 35)):
        stream_state.exclude_range(first, last)
    assert stream_state.exclude == [(5, 8), (10, 40)]
    for k in range(200):
        stream_state.exclude_range(100 + 10 * k, 102 + 10 * k)
    assert len(stream_state.exclude) == MAX_EXCLUDED
    assert stream_state.exclude[-1] == (2090, 2092)


def test_an_old_incident_keeps_its_place() -> None:
    """A verdict of the next morning still decides what is learnt."""
    old, late = (
        Episode(anchor=a, onset=a - 1, threshold=4.0, peak=5.0, peak_slot=a, hot=a + 2, ended=a + 3) for a in (10, 90)
    )
    stream_state = StreamState(1, 1, 0, 99, Tracker(recent=[old, late]))
    place = {a: stream_state.span("s", incident_id("s", 1, a)) for a in (10, 90)}
    assert place == {10: (9, old.last()), 90: (89, late.last())}
    stream_state.forget_before(50)
    assert stream_state.tracker.recent == [late]
    assert {a: stream_state.span("s", incident_id("s", 1, a)) for a in (10, 90)} == place
    assert stream_state.find("s", incident_id("s", 1, 10)) is None
    for anchor in range(100, 100 + 2 * MAX_PAST):
        stream_state.tracker.recent = [replace(old, anchor=anchor)]
        stream_state.forget_before(50)
    assert len(stream_state.past) == MAX_PAST
    assert stream_state.span("s", incident_id("s", 1, 10)) is None


def test_what_is_allowed_again_is_cut_out_of_the_excluded_ranges() -> None:
    stream_state = StreamState(1, 1, 0, 0, exclude=[(5, 8), (10, 40), (50, 60)])
    stream_state.allow_range(20, 29)
    assert stream_state.exclude == [(5, 8), (10, 19), (30, 40), (50, 60)]
    stream_state.allow_range(0, 50)
    assert stream_state.exclude == [(51, 60)]
    stream_state.allow_range(51, 60)
    assert stream_state.exclude == []


@pytest.mark.parametrize(
    ("peak", "verdict", "learnt"),
    [
        (6.9, None, True),
        (7.0, None, False),
        (5.0, "true", False),
        (5.0, "maintenance", False),
        (9.0, "false_alarm", True),
    ],
)
def test_what_is_critical_or_confirmed_is_not_learnt_from(peak: float, verdict: str | None, learnt: bool) -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=peak, peak_slot=5, hot=9, ended=9, verdict=verdict)
    stream_state = StreamState(1, 1, 0, 0)
    stream_state.settle(Transition("update", episode, 8))
    stream_state.settle(Transition("resolved", episode, 19, baseline=True))
    assert stream_state.exclude == []
    stream_state.settle(Transition("resolved", episode, 19))
    assert stream_state.exclude == ([] if learnt else [(4, 9)])


def test_an_incident_is_found_by_its_id() -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=6.5, peak_slot=5, hot=9)
    ended = Episode(anchor=1, onset=1, threshold=4.0, peak=5.0, peak_slot=1, hot=2, ended=2)
    stream_state = StreamState(3, 1, 0, 0, Tracker([], episode, [ended]))
    assert stream_state.find("a", incident_id("a", 3, 5)) is episode
    assert stream_state.find("a", incident_id("a", 3, 1)) is ended
    assert stream_state.find("a", incident_id("b", 3, 1)) is None


def test_a_state_of_a_later_version_is_read_without_what_is_not_known() -> None:
    stream_state = StreamState(
        7, 10**9, 0, 100, no_data=NoData(5, 6), pending=PendingRequest(1, 2, "cold", "full", None)
    )
    stream_state.tracker.incident = Episode(1, 1, 4.0, 5.0, 1, 1)
    body = orjson.loads(stream_state.to_json())
    body["new"] = body["no_data"]["new"] = body["pending"]["new"] = body["tracker"]["incident"]["new"] = 1
    assert StreamState.from_json(orjson.dumps(body)) == stream_state

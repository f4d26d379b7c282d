"""The state machine of incidents: openings, ends, identity, and independence of batching."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.machine import (
    Episode,
    Rules,
    Scored,
    State,
    Transition,
    budget_of,
    closing,
    incident_id,
    rejudge,
    rejudge_from,
    severity_of,
    step,
    threshold_of,
)
from streamer.contracts import StreamSettings

RULES = Rules(threshold=4.0, quiet=5, max_slots=60, update_every=8)
SURPRISES = st.lists(st.one_of(st.floats(0, 3), st.floats(3, 12), st.just(float("nan"))), min_size=1, max_size=200)


def run(state: State, surprises: list[float], first: int = 0, rules: Rules = RULES) -> list[tuple[Any, ...]]:
    """Step through; (state, anchor, revision, slot, onset, peak, severity) of each event."""
    told = []
    for slot, surprise in enumerate(surprises, first):
        transition = step(state, rules, slot, surprise, True)
        if transition:
            told.append(seen(transition))
    return told


def seen(transition: Transition) -> tuple[Any, ...]:
    e = transition.episode
    return transition.state, e.anchor, e.revision, transition.slot, e.onset, e.peak, e.severity, transition.baseline


def no_evidence(slot: int) -> dict[str, Any]:
    return {}


def test_threshold_follows_the_budget() -> None:
    assert threshold_of(1.0) == 4.0
    assert threshold_of(10.0) == 3.0
    assert (threshold_of(1000.0), threshold_of(1e-12)) == (1.5, 11.0)
    assert closing(4.0) == 3.0
    assert closing(1.0) == 0.5


def test_a_dial_in_time_is_converted_by_the_interval() -> None:
    weekly, second = StreamSettings(alerts_per_week=1.0), 10**9
    assert threshold_of(budget_of(weekly, second)) == pytest.approx(5.7817, abs=1e-4)  # 604 800 slots a week
    assert threshold_of(budget_of(weekly, 60 * second)) == pytest.approx(4.0034, abs=1e-4)  # 10 080
    assert threshold_of(budget_of(weekly, 86_400 * second)) == 1.5  # 7: no tail says so little
    assert budget_of(StreamSettings(alert_budget=3.0), second) == 3.0
    assert budget_of(StreamSettings(), second) == 1.0


def test_severity_follows_the_tail() -> None:
    assert [severity_of(s) for s in (4.0, 5.9, 6.0, 8.0, 12.0)] == ["info", "info", "warning", "critical", "critical"]


def test_one_surprising_slot_is_not_enough() -> None:
    assert run(State(), [0, 5, 0, 0, 5, 0, 0]) == []


def test_two_of_three_open_and_quiet_resolves() -> None:
    told = run(State(), [0, 5, 0, 5.5, *[0] * 5])
    assert [t[0] for t in told] == ["open", "resolved"]
    assert told[0][1:5] == (3, 0, 3, 1)  # anchored where it opened, began at the first surprising slot
    assert told[1][2:4] == (1, 8)


def test_a_very_large_surprise_opens_at_once() -> None:
    assert [t[0] for t in run(State(), [0, 7.0])] == ["open"]


def test_it_holds_above_the_closing_threshold() -> None:
    told = run(State(), [5, 5, *[3.5] * 5, *[2.9] * 5], rules=replace(RULES, update_every=100))
    assert [(t[0], t[3]) for t in told] == [("open", 1), ("resolved", 11)]


def test_updates_on_severity_and_decades_only() -> None:
    told = run(State(), [5, 5, 5.2, 5.5, 6.1, 6.2, 6.9, 7.2])
    assert [(t[0], t[2], t[5]) for t in told] == [("open", 0, 5), ("update", 1, 6.1), ("update", 2, 7.2)]


def test_periodic_updates_get_rarer() -> None:
    told = run(State(), [5.0] * 50)
    assert [t[3] for t in told] == [1, 8, 16, 32]


def test_a_new_baseline_is_told_once() -> None:
    state = State()
    told = run(state, [5.0] * 300)
    assert [t[0] for t in told].count("open") == 1
    assert told[-1][0] == "resolved"
    assert told[-1][-1]
    assert state.muted == 5.0
    assert run(state, [*[5.0] * 50, 6.5, 6.5], 300)[0][0] == "open"  # a decade more is news


def test_a_new_baseline_ends_with_quiet() -> None:
    state = State()
    run(state, [5.0] * 100)
    run(state, [0.0] * 5, 100)
    assert state.muted is None
    assert [t[0] for t in run(state, [5.0, 5.0], 105)] == ["open"]


def test_slots_that_do_not_count_are_quiet() -> None:
    state = State()
    assert all(step(state, RULES, slot, 12.0, False) is None for slot in range(10))
    assert state.idle


def test_an_open_incident_keeps_its_threshold() -> None:
    state = State()
    run(state, [5, 5])
    assert run(state, [3.5] * 20, 2, replace(RULES, threshold=8.0)) == [
        ("update", 1, 1, 8, 0, 5, "info", False),
        ("update", 1, 2, 16, 0, 5, "info", False),
    ]


def opened(surprises: list[float], rules: Rules = RULES) -> list[Transition]:
    state, told = State(), []
    for slot, surprise in enumerate(surprises):
        transition = step(state, rules, slot, surprise, True)
        if transition and transition.state == "open":
            told.append(transition._replace(episode=replace(transition.episode)))
    return told


def test_a_stream_that_alerts_too_often_is_judged_more_strictly_for_a_while() -> None:
    storm = [*[5.0] * 2, *[0.0] * 8] * 100
    told = opened(storm)
    # with 48 remembered it is log10(51 / 5), more than the decade that 5.0 is above the dial
    assert len(told) == 48
    assert told[2].episode.stricter == 0.0
    assert told[10].episode.stricter == pytest.approx(0.4150, abs=1e-4)
    assert len(opened(storm, replace(RULES, fatigue=False))) == 100
    memory = int(RULES.memory)
    assert memory == 20_000
    later = opened([*storm, *[0.0] * memory, 5.0, 5.0])
    assert (len(later), later[-1].episode.stricter) == (49, 0.0)  # forgotten
    assert len(opened([*[7.0] * 2, *[0.0] * 8] * 100)) == 100  # what is rarer still opens


def test_two_openings_where_two_are_expected_are_as_promised() -> None:
    assert [t.episode.stricter for t in opened([*[5.0] * 2, *[0.0] * 8] * 4)] == [
        0.0,
        0.0,
        0.0,
        pytest.approx(0.0792, abs=1e-4),
    ]


def test_ids_differ_by_stream_grid_anchor_and_kind() -> None:
    ids = {incident_id(*args) for args in (("a", 1, 5), ("b", 1, 5), ("a", 2, 5), ("a", 1, 6), ("a", 1, 5, "no_data"))}
    assert len(ids) == 5
    assert incident_id("a", 1, 5) == incident_id("a", 1, 5)


@given(SURPRISES)
def test_every_incident_ends_after_enough_quiet_without_gaps_in_revisions(surprises: list[float]) -> None:
    state = State()
    told = run(state, surprises + [0.0] * (RULES.quiet + 1))
    assert state.incident is None
    assert state.idle
    by_anchor: dict[int, list[tuple[str, int]]] = {}
    for kind, anchor, revision, *_ in told:
        by_anchor.setdefault(anchor, []).append((kind, revision))
    for events in by_anchor.values():
        assert [revision for _, revision in events] == list(range(len(events)))
        assert events[0][0] == "open"
        assert events[-1][0] == "resolved"
        assert all(kind == "update" for kind, _ in events[1:-1])


@given(SURPRISES, st.data())
def test_replay_from_any_prefix_tells_the_same(surprises: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(surprises)))
    state = State()
    before = run(state, surprises[:cut])
    stored = deepcopy(state)
    after = run(state, surprises[cut:], cut)
    assert run(stored, surprises[cut:], cut) == after
    assert before + after == run(State(), surprises)


def rejudged(state: State, surprises: list[float], changed: int, lowest: int = -100) -> list[Transition]:
    start = rejudge_from(state, RULES, changed, lowest)
    assert start is not None
    start = max(start, 0)
    rows = [Scored(slot, value, True) for slot, value in enumerate(surprises[start:], start)]
    return rejudge(state, RULES, rows, no_evidence)


@given(SURPRISES)
def test_judging_the_same_again_tells_nothing(surprises: list[float]) -> None:
    state = State()
    run(state, surprises)
    if state.muted is not None or any(e.length > 50 for e in state.recent):
        return  # a new baseline stands
    before = deepcopy(state)
    assert rejudged(state, surprises, 0) == []
    assert state == before


@given(SURPRISES, SURPRISES)
def test_late_data_lead_to_what_would_have_been(first: list[float], second: list[float]) -> None:
    """After any change of the past: gapless revisions, and what is open is what in-time data would have opened."""
    second = (second * len(first))[: len(first)]
    state, fresh = State(), State()
    told = [t[1:3] for t in run(state, first)]
    expected = run(fresh, second)
    if any(m is not None for m in (state.muted, fresh.muted)) or any(t[-1] for t in expected):
        return
    told += [(t.episode.anchor, t.episode.revision) for t in rejudged(state, second, 0)]
    assert len(set(told)) == len(told)
    for anchor in {a for a, _ in told}:
        assert sorted(r for a, r in told if a == anchor) == list(range(sum(a == anchor for a, _ in told)))
    assert (state.incident is None) == (fresh.incident is None)
    if state.incident and fresh.incident:
        assert (state.incident.onset, state.incident.peak) == (fresh.incident.onset, fresh.incident.peak)


def test_an_incident_that_no_longer_holds_is_retracted_and_may_come_back() -> None:
    state = State()
    run(state, [0, 0, 5, 5, 5])
    (told,) = rejudged(state, [0, 0, 0, 0, 0], 2)
    assert (told.state, told.episode.revision) == ("retracted", 1)
    assert state.incident is None
    (told,) = rejudged(state, [0, 0, 5, 5, 5], 2)
    assert (told.state, told.episode.anchor, told.episode.revision) == ("revised", 3, 2)
    assert state.incident is not None


def test_a_moved_onset_is_revised_under_the_same_anchor() -> None:
    state = State()
    run(state, [0, 0, 0, 5, 5, 5])
    (told,) = rejudged(state, [0, 5, 5, 5, 5, 5], 1)
    assert (told.state, told.episode.anchor, told.episode.onset) == ("revised", 4, 1)


def test_a_missed_incident_opens_late_and_resolved() -> None:
    state = State()
    surprises: list[float] = [0] * 30
    run(state, surprises)
    surprises[10:12] = [5, 5]
    told = rejudged(state, surprises, 10)
    assert [(t.state, t.episode.anchor, t.episode.revision) for t in told] == [("open", 11, 0), ("resolved", 11, 1)]
    assert told[0].episode.ended is None


def test_an_incident_older_than_the_window_at_hand_stands() -> None:
    state = State(incident=Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=40))
    assert rejudge_from(state, RULES, 30, lowest=20) is None
    ended = State(recent=[Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=24, ended=24)])
    assert rejudge_from(ended, RULES, 22, lowest=20) == 25

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
    Tracker,
    Transition,
    budget_of,
    closing,
    incident_id,
    step,
    threshold_of,
)
from detector.incidents.rejudging import rejudge, rejudge_from
from detector.incidents.season_rule import season_rule
from detector.incidents.severity import severity_of
from detector.persistence import COLUMNS
from streamer.contracts import StreamSettings

RULES = Rules(threshold=4.0, quiet=5, max_slots=60, update_every=8)
SURPRISES = st.lists(st.one_of(st.floats(0, 3), st.floats(3, 12), st.just(float("nan"))), min_size=1, max_size=200)


def run(tracker: Tracker, surprises: list[float], first: int = 0, rules: Rules = RULES) -> list[tuple[Any, ...]]:
    """Step through; (state, anchor, revision, slot, onset, peak, severity) of each event."""
    published = []
    for slot, surprise in enumerate(surprises, first):
        transition = step(tracker, rules, slot, surprise, True)
        if transition:
            published.append(seen(transition))
    return published


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
    assert threshold_of(budget_of(weekly, 86_400 * second)) == 1.5  # 7 a day: below the lowest threshold
    assert budget_of(StreamSettings(alert_budget=3.0), second) == 3.0
    assert threshold_of(budget_of(StreamSettings(), 60 * second)) == pytest.approx(5.0034, abs=1e-4)  # .1 a week
    assert threshold_of(budget_of(StreamSettings(), second)) == pytest.approx(5.5, abs=1e-3)  # what students can tell


@pytest.mark.parametrize(
    ("over", "slots", "reach", "severity"),
    [
        (9.0, 2, 9.0, "info"), (0.5, 30, 0.0, "info"), (1.5, 3, 0.0, "warning"), (0.5, 60, 0.5, "warning"),
        (3.0, 3, 0.9, "warning"), (3.0, 3, 1.0, "critical"), (0.9, 60, 0.0, "critical"), (0.9, 60, 2.0, "critical"),
    ],
)  # fmt: skip
def test_severity_is_of_rarity_length_and_reach(over: float, slots: int, reach: float, severity: str) -> None:
    assert severity_of(over, slots, reach) == severity


def test_one_surprising_slot_is_not_enough() -> None:
    assert run(Tracker(), [0, 5, 0, 0, 5, 0, 0]) == []


def test_two_of_three_open_and_quiet_resolves() -> None:
    published = run(Tracker(), [0, 5, 0, 5.5, *[0] * 5])
    assert [t[0] for t in published] == ["open", "resolved"]
    assert published[0][1:5] == (3, 0, 3, 1)  # anchored where it opened, began at the first surprising slot
    assert published[1][2:4] == (1, 8)


def test_a_very_large_surprise_opens_at_once() -> None:
    assert [t[0] for t in run(Tracker(), [0, 7.0])] == ["open"]


def test_it_holds_above_the_closing_threshold() -> None:
    published = run(Tracker(), [4.5, 4.5, *[3.5] * 5, *[2.9] * 5], rules=replace(RULES, update_every=100))
    assert [(t[0], t[3]) for t in published] == [("open", 1), ("resolved", 11)]


def test_updates_on_severity_and_decades_only() -> None:
    published = run(Tracker(), [5, 5, 5.2, 5.5, 6.1, 6.2, 6.9, 7.2])
    assert [(t[0], t[2], t[5]) for t in published] == [
        ("open", 0, 5), ("update", 1, 5.2), ("update", 2, 6.2), ("update", 3, 7.2),
    ]  # fmt: skip


def test_periodic_updates_get_rarer() -> None:
    published = run(Tracker(), [4.5] * 50)
    assert [t[3] for t in published] == [1, 8, 16, 32]


def test_a_new_baseline_is_told_once() -> None:
    tracker = Tracker()
    published = run(tracker, [5.0] * 300)
    assert [t[0] for t in published].count("open") == 1
    assert published[-1][0] == "resolved"
    assert published[-1][-1]
    assert tracker.muted == 5.0
    assert run(tracker, [*[5.0] * 50, 6.5, 6.5], 300)[0][0] == "open"  # a decade above the muted peak


def test_a_new_baseline_ends_with_quiet() -> None:
    tracker = Tracker()
    run(tracker, [5.0] * 100)
    run(tracker, [0.0] * 5, 100)
    assert tracker.muted is None
    assert [t[0] for t in run(tracker, [5.0, 5.0], 105)] == ["open"]


def test_slots_that_do_not_count_are_quiet() -> None:
    tracker = Tracker()
    assert all(step(tracker, RULES, slot, 12.0, False) is None for slot in range(10))
    assert tracker.idle


def test_an_open_incident_keeps_its_threshold() -> None:
    tracker = Tracker()
    run(tracker, [4.5, 4.5])
    assert run(tracker, [3.5] * 20, 2, replace(RULES, threshold=8.0)) == [
        ("update", 1, 1, 8, 0, 4.5, "info", False),
        ("update", 1, 2, 16, 0, 4.5, "info", False),
    ]


def opened(surprises: list[float], rules: Rules = RULES) -> list[Transition]:
    tracker, published = Tracker(), []
    for slot, surprise in enumerate(surprises):
        transition = step(tracker, rules, slot, surprise, True)
        if transition and transition.state == "open":
            published.append(transition._replace(episode=replace(transition.episode)))
    return published


def test_a_stream_that_alerts_too_often_is_judged_more_strictly_for_a_while() -> None:
    storm = [*[5.0] * 2, *[0.0] * 8] * 100
    published = opened(storm)
    # with 48 remembered it is log10(51 / 5), more than the decade that 5.0 is above the threshold
    assert len(published) == 48
    assert published[2].episode.stricter == 0.0
    assert published[10].episode.stricter == pytest.approx(0.4150, abs=1e-4)
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
    tracker = Tracker()
    published = run(tracker, surprises + [0.0] * (RULES.quiet + 1))
    assert tracker.incident is None
    assert tracker.idle
    by_anchor: dict[int, list[tuple[str, int]]] = {}
    for kind, anchor, revision, *_ in published:
        by_anchor.setdefault(anchor, []).append((kind, revision))
    for events in by_anchor.values():
        assert [revision for _, revision in events] == list(range(len(events)))
        assert events[0][0] == "open"
        assert events[-1][0] == "resolved"
        assert all(kind == "update" for kind, _ in events[1:-1])


@given(SURPRISES, st.data())
def test_replay_from_any_prefix_tells_the_same(surprises: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(surprises)))
    tracker = Tracker()
    before = run(tracker, surprises[:cut])
    stored = deepcopy(tracker)
    after = run(tracker, surprises[cut:], cut)
    assert run(stored, surprises[cut:], cut) == after
    assert before + after == run(Tracker(), surprises)


def rejudged(tracker: Tracker, surprises: list[float], changed: int, lowest: int = -100) -> list[Transition]:
    start = rejudge_from(tracker, RULES, changed, lowest)
    assert start is not None
    start = max(start, 0)
    rows = [Scored(slot, value, True) for slot, value in enumerate(surprises[start:], start)]
    return rejudge(tracker, RULES, rows, no_evidence)


@given(SURPRISES)
def test_judging_the_same_again_tells_nothing(surprises: list[float]) -> None:
    tracker = Tracker()
    run(tracker, surprises)
    if tracker.muted is not None or any(e.length > 50 for e in tracker.recent):
        return  # a new baseline stands
    before = deepcopy(tracker)
    assert rejudged(tracker, surprises, 0) == []
    assert tracker == before


@given(SURPRISES, SURPRISES)
def test_late_data_lead_to_what_would_have_been(first: list[float], second: list[float]) -> None:
    """After any change of the past: gapless revisions, and what is open is what in-time data would have opened."""
    second = (second * len(first))[: len(first)]
    tracker, fresh = Tracker(), Tracker()
    published = [t[1:3] for t in run(tracker, first)]
    expected = run(fresh, second)
    if any(m is not None for m in (tracker.muted, fresh.muted)) or any(t[-1] for t in expected):
        return
    published += [(t.episode.anchor, t.episode.revision) for t in rejudged(tracker, second, 0)]
    assert len(set(published)) == len(published)
    for anchor in {a for a, _ in published}:
        assert sorted(r for a, r in published if a == anchor) == list(range(sum(a == anchor for a, _ in published)))
    assert (tracker.incident is None) == (fresh.incident is None)
    if tracker.incident and fresh.incident:
        assert (tracker.incident.onset, tracker.incident.peak) == (fresh.incident.onset, fresh.incident.peak)


def test_an_incident_that_no_longer_holds_is_retracted_and_may_come_back() -> None:
    tracker = Tracker()
    run(tracker, [0, 0, 4.5, 4.5, 4.5])
    (published,) = rejudged(tracker, [0, 0, 0, 0, 0], 2)
    assert (published.state, published.episode.revision) == ("retracted", 1)
    assert tracker.incident is None
    (published,) = rejudged(tracker, [0, 0, 4.5, 4.5, 4.5], 2)
    assert (published.state, published.episode.anchor, published.episode.revision) == ("revised", 3, 2)
    assert tracker.incident is not None


def test_a_moved_onset_is_revised_under_the_same_anchor() -> None:
    tracker = Tracker()
    run(tracker, [0, 0, 0, 5, 5, 5])
    (published,) = rejudged(tracker, [0, 5, 5, 5, 5, 5], 1)
    assert (published.state, published.episode.anchor, published.episode.onset) == ("revised", 4, 1)


def test_a_missed_incident_opens_late_and_resolved() -> None:
    tracker = Tracker()
    surprises: list[float] = [0] * 30
    run(tracker, surprises)
    surprises[10:12] = [5, 5]
    published = rejudged(tracker, surprises, 10)
    assert [(t.state, t.episode.anchor, t.episode.revision) for t in published] == [
        ("open", 11, 0),
        ("resolved", 11, 1),
    ]
    assert published[0].episode.ended is None


def test_an_incident_older_than_the_window_at_hand_stands() -> None:
    tracker = Tracker(incident=Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=40))
    assert rejudge_from(tracker, RULES, 30, lowest=20) is None
    ended = Tracker(recent=[Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=24, ended=24)])
    assert rejudge_from(ended, RULES, 22, lowest=20) == 25


SEASONAL = replace(RULES, season=season_rule(60 * 10**9, 300 * 10**9), season_opens=5.0)


def season(slot: float = 0.0, minutes: float = 0.0, hour: float = 0.0) -> list[float]:
    """Surprises of the columns that tests move; the others are calm."""
    return [slot, minutes, 0.0, hour, *[0.0] * (COLUMNS - 4)]


def walk(tracker: Tracker, seasons: list[list[float]], students: float = 0.0, first: int = 0) -> list[tuple[str, int]]:
    found = (step(tracker, SEASONAL, slot, students, True, row, 2.0) for slot, row in enumerate(seasons, first))
    return [(t.state, t.slot) for t in found if t is not None]


def test_the_season_opens_holds_and_closes_an_incident() -> None:
    tracker = Tracker()
    quiet, out = season(), season(8.0, 9.0)
    published = walk(tracker, [quiet, *[out] * 12, *[season(0.2, 1.5)] * 2, *[quiet] * 10])
    assert published[0] == ("open", 2)
    assert published[-1] == ("resolved", 17)  # five slots after the newest one outside
    [episode] = tracker.recent
    assert (episode.onset, episode.ended, episode.severity) == (1, 12, "critical")
    assert episode.around > 0


def test_windows_of_students_do_not_hold_what_the_season_closes_nor_open_it_again() -> None:
    tracker = Tracker()
    published = walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 100], students=6.0)
    assert [state for state, _ in published if state != "update"] == ["open", "resolved"]
    assert tracker.recent[0].ended == 9


def test_averages_that_contain_an_ended_incident_are_not_listened_to() -> None:
    tracker = Tracker()
    echo = season(hour=9.0)  # the hour still contains it
    published = walk(tracker, [*[season(8.0, 9.0)] * 10, *[echo] * 40])
    assert [state for state, _ in published if state != "update"] == ["open", "resolved"]


def test_what_opens_again_within_the_hour_is_the_same_incident() -> None:
    tracker = Tracker()
    walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 20])
    assert walk(tracker, [season(8.0, 9.0)] * 2, first=30) == [("revised", 31)]
    assert tracker.incident is not None
    assert tracker.incident.anchor == 1
    tracker = Tracker()
    walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 100])
    assert walk(tracker, [season(8.0, 9.0)] * 2, first=110) == [("open", 111)]


def test_what_has_been_open_for_a_day_is_how_things_are() -> None:
    tracker = Tracker()
    rows = [season(8.0, 9.0)] * 1500
    found = [t for slot, row in enumerate(rows) if (t := step(tracker, SEASONAL, slot, 0.0, True, row))]
    assert [t.baseline for t in found if t.state == "resolved"] == [True]
    assert tracker.incident is None
